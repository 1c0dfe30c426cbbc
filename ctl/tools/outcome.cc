// SPDX-License-Identifier: LGPL-2.1-or-later
// outcome - how a command ends: its exit status, what is said of a failure, and signals.
#include "ctl/tools/outcome.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>

namespace virtgate::ctl::tools {

namespace {

sigset_t ending_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&set, number);
    return set;
}

}  // namespace

int exit_status(const client::Failure& failure) noexcept {
    using client::Cause;
    switch (failure.cause) {
        case Cause::remote: return k_exit_refused;
        case Cause::invalid:
        case Cause::unsupported: return spawn::k_exit_usage;
        case Cause::system:
            return spawn::status_of(Error{Fault::system, failure.number, {}}, spawn::k_exit_system);
        case Cause::untrusted:
        case Cause::denied: return k_exit_denied;
        case Cause::protocol: return k_exit_protocol;
        case Cause::cancelled: return k_exit_interrupted;
        case Cause::unreachable:
        case Cause::closed:
        case Cause::timeout:
        case Cause::busy: break;
    }
    return k_exit_unreachable;
}

std::string describe(const client::Failure& failure) {
    if (failure.cause != client::Cause::remote) return failure.text;
    return fmt::format("{} (code {}, domain {})", failure.text, failure.remote.code, failure.remote.domain);
}

int fail_with(const client::Failure& failure) { return say(describe(failure), exit_status(failure)); }

client::Result<std::size_t> read_some(int fd, MutableBytes buffer, const std::string& name,
                                      const client::Deadline& deadline) {
    struct stat facts {};
    const bool waits = fstat(fd, &facts) == 0 && !S_ISREG(facts.st_mode) && !S_ISBLK(facts.st_mode);
    client::Result<client::Waiter> waiter = client::fail(client::Cause::unsupported, {});
    if (waits) waiter = client::Waiter::make();
    if (waits && !waiter) return tl::unexpected(waiter.error());
    for (;;) {
        if (waits)
            if (const auto done = waiter->wait(fd, client::Want::read, deadline); !done)
                return tl::unexpected(done.error());
        const ssize_t size = read(fd, buffer.data(), buffer.size());
        if (size >= 0) return static_cast<std::size_t>(size);
        if (errno != EINTR && errno != EAGAIN)
            return client::fail_system(errno, fmt::format("cannot read {}", name));
    }
}

Signals::Signals() {
    const sigset_t set = ending_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    signals_ = UniqueFd{signalfd(-1, &set, SFD_CLOEXEC)};
    end_ = UniqueFd{eventfd(0, EFD_CLOEXEC)};
    watcher_ = std::thread([this] {
        std::array<pollfd, 2> waited{{{signals_.get(), POLLIN, 0}, {end_.get(), POLLIN, 0}}};
        while (poll(waited.data(), waited.size(), -1) < 0) continue;
        if (waited[0].revents != 0) stop_.request_stop();
    });
}

SignalsLetThrough::SignalsLetThrough() {
    const sigset_t set = ending_signals();
    pthread_sigmask(SIG_UNBLOCK, &set, &before_);
}

SignalsLetThrough::~SignalsLetThrough() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

Signals::~Signals() {
    const std::uint64_t one = 1;
    static_cast<void>(!write(end_.get(), &one, sizeof one));
    watcher_.join();
}

}  // namespace virtgate::ctl::tools
