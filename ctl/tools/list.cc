// SPDX-License-Identifier: LGPL-2.1-or-later
// list - what there is at a server: domains, networks, pools, volumes and so on.
#include "ctl/tools/list.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "ctl/tools/asker.h"
#include "ctl/tools/outcome.h"
#include "ctl/tools/table.h"

namespace virtgate::ctl::tools {

namespace {

// libvirt's public numbers of states.
constexpr std::array<std::string_view, 8> k_domain_states{
    "no state", "running", "blocked", "paused", "shutting down", "shut off", "crashed", "suspended"};
constexpr std::array<std::string_view, 5> k_pool_states{"inactive", "building", "active", "degraded",
                                                        "inaccessible"};
constexpr std::array<std::string_view, 6> k_volume_types{
    "file", "block", "directory", "network", "network directory", "ploop"};

std::string word_of(std::span<const std::string_view> words, const Json& number) {
    const auto value = number.get<std::int64_t>();
    if (value >= 0 && static_cast<std::size_t>(value) < words.size())
        return std::string(words[static_cast<std::size_t>(value)]);
    return fmt::to_string(value);
}

// A member that another call tells of each row.
struct Detail {
    std::string_view procedure;
    std::string_view argument;  // what the row is called among its arguments
    bool has_flags;
    void (*put)(const Json& reply, Json& row);
};

struct Kind {
    std::string_view name;
    std::string_view procedure;  // lists them
    std::string_view member;     // of its result
    std::vector<Detail> details;
};

void put_state(const Json& reply, Json& row) { row["state"] = word_of(k_domain_states, reply["state"]); }
void put_active(const Json& reply, Json& row) { row["state"] = reply["active"] != 0 ? "active" : "inactive"; }
void put_autostart(const Json& reply, Json& row) { row["autostart"] = reply["autostart"] != 0; }

void put_pool(const Json& reply, Json& row) {
    row["state"] = word_of(k_pool_states, reply["state"]);
    for (const char* name : {"capacity", "allocation", "available"}) row[name] = reply[name];
}

void put_volume(const Json& reply, Json& row) {
    row["type"] = word_of(k_volume_types, reply["type"]);
    for (const char* name : {"capacity", "allocation"}) row[name] = reply[name];
}

const std::vector<Kind>& kinds() {
    static const std::vector<Kind> k_kinds{
        {"domains", "connect_list_all_domains", "domains", {{"domain_get_state", "domain", true, put_state}}},
        {"networks",
         "connect_list_all_networks",
         "networks",
         {{"network_is_active", "network", false, put_active},
          {"network_get_autostart", "network", false, put_autostart}}},
        {"pools",
         "connect_list_all_storage_pools",
         "pools",
         {{"storage_pool_get_info", "pool", false, put_pool},
          {"storage_pool_get_autostart", "pool", false, put_autostart}}},
        {"volumes",
         "storage_pool_list_all_volumes",
         "volumes",
         {{"storage_vol_get_info", "volume", false, put_volume}}},
        {"interfaces",
         "connect_list_all_interfaces",
         "interfaces",
         {{"interface_is_active", "interface", false, put_active}}},
        {"node-devices", "connect_list_all_node_devices", "devices", {}},
        {"secrets", "connect_list_all_secrets", "secrets", {}},
        {"nwfilters", "connect_list_all_nwfilters", "filters", {}},
    };
    return k_kinds;
}

// Adds what each row's own calls say. What has gone meanwhile is not listed; what may not be asked stays
// unsaid.
client::Done add_details(Asker& asker, const Kind& kind, std::vector<Json>& rows,
                         const client::Deadline& deadline) {
    const std::vector<Json> objects = rows;
    for (const Detail& detail : kind.details) {
        std::vector<Json> arguments;
        for (const Json& object : objects) {
            Json one = {{detail.argument, object}};
            if (detail.has_flags) one["flags"] = 0;
            arguments.push_back(std::move(one));
        }
        const auto replies = asker.ask_each(detail.procedure, arguments, deadline);
        for (std::size_t i = 0; i < replies.size(); ++i) {
            if (replies[i])
                detail.put(*replies[i], rows[i]);
            else if (replies[i].error().cause != client::Cause::remote)
                return tl::unexpected(replies[i].error());
        }
    }
    return {};
}

// The pools whose volumes are wanted: the one that is named, or all that are active.
client::Result<std::vector<Json>> find_pools(Asker& asker, const std::string& name,
                                             const client::Deadline& deadline) {
    if (!name.empty()) {
        auto pool = asker.ask("storage_pool_lookup_by_name", {{"name", name}}, deadline);
        if (!pool) return tl::unexpected(pool.error());
        return std::vector<Json>{(*pool)["pool"]};
    }
    constexpr int k_active = 2;
    auto pools =
        asker.ask("connect_list_all_storage_pools", {{"need_results", 1}, {"flags", k_active}}, deadline);
    if (!pools) return tl::unexpected(pools.error());
    return std::vector<Json>((*pools)["pools"].begin(), (*pools)["pools"].end());
}

client::Result<std::vector<Json>> list(Asker& asker, const Kind& kind, const std::string& pool,
                                       const client::Deadline& deadline) {
    std::vector<Json> rows;
    std::vector<Json> places{Json::object()};
    const bool in_pools = kind.name == "volumes";
    if (in_pools) {
        auto pools = find_pools(asker, pool, deadline);
        if (!pools) return tl::unexpected(pools.error());
        places.clear();
        for (Json& one : *pools) places.push_back({{"pool", std::move(one)}});
    }
    for (Json& place : places) {
        place["need_results"] = 1;
        place["flags"] = 0;
        auto reply = asker.ask(kind.procedure, place, deadline);
        if (!reply) return tl::unexpected(reply.error());
        for (Json& row : (*reply)[std::string(kind.member)]) rows.push_back(std::move(row));
    }
    if (auto done = add_details(asker, kind, rows, deadline); !done) return tl::unexpected(done.error());
    if (!rows.empty() && rows.front().contains("name"))
        std::stable_sort(rows.begin(), rows.end(), [](const Json& a, const Json& b) {
            return std::pair(a.value("pool", Json()), a["name"]) <
                   std::pair(b.value("pool", Json()), b["name"]);
        });
    return rows;
}

Colour colour_of(std::string_view state) {
    if (state == "running" || state == "active") return Colour::green;
    if (state == "crashed" || state == "inaccessible") return Colour::red;
    if (state == "paused" || state == "degraded" || state == "shutting down" || state == "blocked")
        return Colour::yellow;
    return Colour::dim;
}

Cell cell_of(const std::string& name, const Json& value) {
    if (value.is_null()) return {"-"};
    if (value.is_boolean()) return {value.get<bool>() ? "yes" : "no"};
    // An inactive domain has no number.
    if (name == "id" && value == -1) return {"-"};
    if (name == "capacity" || name == "allocation" || name == "available")
        return {show_size(value.get<std::uint64_t>())};
    if (!value.is_string()) return {reflect::print(value, reflect::Layout::line)};
    const auto& text = value.get_ref<const std::string&>();
    if (name == "state") return {text, colour_of(text)};
    return {show(text)};
}

std::string as_table(const std::vector<Json>& rows, bool colours) {
    // Columns in the order in which rows have them; a row that lacks one was not told of it.
    std::vector<std::string> names;
    for (const Json& row : rows)
        for (const auto& [name, value] : row.items())
            if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    std::vector<Row> table(1);
    for (const std::string& name : names) {
        std::string title = to_upper(name);
        std::replace(title.begin(), title.end(), '_', ' ');
        table.front().push_back({title});
    }
    for (const Json& row : rows) {
        Row line;
        for (const std::string& name : names) line.push_back(cell_of(name, row.value(name, Json())));
        table.push_back(std::move(line));
    }
    return align(table, colours);
}

}  // namespace

std::vector<std::string> list_kinds() {
    std::vector<std::string> names;
    for (const Kind& kind : kinds()) names.emplace_back(kind.name);
    return names;
}

int run_list(const ListOrder& order) {
    const auto kind =
        std::find_if(kinds().begin(), kinds().end(), [&](const Kind& one) { return one.name == order.kind; });
    Signals signals;
    Target target = order.target;
    auto connection = open(target, signals.token());
    if (!connection) return fail_with(connection.error());
    const reflect::Catalogue catalogue;
    Asker asker(*connection, catalogue);
    const auto rows = list(asker, *kind, order.pool, {.at = Instant::max(), .stop = signals.token()});
    if (!rows) return fail_with(rows.error());
    if (order.json)
        fmt::print("{}\n", reflect::print({{order.kind, *rows}}, reflect::Layout::indented));
    else if (rows->empty())
        fmt::print("there are no {}\n", order.kind);
    else
        fmt::print("{}", as_table(*rows, wants_colour(STDOUT_FILENO)));
    return 0;
}

}  // namespace virtgate::ctl::tools
