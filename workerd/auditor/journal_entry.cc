// SPDX-License-Identifier: LGPL-2.1-or-later
// journal_entry - a record in the form that systemd's journal takes.
#include "workerd/auditor/journal_entry.h"

#include <cstdint>

#include "libshared/base/bytes.h"

namespace virtgate::workerd::auditor {

namespace {

using Json = nlohmann::ordered_json;

// A string as it is, a number in decimal, true and false.
std::string to_value(const Json& value) {
    return value.is_string() ? value.get_ref<const std::string&>()
                             : value.dump(-1, ' ', true, Json::error_handler_t::replace);
}

// Of an object in a call only what one looks for: journalctl VIRTGATE_OBJECT=domain=db-1
void add_objects(std::string& entry, const Json& objects) {
    for (const Json& object : objects) {
        if (const auto name = object.find("name"); name != object.end())
            add_field(
                entry, "VIRTGATE_OBJECT",
                object.at("kind").get_ref<const std::string&>() + "=" + name->get_ref<const std::string&>());
        if (const auto uuid = object.find("uuid"); uuid != object.end())
            add_field(entry, "VIRTGATE_OBJECT_UUID", uuid->get_ref<const std::string&>());
    }
}

}  // namespace

std::string_view message_id(Kind kind) noexcept {
    switch (kind) {
        case Kind::call: return "bf49225c634d4bae946e2884de311b99";
        case Kind::session: return "6c01429aff744d31b237c15f6be7b345";
        case Kind::session_end: return "30d291b5c6ed4281a6365c2ee20c6cee";
        case Kind::policy: return "f33cfdf8268742ec81e433613381f74d";
        case Kind::dropped: return "173318845311412f89e5c8ac44d00788";
        case Kind::lock_broken: return "5b0f3f1c8d2a4e679c31d7e0a8546b2f";
    }
    return {};
}

void add_field(std::string& entry, std::string_view name, std::string_view value) {
    entry += name;
    if (value.find('\n') == std::string_view::npos) {
        entry += '=';
    } else {
        entry += '\n';
        const std::uint64_t size = value.size();
        for (unsigned shift = 0; shift < 64; shift += 8) entry += static_cast<char>(size >> shift & 0xff);
    }
    entry += value;
    entry += '\n';
}

std::string to_journal_entry(const Record& record) {
    std::string entry;
    add_field(entry, "MESSAGE", record.message);
    add_field(entry, "MESSAGE_ID", message_id(record.kind));
    add_field(entry, "PRIORITY", std::to_string(record.priority));
    add_field(entry, "SYSLOG_IDENTIFIER", "virtgate");
    for (const auto& [key, value] : record.json.items()) {
        if (key == "objects")
            add_objects(entry, value);
        else
            add_field(entry, "VIRTGATE_" + to_upper(key), to_value(value));
    }
    return entry;
}

}  // namespace virtgate::workerd::auditor
