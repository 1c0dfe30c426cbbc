// SPDX-License-Identifier: LGPL-2.1-or-later
// events - what happens at a server, as it happens.
#include "ctl/tools/events.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>

#include "ctl/tools/asker.h"
#include "ctl/tools/event_words.h"
#include "ctl/tools/outcome.h"
#include "ctl/tools/table.h"
#include "libshared/base/suggest.h"

namespace virtgate::ctl::tools {

namespace {

// How the events of a family are asked for, and given up. Source: docs/protocol.md, events.
struct Family {
    std::string_view name, enrol, deregister;
};
constexpr std::array k_families{
    Family{"domain", "remote.connect_domain_event_callback_register_any",
           "remote.connect_domain_event_callback_deregister_any"},
    Family{"network", "remote.connect_network_event_register_any",
           "remote.connect_network_event_deregister_any"},
    Family{"storage_pool", "remote.connect_storage_pool_event_register_any",
           "remote.connect_storage_pool_event_deregister_any"},
    Family{"node_device", "remote.connect_node_device_event_register_any",
           "remote.connect_node_device_event_deregister_any"},
    Family{"secret", "remote.connect_secret_event_register_any",
           "remote.connect_secret_event_deregister_any"},
    Family{"qemu_monitor", "qemu.connect_domain_monitor_event_register",
           "qemu.connect_domain_monitor_event_deregister"},
};

struct EventType {
    const Family* family;
    std::string name;  // "lifecycle"
    const proto::ProgramInfo* program;
    const proto::ProcedureInfo* procedure;

    [[nodiscard]] std::string full_name() const {
        return name.empty() ? std::string(family->name) : fmt::format("{}.{}", family->name, name);
    }
    [[nodiscard]] bool fits(std::string_view wanted) const {
        return wanted == name || wanted == family->name || wanted == full_name();
    }
};

// "domain_event_callback_reboot" → "reboot".
std::string short_name(std::string_view name) {
    for (const std::string_view mark : {"_event_callback_", "_event_"})
        if (const std::size_t at = name.find(mark); at != name.npos)
            return std::string(name.substr(at + mark.size()));
    return {};
}

std::vector<EventType> all_types(const reflect::Catalogue& catalogue) {
    std::vector<EventType> types;
    for (const proto::ProgramInfo* program : catalogue.programs())
        for (const proto::ProcedureInfo& one : program->procedures()) {
            const auto family = std::find_if(k_families.begin(), k_families.end(), [&](const Family& known) {
                return known.name == one.event_family;
            });
            // The older style is the same events again; and nobody can ask for one whose number is not known.
            if (family == k_families.end() || one.event_style != proto::EventStyle::callback) continue;
            if (one.event_id == proto::layout::k_none && family->name != "qemu_monitor") continue;
            types.push_back({&*family, short_name(one.name), program, &one});
        }
    return types;
}

// A message of any type: its bytes.
struct Message {
    ByteVector bytes;
    void decode(xdr::Reader& reader) {
        const std::size_t all = reader.left();
        bytes.resize(all);
        // The message is whole words, so this takes exactly what there is.
        reader.fixed_opaque(bytes);
    }
};

struct Payload {
    ByteVector bytes;
    void encode(xdr::Writer& writer) const { writer.fixed_opaque(bytes); }
};

template <class Caller>
struct Tap {
    Caller caller;
    explicit Tap(Caller of) : caller(std::move(of)) {}
};

// Events on their way from the connection's thread to the one that prints, and what ended the connection.
struct Inbox {
    std::mutex mutex;
    std::condition_variable_any changed;
    // An event of a type, or what became of the connection, in their order.
    struct Entry {
        const EventType* type = nullptr;
        ByteVector bytes{};
        client::Change change{};
    };
    std::deque<Entry> messages;
    std::chrono::system_clock::time_point last;
    std::optional<std::pair<client::Connection::Reason, std::string>> closed;
};

std::string utc_now() {
    const auto now =
        std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
    const auto seconds = std::chrono::time_point_cast<std::chrono::seconds>(now);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)),
                       (now - seconds).count());
}

std::string local_now() {
    return fmt::format(
        "{:%F %T}", fmt::localtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
}

// The object that a message is about, taken out of it; and then what else there is.
Json take_object(const EventType& type, Json& message) {
    message.erase("callback_id");
    if (type.procedure->objects.empty()) return nullptr;
    const std::string_view path = type.procedure->objects.front().path;
    const bool nested = path.starts_with("msg.") && message.contains("msg");
    if (nested) message = Json(message["msg"]);
    const std::string name(nested ? path.substr(4) : path);
    if (!message.contains(name)) return nullptr;
    Json object = message[name];
    message.erase(name);
    return object;
}

std::string name_of(const Json& object) {
    for (const char* key : {"name", "usage_id", "uuid"})
        if (object.is_object() && object.contains(key) && object[key].is_string())
            return show(object[key].get_ref<const std::string&>());
    return "-";
}

void print_event(const EventType& type, const ByteVector& bytes, bool json) {
    const auto read = reflect::to_json(type.program->schema, type.procedure->args, bytes);
    if (!read) {
        fmt::print(stderr, "virtgate: an event of type {} cannot be read: {}\n", type.full_name(),
                   proto::to_text(read.error().flaw));
        return;
    }
    Json rest = *read;
    const Json object = take_object(type, rest);
    std::string event, detail;
    if (type.name == "lifecycle") {
        event = event_word(type.family->name, rest["event"].get<std::int64_t>());
        detail = detail_word(type.family->name, rest["event"].get<std::int64_t>(),
                             rest["detail"].get<std::int64_t>());
    }
    if (json) {
        Json line = {{"time", utc_now()}, {"type", type.full_name()}, {"object", object}};
        if (!event.empty()) line["event"] = event;
        if (!detail.empty()) line["detail"] = detail;
        line["message"] = *read;
        fmt::print("{}\n", reflect::print(line, reflect::Layout::line));
    } else if (!event.empty()) {
        fmt::print("{}  {}  {}  {}{}\n", local_now(), type.full_name(), name_of(object), event,
                   detail.empty() ? "" : fmt::format(" ({})", detail));
    } else {
        std::string members;
        for (const auto& [name, value] : rest.items())
            members += fmt::format("  {}={}", name,
                                   value.is_string() ? show(value.get_ref<const std::string&>())
                                                     : reflect::print(value, reflect::Layout::line));
        fmt::print("{}  {}  {}{}\n", local_now(), type.full_name(), name_of(object), members);
    }
    std::fflush(stdout);
}

// To those who read events too, as some may be missing.
void print_change(const client::Change& change, bool json) {
    const bool lost = change.kind == client::Change::Kind::lost;
    if (change.kind == client::Change::Kind::given_up) return;  // on_close() says it
    if (json) {
        Json line = {{"time", utc_now()}, {"type", lost ? "lost" : "reconnected"}};
        if (lost)
            line["text"] = change.failure.text;
        else
            line["refused"] = change.refused;
        fmt::print("{}\n", reflect::print(line, reflect::Layout::line));
        std::fflush(stdout);
    }
    if (lost) return static_cast<void>(say(fmt::format("{}; connecting again", change.failure.text), 0));
    say(fmt::format("connected again, events may have been missed{}",
                    change.refused == 0
                        ? ""
                        : fmt::format("; the server does not give {} types any more", change.refused)),
        0);
}

client::Result<Json> find_domain(Asker& asker, const std::string& name, const client::Deadline& deadline) {
    auto found = asker.ask("domain_lookup_by_name", {{"name", name}}, deadline);
    if (!found && found.error().cause == client::Cause::remote) {
        auto by_uuid = asker.ask("domain_lookup_by_uuid", {{"uuid", name}}, deadline);
        if (by_uuid) found = std::move(by_uuid);
    }
    if (!found) return tl::unexpected(found.error());
    return (*found)["domain"];
}

client::Result<client::Subscription> subscribe(Asker& asker, const EventType& type, const Json& domain,
                                               const std::shared_ptr<Inbox>& inbox,
                                               const client::Deadline& deadline) {
    const auto enrol = asker.catalogue().find(type.family->enrol);
    const auto deregister = asker.catalogue().find(type.family->deregister);
    if (!enrol || !deregister)
        return client::fail(client::Cause::unsupported, "there is no way to ask for it");
    Json arguments = Json::object();
    if (type.family->name != "qemu_monitor") arguments["event_id"] = type.procedure->event_id;
    if (!domain.is_null()) arguments["domain"] = domain;
    auto bytes = reflect::to_payload(enrol->program->schema, enrol->procedure->args, arguments, "args");
    if (!bytes) return client::fail(client::Cause::invalid, std::move(bytes.error()));
    const auto number = [](const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure) {
        return client::Procedure{program.number, program.version, procedure.number};
    };
    return asker.connection().program<Tap>().caller.subscribe<Message>(
        number(*type.program, *type.procedure), number(*enrol->program, *enrol->procedure),
        number(*deregister->program, *deregister->procedure), Payload{std::move(*bytes)},
        [inbox, of = &type](const Message& message) {
            const std::lock_guard lock(inbox->mutex);
            inbox->messages.push_back({.type = of, .bytes = message.bytes});
            inbox->changed.notify_all();
        },
        {.deadline = deadline, .fds = {}, .received = nullptr});
}

std::string_view to_text(client::Connection::Reason reason) {
    switch (reason) {
        case client::Connection::Reason::error: return "error";
        case client::Connection::Reason::end: return "end";
        case client::Connection::Reason::keepalive: return "keepalive";
        case client::Connection::Reason::client: return "client";
    }
    return "?";
}

// Prints until a signal comes, enough have come, or the connection ends.
int print_all(const EventsOrder& order, Inbox& inbox, const Signals& signals) {
    unsigned printed = 0;
    std::unique_lock lock(inbox.mutex);
    for (;;) {
        inbox.changed.wait(lock, signals.token(), [&] { return !inbox.messages.empty() || inbox.closed; });
        while (!inbox.messages.empty()) {
            const Inbox::Entry entry = std::move(inbox.messages.front());
            inbox.messages.pop_front();
            lock.unlock();
            if (entry.type == nullptr)
                print_change(entry.change, order.json);
            else
                print_event(*entry.type, entry.bytes, order.json);
            if (entry.type != nullptr && ++printed == order.count) return 0;
            lock.lock();
        }
        if (signals.came()) return 0;
        if (!inbox.closed) continue;
        const auto& [reason, text] = *inbox.closed;
        if (order.json)
            fmt::print(
                "{}\n",
                reflect::print(
                    {{"time", utc_now()}, {"type", "close"}, {"reason", to_text(reason)}, {"text", text}},
                    reflect::Layout::line));
        std::fflush(stdout);
        return say(fmt::format("the connection has ended ({}): {}", to_text(reason), text),
                   k_exit_unreachable);
    }
}

// The types that are wanted. Error: the word that none fits.
tl::expected<std::vector<EventType>, std::string> choose(const EventsOrder& order,
                                                         const reflect::Catalogue& catalogue) {
    std::vector<EventType> chosen;
    for (const EventType& type : all_types(catalogue)) {
        const bool about_domains = type.family->name == "domain" || type.family->name == "qemu_monitor";
        if (!order.domain.empty() && !about_domains) continue;
        const bool wanted = order.types.empty()
                                ? type.family->name != "qemu_monitor"
                                : std::any_of(order.types.begin(), order.types.end(),
                                              [&](const std::string& word) { return type.fits(word); });
        if (wanted) chosen.push_back(type);
    }
    for (const std::string& word : order.types) {
        if (std::any_of(chosen.begin(), chosen.end(), [&](const EventType& type) { return type.fits(word); }))
            continue;
        std::vector<std::string> names;
        for (const EventType& type : all_types(catalogue)) {
            if (type.fits(word))
                return tl::make_unexpected(fmt::format("events of type {} are about no domain", word));
            names.insert(names.end(), {type.full_name(), type.name});
        }
        return tl::make_unexpected(
            fmt::format("there are no events of type \"{}\"{}", escape(word), did_you_mean(word, names)));
    }
    return chosen;
}

}  // namespace

std::string list_event_types(bool json) {
    const reflect::Catalogue catalogue;
    std::string text;
    Json list = Json::array();
    for (const EventType& type : all_types(catalogue)) {
        text += fmt::format("{:<36}  {}\n", type.full_name(), type.procedure->prose);
        list.push_back({{"type", type.full_name()}, {"description", type.procedure->prose}});
    }
    return json ? reflect::print({{"types", list}}, reflect::Layout::indented) + "\n" : text;
}

int run_events(const EventsOrder& order) {
    const reflect::Catalogue catalogue;
    const auto types = choose(order, catalogue);
    if (!types) return say(types.error(), spawn::k_exit_usage);
    Signals signals;
    const auto inbox = std::make_shared<Inbox>();
    const auto on_change = [inbox](const client::Change& change) {
        const std::lock_guard lock(inbox->mutex);
        inbox->messages.push_back({.change = change});
        inbox->changed.notify_all();
    };
    auto connection = order.reconnect ? open_for_long(order.target, signals.token(), on_change)
                                      : open(order.target, signals.token());
    if (!connection) return fail_with(connection.error());
    Asker asker(*connection, catalogue);
    connection->on_close([inbox](client::Connection::Reason reason, const client::Failure& failure) {
        const std::lock_guard lock(inbox->mutex);
        inbox->closed.emplace(reason, failure.text);
        inbox->changed.notify_all();
    });
    const client::Deadline deadline{.at = Instant::max(), .stop = signals.token()};
    Json domain = nullptr;
    if (!order.domain.empty()) {
        auto found = find_domain(asker, order.domain, deadline);
        if (!found) return fail_with(found.error());
        domain = std::move(*found);
    }
    std::vector<client::Subscription> subscriptions;
    client::Failure refusal;
    std::vector<const EventType*> refused;
    for (const EventType& type : *types) {
        auto one = subscribe(asker, type, domain, inbox, deadline);
        if (one) {
            subscriptions.push_back(std::move(*one));
            continue;
        }
        refusal = one.error();
        // What this server does not have, or does not give us, is left out, if there is something else.
        if (refusal.cause != client::Cause::remote) return fail_with(refusal);
        refused.push_back(&type);
    }
    for (const std::string& word : order.types) {
        const auto fits = [&](const EventType& type) { return type.fits(word); };
        const auto lost =
            std::count_if(refused.begin(), refused.end(), [&](const EventType* type) { return fits(*type); });
        if (lost == std::count_if(types->begin(), types->end(), fits)) return fail_with(refusal);
    }
    if (subscriptions.empty()) return fail_with(refusal);
    if (isatty(STDOUT_FILENO) == 1)
        fmt::print(stderr, "waiting for {} types of events; ^C ends\n", subscriptions.size());
    const int status = print_all(order, *inbox, signals);
    if (const std::uint64_t lost = connection->lost_events(); lost > 0)
        static_cast<void>(
            say(fmt::format("{} events were lost: they came faster than they could be printed", lost), 0));
    return status;
}

}  // namespace virtgate::ctl::tools
