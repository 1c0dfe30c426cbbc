// SPDX-License-Identifier: LGPL-2.1-or-later
// ctl_policy_rig - policies for the tests of the tools, from texts instead of files.
#pragma once

#include <criterion/criterion.h>

#include <string>
#include <string_view>
#include <utility>

#include "ctl/policy/loaded.h"
#include "policy/parse.h"
#include "policy/resolve.h"

// The policy of a file 10.toml with that text, which must have no errors.
inline virtgate::ctl::policy::Loaded load_text(std::string_view text) {
    virtgate::ctl::policy::Loaded loaded;
    loaded.files.push_back({"10.toml", std::string(text)});
    virtgate::policy::parse_file(text, "10.toml", loaded.source, loaded.complaints);
    loaded.table = virtgate::policy::Table(virtgate::policy::resolve(loaded.source, loaded.complaints));
    std::string said;
    for (const auto& line : loaded.complaints.lines()) said += line.text + "\n";
    cr_assert_eq(loaded.complaints.errors(), 0u, "%s", said.c_str());
    return loaded;
}
