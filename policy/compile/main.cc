// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-policy-compile - reads the policy files and writes the compiled table.
//
// A short-lived child of the broker (libshared/fdmap.h): its configuration names the directories, its result
// goes to a memory file, and what is wrong with the files to standard error, one line each. Exit status 0 or
// 78.
//
// Trust:  it has the only parser that sees policy files, and nothing else: the broker decodes the result.
#include <unistd.h>

#include <cerrno>

#include "libshared/base/log.h"
#include "libshared/fdmap.h"
#include "libshared/programs/schemas.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "policy/compile/confinement.h"
#include "policy/compiler.h"
#include "proto/codec.h"
#include "proto/config.h"

namespace virtgate::policy {

namespace {

Done write_all(int fd, ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t n = write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno != EINTR) return system_fault(errno, "cannot write the compiled policy");
        bytes = bytes.subspan(n > 0 ? static_cast<std::size_t>(n) : 0);
    }
    return {};
}

int run() {
    const auto config = spawn::read_config<proto::config::PolicyCompilerConfig>(fdmap::k_config);
    if (!config) {
        Log{}.error("{}", config.error().text);
        return spawn::k_exit_usage;
    }
    if (const auto added = programs::add_schemas(config->schemas); !added) {
        Log{}.error("{}", added.error().text);
        return spawn::k_exit_usage;
    }
    if (!confine::confine(make_plan(config->directories), static_cast<confine::Mode>(config->sandbox)))
        return spawn::k_exit_system;
    Complaints complaints;
    const auto table = compile(config->directories, complaints);
    // The texts were escaped where they were made.
    for (const Complaints::Line& line : complaints.lines())
        write_log_line(line.is_error ? Level::error : Level::warning, {}, line.text);
    if (complaints.errors() != 0) return spawn::k_exit_config;
    const auto bytes = proto::encode(table);
    require(bytes.has_value(), "a compiled policy does not encode");
    if (const auto done = write_all(fdmap::k_policy_result, *bytes); !done) {
        Log{}.error("{}", done.error().text);
        return spawn::k_exit_system;
    }
    return 0;
}

}  // namespace

}  // namespace virtgate::policy

int main(int argc, char** argv) {
    using namespace virtgate;
    if (confine::is_asked_to_show(argc, argv)) return confine::show(policy::make_plan({}));
    if (const auto closed = spawn::close_to_others(); !closed) {
        Log{}.error("{}", closed.error().text);
        return spawn::k_exit_system;
    }
    return policy::run();
}
