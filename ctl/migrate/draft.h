// SPDX-License-Identifier: LGPL-2.1-or-later
// draft - a plan that is being made: the settings that were read, and what has become of them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/migrate/plan.h"

namespace virtgate::ctl::migrate {

// A file of TOML, in the order in which its sections and keys were set.
class Settings {
public:
    // `value` as it is written there.
    void set(std::string_view section, std::string_view key, std::string value);
    void set_text(std::string_view section, std::string_view key, std::string_view text);
    // One more section, with what `row` has before its first one.
    void append(std::string_view section, const Settings& row);
    // With a line of comment at the top for each of `comments`.
    [[nodiscard]] std::string to_text(const std::vector<std::string>& comments) const;

private:
    struct Section {
        std::string name;  // "tls"; "[upstream]" for a new [[upstream]]; empty before all
        std::string lines;
    };
    std::vector<Section> sections_{{"", ""}};
};

class Draft {
public:
    // Takes what is good in `entries`, each the first time. Findings for what comes again, or what nobody reads.
    Draft(std::string file, std::string daemon, const Circumstances& circumstances,
          const std::vector<Entry>& entries);

    // Of a key that is set, and that this daemon reads; null or empty otherwise.
    [[nodiscard]] const Entry* find(std::string_view key) const;
    [[nodiscard]] std::optional<std::int64_t> number(std::string_view key) const;
    [[nodiscard]] std::string text(std::string_view key, std::string_view fallback = {}) const;
    [[nodiscard]] const std::vector<Text>* texts(std::string_view key) const;
    [[nodiscard]] bool has_network() const noexcept;  // it is a daemon that listens on the network

    // A finding about `key`, set or not.
    void note(std::string_view key, Outcome outcome, std::string_view where, std::string text);
    void take(std::string_view key, std::string_view where, std::string text = {}) {
        note(key, Outcome::taken, where, std::move(text));
    }
    void leave(std::string_view key, std::string text) { note(key, Outcome::open, {}, std::move(text)); }
    // A mistake of the file, which libvirt refuses.
    void refuse(std::string_view key, std::string_view text);

    // `table`, an alternative of the one identity, and a comment on it.
    void let_in(std::string_view table, std::string_view why);
    // The same, commented out: for somebody to look at.
    void offer(std::string_view table, std::string_view why);
    // That everybody of this machine could read, which is no right of theirs here.
    void had_readers() noexcept { has_readers_ = true; }
    [[nodiscard]] std::size_t count_let_in() const noexcept { return alternatives_.size(); }

    Settings netd, workerd;
    std::map<std::string, std::string> units;  // name of a socket unit: what its drop-in has
    std::vector<std::string> complaints;
    std::vector<Finding> findings;

    [[nodiscard]] const Circumstances& circumstances() const noexcept { return circumstances_; }
    [[nodiscard]] const std::string& file() const noexcept { return file_; }
    [[nodiscard]] const std::string& daemon() const noexcept { return daemon_; }
    [[nodiscard]] std::string policy() const;

private:
    std::string file_, daemon_;
    Circumstances circumstances_;
    std::map<std::string, Entry, std::less<>> entries_;
    std::vector<std::string> alternatives_;  // ready for the file
    std::vector<std::string> comments_;      // the same, commented out
    bool has_readers_ = false;
};

// Who gets in, and what has to be proved: the listeners and the policy.
void plan_admission(Draft& draft);

}  // namespace virtgate::ctl::migrate
