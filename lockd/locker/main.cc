// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-locker - serves clients of libvirt's lock program, takes locks, ends owners that gave up theirs.
//
// Started by virtgate-lockd alone, with the descriptors of libshared/fdmap.h. It ends when its parent does, or when it has
// handed over all clients.
//
// Trust:  every byte that comes by a listener is hostile, whoever sent it.
#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <ctime>

#include "libshared/fdmap.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "lockd/locker/confinement.h"
#include "lockd/locker/locker.h"

namespace virtgate::lockd::locker {

namespace {

std::int64_t now() noexcept { return std::time(nullptr); }

bool has_capability(unsigned capability) noexcept {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
    return syscall(SYS_capget, &header, data) == 0 &&
           (data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability)) != 0;
}

// What is configured and does not work, or not for all. Said once, where an administrator looks after a start.
void say_what_is_off(const proto::config::LockerConfig& config) {
    if (config.fencing && !has_capability(CAP_KILL))
        Log{}.warning(
            "without CAP_KILL owners of other users cannot be ended; their locks stay until they end by "
            "themselves");
    if (!config.direct.empty() && !has_capability(CAP_DAC_OVERRIDE))
        Log{}.info("without CAP_DAC_OVERRIDE only files that user {} may write can be locked directly",
                   geteuid());
    for (const auto* directories : {&config.lock_spaces, &config.direct})
        for (const std::string& directory : *directories)
            if (access(directory.c_str(), F_OK) != 0)
                Log{}.warning("{} is not there: nothing beneath it can be locked before a reload", directory);
}

// A lock space that is a configured directory need not be made by hand.
void make_directories(const proto::config::LockerConfig& config) {
    for (const std::string& directory : config.lock_spaces)
        if (mkdir(directory.c_str(), S_IRWXU) == 0) Log{}.info("made {}", directory);
}

void listen(Locker& locker, int fd, unsigned number) {
    UniqueFd socket{fd};
    int listens = 0;
    socklen_t size = sizeof listens;
    // Where none is configured, /dev/null is in its place.
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0)
        locker.listen(std::move(socket), number);
    else
        static_cast<void>(socket.release());  // the number stays taken: nothing else may get it
}

int fail(const Error& error) {
    Log{}.error("{}", error.text);
    return spawn::k_exit_system;
}

}  // namespace

}  // namespace virtgate::lockd::locker

int main(int argc, char** argv) {
    using namespace virtgate;
    using namespace virtgate::lockd::locker;
    if (confine::is_asked_to_show(argc, argv)) return confine::show(make_plan({}));
    if (const auto closed = spawn::close_to_others(); !closed) return fail(closed.error());
    std::signal(SIGPIPE, SIG_IGN);
    // One or two descriptors for each client, and one for each lock.
    spawn::raise_descriptor_limit();
    const auto config = spawn::read_config<proto::config::LockerConfig>(fdmap::k_config);
    if (!config) return fail(config.error());
    set_log_level(static_cast<Level>(config->log_level));

    make_directories(*config);
    say_what_is_off(*config);
    const auto loop = loop::make_event_loop();
    Locker locker(*loop, *config, UniqueFd{fdmap::k_control}, now);
    listen(locker, fdmap::k_locker_own_listener, k_own_listener);
    listen(locker, fdmap::k_locker_libvirt_listener, k_libvirt_listener);
    if (!confine::confine(make_plan(*config), static_cast<confine::Mode>(config->sandbox)))
        return spawn::k_exit_system;
    locker.start();
    loop->run();
    return locker.status();
}
