// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - what a store has issued, for people and for programs.
#include "ctl/pki/listing.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "ctl/pki/lifetime.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::pki {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t k_width_max = 50;

std::string_view name_of(State state) {
    switch (state) {
        case State::valid: return "valid";
        case State::early: return "not yet valid";
        case State::expired: return "expired";
        case State::revoked: return "revoked";
    }
    return {};
}

bool is_shown(const Entry& entry, std::time_t now, bool all) {
    if (all || entry.in_use) return true;
    return entry.state == State::revoked && now <= entry.facts.until;
}

std::string say_state(const Entry& entry, std::time_t now) {
    if (entry.state == State::revoked) return fmt::format("revoked {} ago", say_span(now - entry.revoked));
    const std::string words = say_expiry(now, entry.facts.from, entry.facts.until);
    return entry.in_use ? words : "replaced, " + words;
}

// All names of a server, as long as they leave room for the rest of the line.
std::string say_name(const Entry& entry) {
    std::string first = escape(entry.facts.common_name);
    if (entry.kind != "server") return first;
    std::string names = entry.facts.say_names();
    if (names.size() <= k_width_max) return names;
    return fmt::format("{} and {} more", first, entry.facts.dns.size() + entry.facts.addresses.size() - 1);
}

Json describe(const Entry& entry, std::time_t now) {
    Json row{{"kind", entry.kind},
             {"name", entry.facts.common_name},
             {"organisation", entry.facts.organisation},
             {"subject", entry.facts.subject},
             {"dns", entry.facts.dns},
             {"addresses", entry.facts.addresses},
             {"serial", entry.facts.serial},
             {"key_type", pki::name_of(entry.facts.key_type)},
             {"state", name_of(entry.state)},
             {"in_use", entry.in_use},
             {"not_before", entry.facts.from},
             {"not_after", entry.facts.until},
             {"seconds_left", entry.facts.until - now},
             {"path", entry.path}};
    if (entry.state == State::revoked) row["revoked"] = entry.revoked;
    return row;
}

}  // namespace

Result<std::string> list_store(const Store& store, std::time_t now, bool all, bool json) {
    Result<std::vector<Entry>> entries = store.list(now);
    if (!entries) return tl::make_unexpected(entries.error());
    const Result<CrlFacts> crl = store.read_crl();
    if (!crl && crl.error().number != ENOENT) return tl::make_unexpected(crl.error());
    std::erase_if(*entries, [&](const Entry& entry) { return !is_shown(entry, now, all); });

    if (json) {
        Json rows = Json::array();
        for (const Entry& entry : *entries) rows.push_back(describe(entry, now));
        Json document{{"directory", store.directory()}, {"certificates", std::move(rows)}, {"crl", nullptr}};
        if (crl)
            document["crl"] = {{"path", store.crl_path()},
                               {"revoked", crl->count},
                               {"this_update", crl->from},
                               {"next_update", crl->until}};
        return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
    }
    std::size_t width = 0;
    for (const Entry& entry : *entries) width = std::max(width, say_name(entry).size());
    width = std::min(width, k_width_max);
    std::string text;
    for (const Entry& entry : *entries)
        text += fmt::format("{:<10} {:<{}}  {}\n", entry.kind, say_name(entry), width, say_state(entry, now));
    text += fmt::format("{:<10} {:<{}}  {}\n", "crl",
                        crl ? fmt::format("{} revoked", crl->count) : "no list of revoked certificates",
                        width, crl ? say_expiry(now, crl->from, crl->until) : "");
    return text;
}

}  // namespace virtgate::ctl::pki
