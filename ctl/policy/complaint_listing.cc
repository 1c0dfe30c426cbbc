// SPDX-License-Identifier: LGPL-2.1-or-later
// complaint_listing - what is wrong with a policy, for people and for programs.
#include "ctl/policy/complaint_listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ctl/policy/excerpt.h"
#include "ctl/policy/json.h"

namespace virtgate::ctl::policy {

using virtgate::policy::Complaints;
using virtgate::policy::PolicyFile;

namespace {

// What did_you_mean() puts behind a message (libshared/base/suggest.h).
constexpr std::string_view k_before = "(did you mean \"", k_after = "\"?)";

std::string_view suggestion_in(std::string_view message) noexcept {
    const auto start = message.rfind(k_before);
    if (start == message.npos || !message.ends_with(k_after)) return {};
    message.remove_prefix(start + k_before.size());
    message.remove_suffix(k_after.size());
    return message;
}

std::string_view text_of(const Loaded& loaded, const std::string& path) noexcept {
    const auto file = std::find_if(loaded.files.begin(), loaded.files.end(),
                                   [&](const PolicyFile& each) { return each.path == path; });
    return file == loaded.files.end() ? std::string_view{} : file->text;
}

}  // namespace

std::string list_complaints(const Loaded& loaded) {
    std::string text;
    for (const Complaints::Line& line : loaded.complaints.lines()) {
        text += line.text;
        text += line.code.empty() ? "\n" : fmt::format(" [{}]\n", line.code);
        text += excerpt(text_of(loaded, line.at.file), line.at.line, line.at.column);
    }
    return text;
}

Json complaints_to_json(const Loaded& loaded) {
    Json list = Json::array();
    for (const Complaints::Line& line : loaded.complaints.lines()) {
        Json one{{"level", line.is_error ? "error" : "warning"}};
        if (!line.code.empty()) one["code"] = line.code;
        one.update(to_json(line.at));
        one["text"] = line.message;
        if (const auto suggestion = suggestion_in(line.message); !suggestion.empty())
            one["suggestion"] = suggestion;
        list.push_back(std::move(one));
    }
    return list;
}

}  // namespace virtgate::ctl::policy
