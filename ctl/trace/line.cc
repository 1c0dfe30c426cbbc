// SPDX-License-Identifier: LGPL-2.1-or-later
// line - a record as one line, for people or for programs.
#include "ctl/trace/line.h"

#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "libshared/base/bytes.h"

namespace virtgate::ctl::trace {

using reflect::Json;

namespace {

std::string_view word_of(Record::Kind kind) {
    switch (kind) {
        case Record::Kind::call: return "call";
        case Record::Kind::reply: return "reply";
        case Record::Kind::error: return "error";
        case Record::Kind::event: return "event";
        case Record::Kind::data: return "data";
        case Record::Kind::hole: return "hole";
        case Record::Kind::finish: return "finish";
        case Record::Kind::lost: return "lost";
    }
    return "?";
}

long microseconds_of(Moment when) {
    constexpr long k_second = 1'000'000;
    const auto whole = std::chrono::duration_cast<std::chrono::microseconds>(when.time_since_epoch()).count();
    return static_cast<long>((whole % k_second + k_second) % k_second);
}

std::string local_time(Moment when) {
    const std::time_t seconds = std::chrono::system_clock::to_time_t(when);
    std::tm parts{};
    localtime_r(&seconds, &parts);
    return fmt::format("{:02}:{:02}:{:02}.{:06}", parts.tm_hour, parts.tm_min, parts.tm_sec,
                       microseconds_of(when));
}

std::string utc(Moment when) {
    const std::time_t seconds = std::chrono::system_clock::to_time_t(when);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    char text[32];
    const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    return fmt::format("{}.{:06}Z", std::string_view{text, size}, microseconds_of(when));
}

// What a record carries.
std::string content_of(const Record& record, bool full) {
    if (record.kind == Record::Kind::error)
        return fmt::format("{} (code {})", escape(record.error, full ? record.error.size() * 4 : k_shown_max),
                           record.code);
    if (!record.error.empty()) return fmt::format("{} bytes; {}", record.size, escape(record.error));
    if (record.payload.is_discarded())
        return record.kind == Record::Kind::finish ? std::string{} : fmt::format("{} bytes", record.size);
    if (record.payload.is_null()) return {};
    std::string text = reflect::print(record.payload, reflect::Layout::line);
    while (text.ends_with('\n')) text.pop_back();
    if (!full && text.size() > k_shown_max) {
        const std::size_t more = text.size() - k_shown_max;
        text.resize(k_shown_max);
        text += fmt::format("... ({} more)", more);
    }
    return text;
}

}  // namespace

std::string line_text(const Record& record, unsigned connection, Moment when, bool full) {
    std::string line = fmt::format("{} {} {} {}", local_time(when), connection,
                                   record.from == From::client ? '>' : '<', word_of(record.kind));
    if (record.kind != Record::Kind::lost)
        line +=
            fmt::format(" {}.{} #{}", escape(record.program), escape(record.procedure), record.header.serial);
    if (record.took) line += fmt::format(" {:.2f}ms", static_cast<double>(record.took->count()) / 1000);
    if (record.descriptors > 0) line += fmt::format(" +{}fd", record.descriptors);
    if (const std::string content = content_of(record, full); !content.empty()) line += " " + content;
    return line + "\n";
}

std::string line_json(const Record& record, unsigned connection, Moment when) {
    Json json{{"time", utc(when)},
              {"connection", connection},
              {"from", record.from == From::client ? "client" : "server"},
              {"what", word_of(record.kind)}};
    if (record.kind != Record::Kind::lost) {
        json["program"] = record.program;
        json["procedure"] = record.procedure;
        json["serial"] = record.header.serial;
        json["size"] = record.size;
    }
    if (record.took) json["milliseconds"] = static_cast<double>(record.took->count()) / 1000;
    if (record.descriptors > 0) json["descriptors"] = record.descriptors;
    if (!record.payload.is_discarded() && record.kind != Record::Kind::lost) json["payload"] = record.payload;
    if (!record.error.empty()) json["error"] = record.error;
    if (record.kind == Record::Kind::error) json["code"] = record.code;
    return json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

std::string note_text(std::string_view note, unsigned connection, Moment when) {
    return fmt::format("{} {} - {}\n", local_time(when), connection, note);
}

std::string note_json(std::string_view note, unsigned connection, Moment when) {
    const Json json{{"time", utc(when)}, {"connection", connection}, {"what", note}};
    return json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace virtgate::ctl::trace
