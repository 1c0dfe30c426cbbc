// SPDX-License-Identifier: LGPL-2.1-or-later
// programs - programs of others, as programs.d announces them: one file for each, NAME.toml.
//
//     schema = "/usr/share/inventory/inventory.schema"     # as xdrgen wrote it
//     executable = "/usr/libexec/inventory"                # serves it, with libshared/service
//     shared = true                                        # one process for everybody; false: one for each identity
//     directories = ["/var/lib/inventory"]                 # what that may read and write
//     user = "inventory"                                   # only where workerd runs as root; else its own
//     threads = 4                                          # for handlers that are slow
//
// Clients reach it with the URI NAME:/// in CONNECT_OPEN, for which libshared/client takes "NAME+tls://host/". netd takes the
// schema from here, workerd also what is to be started: both read the same files.
//
// Trust:  the files are the administrator's. A schema is verified all the same (proto/schema_check.h).
// Limits: proto::k_added_max versions of programs; schemas of at most k_schema_size_max bytes (proto/config.x).
#pragma once

#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/result.h"

namespace virtgate::programs {

// One file.
struct Announced {
    std::string name{};  // of the file, without ".toml"
    std::string file{};
    std::string uri{};         // "NAME:///"
    std::uint32_t number = 0;  // of the program
    ByteVector schema{};       // the contents of that file
    std::string executable{};
    bool is_shared = false;
    std::vector<std::string> directories{};
    std::string user{};  // empty: nobody in particular
    std::uint32_t threads = 0;
};

// All of `directory`, by name; nothing if there is no such directory. Error: system's fault, all complaints, separated by
// newlines: one wrong file, and nothing of the directory is used.
[[nodiscard]] Result<std::vector<Announced>> read_programs(const std::string& directory);

// Their schemas, for the configuration of a process (proto/config.x; schemas.h).
[[nodiscard]] std::vector<ByteVector> schemas_of(const std::vector<Announced>& programs);

}  // namespace virtgate::programs
