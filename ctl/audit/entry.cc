// SPDX-License-Identifier: LGPL-2.1-or-later
// entry - one record of the auditor, as it is read back from its file.
#include "ctl/audit/entry.h"

#include <nlohmann/json.hpp>

#include "ctl/audit/moment.h"

namespace virtgate::ctl::audit {

namespace {

using Json = nlohmann::json;

// These set `to` if the key is there and its value is of the right type.
void take(const Json& object, const char* key, std::optional<std::string>& to) {
    const auto found = object.find(key);
    if (found != object.end() && found->is_string()) to = found->get_ref<const std::string&>();
}

void take(const Json& object, const char* key, std::string& to) {
    std::optional<std::string> text;
    take(object, key, text);
    if (text) to = std::move(*text);
}

void take(const Json& object, const char* key, std::optional<std::uint64_t>& to) {
    const auto found = object.find(key);
    if (found != object.end() && found->is_number_unsigned()) to = found->get<std::uint64_t>();
}

void take(const Json& object, const char* key, std::uint64_t& to) {
    std::optional<std::uint64_t> number;
    take(object, key, number);
    to = number.value_or(to);
}

// Of libvirt's errors, whose numbers are signed.
void take(const Json& object, const char* key, std::optional<std::int64_t>& to) {
    const auto found = object.find(key);
    if (found != object.end() && found->is_number_integer()) to = found->get<std::int64_t>();
}

std::vector<Object> take_objects(const Json& record) {
    std::vector<Object> objects;
    const auto found = record.find("objects");
    if (found == record.end() || !found->is_array()) return objects;
    for (const Json& element : *found) {
        if (!element.is_object()) continue;
        Object object;
        take(element, "kind", object.kind);
        take(element, "name", object.name);
        take(element, "uuid", object.uuid);
        const auto known = element.find("known");
        object.known = known != element.end() && known->is_boolean() && known->get<bool>();
        objects.push_back(std::move(object));
    }
    return objects;
}

void take_client(const Json& record, Entry& entry) {
    take(record, "identity", entry.identity);
    take(record, "session", entry.session);
    take(record, "subject", entry.subject);
    take(record, "fingerprint", entry.fingerprint);
    take(record, "login", entry.login);
    take(record, "mechanism", entry.mechanism);
    take(record, "uid", entry.uid);
    take(record, "gid", entry.gid);
    take(record, "pid", entry.pid);
    take(record, "source", entry.source);
    take(record, "port", entry.port);
    take(record, "listener", entry.listener);
}

}  // namespace

std::optional<Entry> parse_entry(std::string_view line) {
    // Nesting is what a parser's stack pays for, but this one keeps its own on the heap; the line is bounded.
    const Json record = Json::parse(line, nullptr, false);
    if (!record.is_object()) return {};
    Entry entry;
    std::optional<std::string> time;
    take(record, "time", time);
    take(record, "record", entry.record);
    if (!time || entry.record.empty()) return {};
    const auto moment = parse_rfc3339(*time);
    if (!moment) return {};
    entry.time = *moment;
    take(record, "verdict", entry.verdict);
    take(record, "reason", entry.reason);
    take_client(record, entry);
    take(record, "program", entry.program);
    take(record, "procedure", entry.procedure);
    take(record, "flags", entry.flags);
    entry.objects = take_objects(record);
    take(record, "more_objects", entry.more_objects);
    take(record, "role", entry.role);
    take(record, "rule", entry.rule);
    take(record, "detail", entry.detail);
    take(record, "owner", entry.owner);
    take(record, "shadow_role", entry.shadow_role);
    take(record, "shadow_rule", entry.shadow_rule);
    take(record, "generation", entry.generation);
    take(record, "serial", entry.serial);
    take(record, "decision_us", entry.decision_us);
    take(record, "duration_us", entry.duration_us);
    take(record, "result", entry.result);
    take(record, "error", entry.error);
    take(record, "dropped", entry.dropped);
    return entry;
}

}  // namespace virtgate::ctl::audit
