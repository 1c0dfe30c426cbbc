// SPDX-License-Identifier: LGPL-2.1-or-later
// settings - what a daemon's configuration says about its log.
#include "libshared/logging/settings.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "libshared/config/document.h"

namespace virtgate::logging {

namespace {

constexpr std::string_view k_places = "\"stderr\", \"journald\", \"syslog:NAME\" or \"file:PATH\"";

// A level's name or libvirt's number for it.
bool read_level(std::string_view text, Level& level) noexcept {
    if (text.size() == 1 && text[0] >= '1' && text[0] <= '4') {
        level = static_cast<Level>(text[0] - '1');
        return true;
    }
    return parse_level(text, level);
}

// Takes what is before the first colon off.
std::string_view take_word(std::string_view& rest) noexcept {
    const std::size_t colon = rest.find(':');
    const std::string_view word = rest.substr(0, colon);
    rest = colon == rest.npos ? std::string_view() : rest.substr(colon + 1);
    return word;
}

bool is_plain(std::string_view name) noexcept {
    return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
               c == '_' || c == '.';
    });
}

}  // namespace

Level Settings::of(std::string_view process) const noexcept {
    for (const Filter& filter : filters)
        if (filter.process == process) return filter.level;
    return level;
}

std::vector<std::string> Settings::files() const {
    std::vector<std::string> files;
    for (const Output& output : outputs)
        if (output.kind == Output::Kind::file) files.push_back(output.target);
    return files;
}

void Settings::leave_terminal(std::string_view program) {
    if (outputs.empty())
        outputs.push_back(
            {.kind = Output::Kind::syslog, .level = Level::debug, .target = std::string(program)});
}

Result<Filter> parse_filter(std::string_view text, std::span<const std::string_view> processes) {
    std::string_view rest = text;
    Filter filter;
    if (!read_level(take_word(rest), filter.level) || rest.empty())
        return peer_fault("has to be LEVEL:PROCESS, with debug, info, warning or error (or 1 to 4) as LEVEL");
    if (std::find(processes.begin(), processes.end(), rest) == processes.end())
        return peer_fault(fmt::format("names no process of this daemon: there are {}{}",
                                      fmt::join(processes, ", "),
                                      did_you_mean(rest, {processes.begin(), processes.end()})));
    filter.process = rest;
    return filter;
}

Result<Output> parse_output(std::string_view text, std::string_view program) {
    std::string_view rest = text;
    Output output;
    std::string_view place = take_word(rest);
    if (read_level(place, output.level)) place = take_word(rest);
    if (place == "stderr" && rest.empty()) return output;
    if (place == "journald" && rest.empty()) {
        output.kind = Output::Kind::journald;
        return output;
    }
    if (place == "syslog") {
        output.kind = Output::Kind::syslog;
        output.target = rest.empty() ? program : rest;
        if (is_plain(output.target)) return output;
        return peer_fault(
            "has a name for syslog with other characters than letters, digits, \"-\", \"_\" and \".\"");
    }
    if (place == "file") {
        output.kind = Output::Kind::file;
        output.target = rest;
        if (rest.starts_with('/')) return output;
        return peer_fault("has to name a file by its absolute path");
    }
    return peer_fault(fmt::format("has to be {}, with or without \"LEVEL:\" in front", k_places));
}

Settings read_log(config::Section& root, std::string_view program,
                       std::span<const std::string_view> processes) {
    Settings settings;
    if (!parse_level(root.text("log_level", "info"), settings.level))
        root.refuse("log_level", "\"log_level\" has to be \"debug\", \"info\", \"warning\" or \"error\"");
    for (const std::string& text : root.texts("log_filters")) {
        auto filter = parse_filter(text, processes);
        if (filter)
            settings.filters.push_back(std::move(*filter));
        else
            root.refuse("log_filters", fmt::format("\"{}\" {}", escape(text, 64), filter.error().text));
    }
    for (const std::string& text : root.texts("log_outputs")) {
        auto output = parse_output(text, program);
        if (output)
            settings.outputs.push_back(std::move(*output));
        else
            root.refuse("log_outputs", fmt::format("\"{}\" {}", escape(text, 64), output.error().text));
    }
    return settings;
}

}  // namespace virtgate::logging
