// SPDX-License-Identifier: LGPL-2.1-or-later
// options - what the command line of "virtgate policy" says, and what its commands need of each other.
//
// Owns: copies of the words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ctl/output.h"
#include "ctl/policy/loaded.h"
#include "ctl/policy/request.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::policy {

// Exit statuses of these commands, beside those of libshared/spawn/exit.h.
inline constexpr int k_exit_no = 1;     // errors, refused, different, failed
inline constexpr int k_exit_doubt = 2;  // warnings (with --strict), or nothing that could be answered

struct Options {
    std::vector<std::string> directories{};  // of policy files; empty: those of the installed daemon
    bool json = false;
    bool strict = false;              // check
    bool groups = false;              // show
    std::string group{};              // show
    std::vector<std::string> call{};  // explain, who-can: PROCEDURE KIND=NAME ... flags=...
    ClientWords client{};
    bool matrix = false;                // explain
    std::string at{};                   // explain: a time
    std::string as_of{};                // explain, who-can: another time
    std::string since{}, audit_file{};  // explain, learn, unused; empty: see audit_path()
    bool refused = false;               // learn
    std::string before{}, after{};      // diff: directories
    std::string file{};                 // edit
    std::string suite{};                // reload: the directory of "virtgate up"

    [[nodiscard]] std::vector<std::string> chosen_directories() const;
};

// The directories of the installed daemon, later ones before earlier ones.
[[nodiscard]] const std::vector<std::string>& default_directories();

// A policy without errors. Error: peer's fault; what is wrong with the policy has been printed to standard
// error.
[[nodiscard]] Result<Loaded> open_policy(const std::vector<std::string>& directories);

// "there is no identity NAME", with one that may be meant.
[[nodiscard]] std::string no_identity(const Loaded& loaded, std::string_view name);

}  // namespace virtgate::ctl::policy
