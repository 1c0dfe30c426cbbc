// SPDX-License-Identifier: LGPL-2.1-or-later
// violations - names the call that a filter has refused.
#include "libshared/confine/violations.h"

#include <seccomp.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "libshared/base/handle.h"

namespace virtgate::confine {

namespace {

constexpr std::size_t k_calls = 512;
constexpr std::size_t k_name_size = 32;

// Looked up beforehand: in the handler nothing may be allocated, since the refused call may be malloc's own.
std::array<std::array<char, k_name_size>, k_calls> g_names;

// A line built without the C library.
class Line {
public:
    void add(const char* text) noexcept {
        while (*text != '\0' && size_ < text_.size()) text_[size_++] = *text++;
    }
    void add_number(std::uint64_t value, unsigned base) noexcept {
        std::array<char, 24> digits{};
        std::size_t at = digits.size() - 1;
        do digits[--at] = "0123456789abcdef"[value % base];
        while ((value /= base) != 0);
        add(digits.data() + at);
    }
    void send() const noexcept { static_cast<void>(!write(STDERR_FILENO, text_.data(), size_)); }

private:
    std::array<char, 256> text_{};
    std::size_t size_ = 0;
};

std::array<std::uint64_t, 6> read_arguments([[maybe_unused]] const ucontext_t& context) noexcept {
#if defined(__x86_64__)
    const auto& registers = context.uc_mcontext.gregs;
    std::array<std::uint64_t, 6> found{};
    std::size_t at = 0;
    for (const int one : {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9})
        found[at++] = static_cast<std::uint64_t>(registers[one]);
    return found;
#elif defined(__aarch64__)
    const auto& registers = context.uc_mcontext.regs;
    return {registers[0], registers[1], registers[2], registers[3], registers[4], registers[5]};
#else
    return {};
#endif
}

void on_violation(int, siginfo_t* about, void* context) noexcept {
    const auto number = static_cast<std::size_t>(about->si_syscall);
    const auto arguments = read_arguments(*static_cast<const ucontext_t*>(context));
    Line line;
    line.add("<3>system call violation: ");
    line.add(number < k_calls ? g_names[number].data() : "?");
    line.add(" (");
    line.add_number(number, 10);
    line.add(")");
    for (const auto one : arguments) {
        line.add(" 0x");
        line.add_number(one, 16);
    }
    line.add("\n");
    line.send();
    // SA_RESETHAND has restored the default, and SIGSYS is blocked in here: the same call again is the end.
    syscall(about->si_syscall, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
            arguments[5]);
    // Only if it was something else that sent the signal.
    std::abort();
}

}  // namespace

Done tell_violations() {
    for (std::size_t number = 0; number < k_calls; ++number) {
        const std::unique_ptr<char, FreeWith<std::free>> name{
            seccomp_syscall_resolve_num_arch(seccomp_arch_native(), static_cast<int>(number))};
        g_names[number].fill('\0');
        std::strncpy(g_names[number].data(), name != nullptr ? name.get() : "?", k_name_size - 1);
    }
    struct sigaction action {};
    action.sa_sigaction = on_violation;
    action.sa_flags = SA_SIGINFO | static_cast<int>(SA_RESETHAND);
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGSYS, &action, nullptr) < 0) return system_fault(errno, "cannot handle SIGSYS");
    return {};
}

}  // namespace virtgate::confine
