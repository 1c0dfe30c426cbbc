// SPDX-License-Identifier: LGPL-2.1-or-later
// self - what a program of ours finds out about itself when it starts.
//
// Owns: nothing.
#pragma once

#include <string>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"
#include "libshared/xdr/reader.h"

namespace virtgate::spawn {

// A configuration in a memory file has at most this many bytes: three PEM texts of proto/config.x and the
// rest.
inline constexpr std::size_t k_config_max = 4U << 20;

// The absolute path of the executable that runs. Once that has been replaced it says so and is no path any more: who
// wants to execute what took its place asks before. Error: system's fault, where /proc is not mounted.
Result<std::string> program_path();

// The directory of the executable that runs, without a final slash: the others of our programs lie beside it.
// Error: system's fault, where /proc is not mounted.
Result<std::string> program_directory();

// Makes this process closed to others: not dumpable (no core file, no ptrace, /proc entries belong to root),
// no core file, and no new privileges by exec. For every child, first thing in main().
Done close_to_others() noexcept;

// Raises the limit of open descriptors as far as it goes. Returns what it is then; 0 if the system does not tell.
std::size_t raise_descriptor_limit() noexcept;

// Logs why this program does not start; a complaint about a configuration may have several lines. Returns the exit status:
// status_of(error, status).
int complain(const Error& error, int status);

// All bytes of the file `fd` (borrowed) from its start, at most `limit`. Error: system's fault.
Result<ByteVector> read_file(int fd, std::size_t limit);

// Reads the configuration T (a structure of proto/config.x) that the parent left in the memory file `fd`, and
// closes that. Error: system's fault, if this program was not started by its parent.
template <class T>
Result<T> read_config(int fd) {
    const UniqueFd file{fd};
    auto bytes = read_file(file.get(), k_config_max);
    if (!bytes)
        return wrap(std::move(bytes.error()), "cannot read the configuration from the parent process");
    xdr::Reader reader{*bytes};
    T config;
    config.decode(reader);
    auto result = reader.finish(std::move(config));
    if (!result)
        return system_fault(
            0, fmt::format("the parent process left a configuration with {}", to_text(result.error())));
    return std::move(*result);
}

}  // namespace virtgate::spawn
