// SPDX-License-Identifier: LGPL-2.1-or-later
// plan - what of a libvirt daemon's configuration becomes which file of virtgate, and what does not.
//
// Nothing is guessed: what virtgate cannot say as libvirt said it is left out, never opened wider, and is a finding. Where the
// file is silent and libvirt's default decides who gets in, that is a finding, too.
//
// Trust:  as source.h. What is quoted in the findings is plain text.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "ctl/migrate/keys.h"
#include "ctl/migrate/source.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::migrate {

struct Finding {
    std::string key;
    std::string value;  // as in the file; empty: libvirt's default
    Place at;
    Outcome outcome;
    std::string where;  // "netd.toml [tls] port"; empty: nowhere
    std::string text;   // what is different, why it is left out, or what to do; may be empty
};

// A file to write, by its path below the directory.
struct File {
    std::string path;
    std::string text;
};

struct Plan {
    std::string file;    // that was read
    std::string daemon;  // "libvirtd"
    std::vector<Finding> findings;
    std::vector<File> files;
    [[nodiscard]] bool has_open() const noexcept;
};

struct Circumstances {
    bool has_units = true;  // virtgate's daemons are started by systemd
    // Whether this machine has the group; for tests another one.
    bool (*has_group)(const std::string& name) = nullptr;
};

// True if the system's group database has it.
[[nodiscard]] bool is_group(const std::string& name);

// `file`: the name of `text`, whose last part says whose it is: libvirtd.conf, virtproxyd.conf, virtqemud.conf …; other names are
// taken for libvirtd's. Error: system's fault; what libvirt would refuse, one line each.
Result<Plan> make_plan(std::string_view text, const std::string& file, const Circumstances& circumstances);

}  // namespace virtgate::ctl::migrate
