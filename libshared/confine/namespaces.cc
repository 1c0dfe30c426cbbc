// SPDX-License-Identifier: LGPL-2.1-or-later
// namespaces - a process alone.
#include "libshared/confine/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <string_view>

#include "libshared/base/path_fault.h"
#include "libshared/confine/privileges.h"

namespace virtgate::confine {

namespace {

constexpr const char* k_kinds[] = {"user", "net", "ipc", "uts"};
constexpr int k_flags = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;

// The machine's own one has had this number since Linux 3.8 (PROC_IPC_INIT_INO of linux/proc_ns.h).
constexpr std::string_view k_first_ipc = "ipc:[4026531839]";

using Names = std::array<std::string, std::size(k_kinds)>;  // "net:[4026531840]"

Result<std::string> find_name(const char* kind) {
    std::array<char, 64> name{};
    const ssize_t size = readlink(fmt::format("/proc/self/ns/{}", kind).c_str(), name.data(), name.size());
    if (size < 0) return system_fault(errno, fmt::format("cannot read /proc/self/ns/{}", kind));
    return std::string(name.data(), static_cast<std::size_t>(size));
}

// Those that the kernel does not have are empty.
Names find_names() {
    Names names;
    for (std::size_t i = 0; i < names.size(); ++i)
        if (auto name = find_name(k_kinds[i])) names.at(i) = std::move(*name);
    return names;
}

// All of a file of /proc/self/net, if it can be read and is no longer than any that leads nowhere.
std::optional<std::string> read_table(const char* path) {
    const UniqueFd file{open(path, O_RDONLY | O_CLOEXEC)};
    if (!file) return {};
    std::string text(4096, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t got = read(file.get(), text.data() + size, text.size() - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return {};
        if (got == 0) {
            text.resize(size);
            return text;
        }
        size += static_cast<std::size_t>(got);
    }
    return {};
}

// Whether each line leads to the loopback device, whose name is the last word.
bool leads_nowhere(std::string_view routes) noexcept {
    while (!routes.empty()) {
        std::string_view line = routes.substr(0, routes.find('\n'));
        routes.remove_prefix(std::min(line.size() + 1, routes.size()));
        line.remove_prefix(line.rfind(' ') + 1);  // npos + 1 is 0
        if (line != "lo") return false;
    }
    return true;
}

// PrivateNetwork= and PrivateIPC= of systemd.exec(5): no route leads anywhere, and it is not the machine's own. That a
// machine without a network looks the same is why both are asked for.
bool is_alone_already() {
    const auto ipc = find_name("ipc");
    if (!ipc || *ipc == k_first_ipc) return false;
    const auto routes = read_table("/proc/self/net/route");  // a heading, and a line for each
    if (!routes || std::count(routes->begin(), routes->end(), '\n') > 1) return false;
    const auto routes6 = read_table("/proc/self/net/ipv6_route");
    return routes6 ? leads_nowhere(*routes6) : access("/proc/self/net/if_inet6", F_OK) != 0;
}

// Why unshare() failed with `number`, if that is not for us to mend. Empty if it is.
std::string_view describe_lack(int number) noexcept {
    switch (number) {
        // One thread there is, so it is not that.
        case EINVAL:
        case ENOSYS: return "the kernel has no user namespaces";
        case EPERM:
        case EACCES: return "user namespaces are forbidden here, and the network is not empty";
        case ENOSPC:
        case EUSERS: return "there are as many namespaces as user.max_*_namespaces allow";
        default: return {};
    }
}

// In the second process. Calls only: it has a copy of everything, and is to touch nothing.
int wait_and_leave(void* argument) noexcept {
    const int* ends = static_cast<const int*>(argument);
    close(ends[1]);
    char byte = 0;
    ssize_t got = 0;
    do got = read(ends[0], &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1) return 0;  // the first one has ended, or does without
    // This process's own, and when it has ended, there is nothing in it.
    if (chroot("/proc/self/fdinfo") < 0 || chdir("/") < 0) return errno;
    return 0;
}

tl::unexpected<Error> lacking(int number, std::string text) {
    auto error = system_fault(number, std::move(text));
    error.value().text += advice_for(number);
    return error;
}

int try_in_vain(void*) noexcept { return unshare(k_flags) < 0 ? errno : 0; }

// Starts `work` in a process with a copy of this one's memory, of whose end no signal tells. Negative with errno.
pid_t start(int (*work)(void*) noexcept, int flags, void* argument) noexcept {
    alignas(64) static std::array<char, 65536> stack;  // each process has its own copy
    return clone(work, stack.data() + stack.size(), flags, argument);
}

int await(pid_t pid) noexcept {
    int status = 0;
    while (waitpid(pid, &status, __WALL) < 0)
        if (errno != EINTR) return -1;
    return status;
}

}  // namespace

Result<bool> leave_namespaces(Report& report) {
    if (auto done = expect_one_thread("namespaces are left"); !done)
        return tl::unexpected(std::move(done.error()));
    const Names before = find_names();
    if (unshare(k_flags) < 0) {
        const int number = errno;
        const std::string_view lack = describe_lack(number);
        if (lack.empty()) return system_fault(number, "cannot leave the namespaces");
        if (is_alone_already()) {
            report.note_in_force(Layer::namespaces, "the service manager's: network and IPC");
            return false;
        }
        if (auto done = report.note_lack(Layer::namespaces, std::string(lack)); !done)
            return tl::unexpected(std::move(done.error()));
        return false;
    }
    const Names after = find_names();
    for (std::size_t i = 0; i < after.size(); ++i)
        if (after.at(i).empty() || after.at(i) == before.at(i))
            return system_fault(0, fmt::format("the {} namespace is the same as before", k_kinds[i]));
    report.note_in_force(Layer::namespaces, "user, network, IPC, host name");
    return true;
}

Result<EmptyRoot> EmptyRoot::prepare() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return lacking(errno, "cannot make a pipe");
    const UniqueFd reading{ends[0]};
    UniqueFd writing{ends[1]};
    const pid_t helper = start(wait_and_leave, CLONE_FS, ends);
    if (helper < 0) return lacking(errno, "cannot make a process for the empty root directory");
    return EmptyRoot(std::move(writing), helper);
}

EmptyRoot::EmptyRoot(EmptyRoot&& other) noexcept
    : go_(std::move(other.go_)), helper_(std::exchange(other.helper_, -1)) {}

EmptyRoot::~EmptyRoot() {
    if (helper_ > 0) static_cast<void>(end());
}

int EmptyRoot::end() noexcept {
    go_.reset();
    return await(std::exchange(helper_, -1));
}

Done EmptyRoot::enter(Report& report) {
    const bool told = write(go_.get(), "", 1) == 1;
    const int status = end();
    if (!told || !WIFEXITED(status)) return system_fault(0, "the root directory did not become empty");
    // A filter around us; the file systems are there, and the capability, too.
    if (const int number = WEXITSTATUS(status); number == EPERM || number == EACCES || number == ENOSYS)
        return report.note_lack(Layer::namespaces, "an empty root directory is forbidden here");
    else if (number != 0)
        return system_fault(number, "cannot change the root directory");
    struct stat about {};
    for (const char* name : {"/proc", "/etc", "/0", "../proc"})
        if (stat(name, &about) == 0)
            return system_fault(0, fmt::format("{} is still there in an empty root directory", name));
    report.note_in_force(Layer::namespaces, "an empty root directory");
    return {};
}

Result<std::string> find_why_not_alone() {
    const pid_t pid = start(try_in_vain, 0, nullptr);
    if (pid < 0) return lacking(errno, "cannot make a process that tries namespaces");
    const int status = await(pid);
    if (!WIFEXITED(status)) return system_fault(0, "the process that tries namespaces was killed");
    const int number = WEXITSTATUS(status);
    if (number == 0) return std::string();
    const std::string_view lack = describe_lack(number);
    if (lack.empty()) return system_fault(number, "cannot try namespaces");
    return is_alone_already() ? std::string() : std::string(lack);
}

}  // namespace virtgate::confine
