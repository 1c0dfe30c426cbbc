// SPDX-License-Identifier: LGPL-2.1-or-later
// text - samples as monitoring systems read them.
#include "libshared/metrics/text.h"

#include <fmt/format.h>

#include <charconv>
#include <iterator>

#include "libshared/base/bytes.h"

namespace virtgate::metrics {

namespace {

// What is no UTF-8 text of one line would spoil all of it: escape() makes plain text of that first.
void append_label(std::string& text, std::string_view value) {
    const std::string plain = is_plain_text(value) ? std::string(value) : escape(value, 1024);
    for (const char c : plain) {
        if (c == '\\' || c == '"') text += '\\';
        text += c;
    }
}

// The help of both formats: a backslash and a line's end would have to be escaped, and there is none.
void append_head(std::string& text, const Entry& entry, Format format) {
    constexpr std::string_view k_types[] = {"counter", "gauge", "info"};
    const bool is_open = format == Format::open_metrics;
    std::string name(entry.name);
    std::string_view type = k_types[static_cast<std::size_t>(entry.type)];
    // Before OpenMetrics, a family has the name of its samples, and there is no info.
    if (!is_open && entry.type == Type::counter) name += "_total";
    if (!is_open && entry.type == Type::info) {
        name += "_info";
        type = "gauge";
    }
    // In OpenMetrics the meaning comes with quotation marks escaped, too.
    std::string help;
    for (const char c : entry.help) {
        if (is_open && c == '"') help += '\\';
        help += c;
    }
    const auto out = std::back_inserter(text);
    if (is_open) {
        fmt::format_to(out, "# TYPE {} {}\n", name, type);
        if (!entry.unit.empty()) fmt::format_to(out, "# UNIT {} {}\n", name, entry.unit);
        fmt::format_to(out, "# HELP {} {}\n", name, help);
    } else {
        fmt::format_to(out, "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    }
}

void append_sample(std::string& text, const Entry& entry, const proto::metrics::Sample& sample) {
    constexpr std::string_view k_suffixes[] = {"_total", "", "_info"};
    text += entry.name;
    text += k_suffixes[static_cast<std::size_t>(entry.type)];
    for (std::size_t i = 0; i < sample.labels.size() && i < entry.labels.size(); ++i) {
        text += i == 0 ? '{' : ',';
        text += entry.labels.at(i);
        text += "=\"";
        append_label(text, sample.labels[i]);
        text += '"';
    }
    if (!sample.labels.empty()) text += '}';
    if (entry.scale == 1)
        fmt::format_to(std::back_inserter(text), " {}\n", sample.value);
    else
        fmt::format_to(std::back_inserter(text), " {}.{:03}\n", sample.value / entry.scale,
                       sample.value % entry.scale);
}

std::string_view trim(std::string_view text) noexcept {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

// What is before `mark`, which goes with it; all, if there is none.
std::string_view take_until(std::string_view& text, char mark) noexcept {
    const std::size_t end = std::min(text.find(mark), text.size());
    const std::string_view piece = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return trim(piece);
}

// "0.75" in thousandths; what is none counts as 0.
int read_weight(std::string_view text) noexcept {
    double weight = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
    if (error != std::errc{} || end != text.data() + text.size() || weight < 0 || weight > 1) return 0;
    return static_cast<int>(weight * 1000);
}

}  // namespace

std::string_view content_type(Format format) noexcept {
    return format == Format::open_metrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                          : "text/plain; version=0.0.4; charset=utf-8";
}

Format choose_format(std::string_view accept) noexcept {
    int open_metrics = 0, text = 0;
    while (!accept.empty()) {
        std::string_view range = take_until(accept, ',');
        const std::string_view type = take_until(range, ';');
        int weight = 1000;
        bool is_ours = true;
        while (!range.empty()) {
            std::string_view value = take_until(range, ';');
            const std::string_view key = take_until(value, '=');
            if (key == "q") weight = read_weight(trim(value));
            // Of another version we know nothing; 0.0.1 had the same syntax.
            if (key == "version" && type == "application/openmetrics-text")
                is_ours = value == "1.0.0" || value == "0.0.1";
        }
        if (type == "application/openmetrics-text" && is_ours) open_metrics = std::max(open_metrics, weight);
        if (type == "text/plain" || type == "text/*" || type == "*/*") text = std::max(text, weight);
    }
    return open_metrics > 0 && open_metrics >= text ? Format::open_metrics : Format::prometheus;
}

std::string format(const Samples& samples, Format format) {
    std::string text;
    std::uint32_t last = proto::metrics::k_families_max;
    for (const auto& sample : samples) {
        if (sample.family >= catalogue().size()) continue;
        const Entry& entry = catalogue()[sample.family];
        if (sample.family != last) append_head(text, entry, format);
        last = sample.family;
        append_sample(text, entry, sample);
    }
    if (format == Format::open_metrics) text += "# EOF\n";
    return text;
}

}  // namespace virtgate::metrics
