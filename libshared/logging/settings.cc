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

namespace {

template <class Parse>
auto parse_list(std::string_view list, Parse&& parse)
    -> Result<std::vector<typename decltype(parse(list))::value_type>> {
    std::vector<typename decltype(parse(list))::value_type> all;
    for (std::size_t at = 0; at < list.size();) {
        const std::size_t end = std::min(list.find(' ', at), list.size());
        if (const std::string_view word = list.substr(at, end - at); !word.empty()) {
            auto one = parse(word);
            if (!one) return peer_fault(fmt::format("\"{}\" {}", escape(word, 64), one.error().text));
            all.push_back(std::move(*one));
        }
        at = end + 1;
    }
    return all;
}

// libvirt's numbers of levels begin with 1.
unsigned number_of(Level level) noexcept { return static_cast<unsigned>(level) + 1; }

std::string write_output(const Output& output) {
    const unsigned level = number_of(output.level);
    switch (output.kind) {
        case Output::Kind::standard_error: return fmt::format("{}:stderr", level);
        case Output::Kind::journald: return fmt::format("{}:journald", level);
        case Output::Kind::syslog: return fmt::format("{}:syslog:{}", level, output.target);
        case Output::Kind::file: return fmt::format("{}:file:{}", level, output.target);
    }
    panic("an unknown kind of output");
}

template <class Items, class Write>
std::string join_first(const Items& items, Write&& write) {
    std::string text;
    for (const auto& item : items) {
        const std::string one = write(item);
        if (text.size() + one.size() + 1 > k_list_max) break;
        text += (text.empty() ? "" : " ") + one;
    }
    return text;
}

}  // namespace

Result<std::vector<Filter>> parse_filters(std::string_view list,
                                          std::span<const std::string_view> processes) {
    return parse_list(list, [&](std::string_view word) { return parse_filter(word, processes); });
}

Result<std::vector<Output>> parse_outputs(std::string_view list, std::string_view program) {
    return parse_list(list, [&](std::string_view word) { return parse_output(word, program); });
}

std::string list_filters(const Settings& settings) {
    return join_first(settings.filters, [](const Filter& filter) {
        return fmt::format("{}:{}", number_of(filter.level), filter.process);
    });
}

std::string list_outputs(const Settings& settings) {
    return settings.outputs.empty() ? fmt::format("{}:stderr", number_of(settings.level))
                                    : join_first(settings.outputs, write_output);
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
