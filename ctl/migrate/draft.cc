// SPDX-License-Identifier: LGPL-2.1-or-later
// draft - a plan that is being made: the settings that were read, and what has become of them.
#include "ctl/migrate/draft.h"

#include <fmt/format.h>

#include <algorithm>

#include "ctl/up/options.h"
#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "proto/policy.h"

namespace virtgate::ctl::migrate {

namespace {

constexpr std::string_view k_policy_head =
    "# Written by virtgate migrate-config, of {}.\n"
    "#\n"
    "# libvirt gives all rights to everybody whom it lets in, and so does this: the role \"admin\" may do "
    "everything, and who may\n"
    "# define a virtual machine is as good as root on this host. To give less, make an identity of its own "
    "for some of the lines of\n"
    "# \"any\" below, which then have to go here, a role, and a binding of the two:\n"
    "#\n"
    "#     [role.operator]\n"
    "#     allow = [\"@read-only\", \"@events\", \"@lifecycle\", \"@console\"]\n"
    "#\n"
    "#     [[binding]]\n"
    "#     identity = \"operators\"\n"
    "#     role = \"operator\"\n"
    "#     objects = {{ domain = \"glob:web-*\" }}\n"
    "#\n"
    "# virtgate-policy(5) has the words. \"virtgate policy learn\" makes a role of what somebody has done "
    "for some days.\n"
    "version = 1\n";

constexpr std::string_view k_readers =
    "\n"
    "# libvirt's read-only socket is open to everybody on this machine. To let the members of a group look "
    "here, too:\n"
    "#\n"
    "#     [identity.readers]\n"
    "#     unix = { group = \"users\" }\n"
    "#\n"
    "#     [role.reader]\n"
    "#     allow = [\"@read-only\", \"@events\"]\n"
    "#\n"
    "#     [[binding]]\n"
    "#     identity = \"readers\"\n"
    "#     role = \"reader\"\n"
    "#     objects = { domain = \"glob:*\", network = \"glob:*\", pool = \"glob:*\", volume = \"glob:*\" }\n";

std::string written(const Value& value) {
    if (const auto* number = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *number);
    if (const auto* text = std::get_if<std::string>(&value)) return fmt::format("\"{}\"", *text);
    std::string list;
    for (const Text& text : std::get<std::vector<Text>>(value))
        list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", text.text);
    return fmt::format("[{}]", list);
}

std::vector<std::string_view> key_names() {
    std::vector<std::string_view> names;
    for (const Key& key : keys()) names.push_back(key.name);
    return names;
}

}  // namespace

void Settings::set(std::string_view section, std::string_view key, std::string value) {
    auto found = std::find_if(sections_.rbegin(), sections_.rend(),
                              [&](const Section& each) { return each.name == section; });
    if (found == sections_.rend()) {
        sections_.push_back({std::string(section), {}});
        found = sections_.rbegin();
    }
    found->lines += fmt::format("{} = {}\n", key, value);
}

void Settings::set_text(std::string_view section, std::string_view key, std::string_view text) {
    set(section, key, up::quote_toml(text));
}

void Settings::append(std::string_view section, const Settings& row) {
    sections_.push_back({std::string(section), row.sections_.front().lines});
}

std::string Settings::to_text(const std::vector<std::string>& comments) const {
    std::string text;
    for (const std::string& line : comments) text += fmt::format("# {}\n", line);
    for (const Section& section : sections_) {
        if (section.lines.empty()) continue;
        text += section.name.empty() ? "\n" : fmt::format("\n[{}]\n", section.name);
        text += section.lines;
    }
    return text;
}

Draft::Draft(std::string file, std::string daemon, const Circumstances& circumstances,
             const std::vector<Entry>& entries)
    : file_(std::move(file)), daemon_(std::move(daemon)), circumstances_(circumstances) {
    for (const Entry& entry : entries) {
        const Key* key = find_key(entry.key);
        const auto add = [&](Outcome outcome, std::string text) {
            findings.push_back({entry.key, written(entry.value), entry.at, outcome, {}, std::move(text)});
        };
        if (key == nullptr) {
            add(Outcome::unneeded, fmt::format("libvirt does not know it, and ignores it{}",
                                               did_you_mean(entry.key, key_names())));
        } else if (const std::string flaw = flaw_of(*key, entry); !flaw.empty()) {
            complaints.push_back(complaint(file_, entry.value_at, flaw));
        } else if (const auto first = entries_.find(entry.key); first != entries_.end()) {
            add(Outcome::unneeded,
                fmt::format("libvirt ignores it: line {} has it before", first->second.at.line));
        } else if (key->of_network && !has_network()) {
            add(Outcome::unneeded, fmt::format("{} does not listen on the network, and ignores it", daemon_));
        } else {
            entries_.emplace(entry.key, entry);
            if (key->fate) add(*key->fate, std::string(key->why));
        }
    }
}

const Entry* Draft::find(std::string_view key) const {
    const auto found = entries_.find(key);
    return found == entries_.end() ? nullptr : &found->second;
}

std::optional<std::int64_t> Draft::number(std::string_view key) const {
    const Entry* entry = find(key);
    return entry == nullptr ? std::nullopt : std::optional(std::get<std::int64_t>(entry->value));
}

std::string Draft::text(std::string_view key, std::string_view fallback) const {
    const Entry* entry = find(key);
    return entry == nullptr ? std::string(fallback) : std::get<std::string>(entry->value);
}

const std::vector<Text>* Draft::texts(std::string_view key) const {
    const Entry* entry = find(key);
    return entry == nullptr ? nullptr : &std::get<std::vector<Text>>(entry->value);
}

bool Draft::has_network() const noexcept { return daemon_ == "libvirtd" || daemon_ == "virtproxyd"; }

void Draft::note(std::string_view key, Outcome outcome, std::string_view where, std::string text) {
    const Entry* entry = find(key);
    findings.push_back({std::string(key), entry == nullptr ? std::string{} : written(entry->value),
                        entry == nullptr ? Place{} : entry->at, outcome, std::string(where),
                        std::move(text)});
}

void Draft::refuse(std::string_view key, std::string_view text) {
    const Entry* entry = find(key);
    complaints.push_back(complaint(file_, entry == nullptr ? Place{1, 1} : entry->value_at, text));
}

void Draft::let_in(std::string_view table, std::string_view why) {
    alternatives_.push_back(fmt::format("  # {}\n  {},\n", why, table));
}

void Draft::offer(std::string_view table, std::string_view why) {
    comments_.push_back(fmt::format("  # {}\n  # {},\n", why, table));
}

// A policy has at most so many alternatives in one identity; more of them go to a second one.
std::string Draft::policy() const {
    constexpr std::size_t k_max = proto::policy::k_alternatives_max;
    std::string text = fmt::format(k_policy_head, escape(file_));
    std::string names;
    const std::size_t parts = (alternatives_.size() + k_max - 1) / k_max;
    for (std::size_t part = 0; part < parts; ++part) {
        const std::string name = part == 0 ? "libvirt" : fmt::format("libvirt-{}", part + 1);
        text += fmt::format("\n[identity.{}]\nany = [\n", name);
        for (std::size_t i = part * k_max; i < std::min(alternatives_.size(), (part + 1) * k_max); ++i)
            text += alternatives_[i];
        if (part == 0)
            for (const std::string& comment : comments_) text += comment;
        text += "]\n";
        names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", name);
    }
    if (parts == 0) {
        text += "\n# Nobody could be taken over: until there is an identity here, nobody gets in.\n";
        for (const std::string& comment : comments_) text += comment;
        return has_readers_ ? text.append(k_readers) : text;
    }
    text += fmt::format("\n[[binding]]\nidentity = [{}]\nrole = \"admin\"\n", names);
    return has_readers_ ? text.append(k_readers) : text;
}

}  // namespace virtgate::ctl::migrate
