// SPDX-License-Identifier: LGPL-2.1-or-later
// simulator - what a filter would answer to a system call, without making it.
#include "libshared/confine/simulator.h"

#include <linux/seccomp.h>

#include <cstddef>
#include <optional>

namespace virtgate::confine {

namespace {

constexpr std::uint32_t k_word = 4;

// The word at `offset` of struct seccomp_data; nothing for an offset that the kernel would refuse.
std::optional<std::uint32_t> load_word(const Call& call, bool big_endian, std::uint32_t offset) noexcept {
    if (offset % k_word != 0 || offset >= sizeof(seccomp_data)) return std::nullopt;
    if (offset == offsetof(seccomp_data, nr)) return static_cast<std::uint32_t>(call.number);
    if (offset == offsetof(seccomp_data, arch)) return call.audit;
    // No filter of ours looks from where a call comes.
    if (offset < offsetof(seccomp_data, args)) return 0;
    const std::uint32_t inside = offset - static_cast<std::uint32_t>(offsetof(seccomp_data, args));
    const std::uint64_t argument = call.arguments.at(inside / 8);
    const bool upper = (inside % 8 != 0) != big_endian;
    return static_cast<std::uint32_t>(upper ? argument >> 32U : argument);
}

Answer read_action(std::uint32_t action) noexcept {
    switch (action & SECCOMP_RET_ACTION_FULL) {
        case SECCOMP_RET_ALLOW: return {Verdict::allowed, 0};
        case SECCOMP_RET_ERRNO: return {Verdict::error, static_cast<int>(action & SECCOMP_RET_DATA)};
        case SECCOMP_RET_TRAP: return {Verdict::trapped, 0};
        case SECCOMP_RET_LOG: return {Verdict::logged, 0};
        case SECCOMP_RET_KILL_PROCESS:
        case SECCOMP_RET_KILL_THREAD: return {Verdict::killed, 0};
        default: return {Verdict::other, 0};
    }
}

std::optional<bool> compare(std::uint16_t code, std::uint32_t a, std::uint32_t k) noexcept {
    switch (BPF_OP(code)) {
        case BPF_JEQ: return a == k;
        case BPF_JGT: return a > k;
        case BPF_JGE: return a >= k;
        case BPF_JSET: return (a & k) != 0;
        default: return std::nullopt;
    }
}

}  // namespace

Result<Answer> simulate(std::span<const sock_filter> program, Architecture architecture, const Call& call) {
    const bool big_endian = architecture == Architecture::s390x;
    std::uint32_t a = 0;
    // Jumps lead forward only, so this ends.
    for (std::size_t at = 0; at < program.size(); ++at) {
        const auto& one = program[at];
        switch (one.code) {
            case BPF_LD | BPF_W | BPF_ABS: {
                const auto word = load_word(call, big_endian, one.k);
                if (!word) return system_fault(0, fmt::format("the filter loads from offset {}", one.k));
                a = *word;
                break;
            }
            case BPF_ALU | BPF_AND | BPF_K: a &= one.k; break;
            case BPF_JMP | BPF_JA: at += one.k; break;
            case BPF_RET | BPF_K: return read_action(one.k);
            default: {
                const auto holds = compare(one.code, a, one.k);
                if (BPF_CLASS(one.code) != BPF_JMP || BPF_SRC(one.code) != BPF_K || !holds)
                    return system_fault(0, fmt::format("the filter has an instruction {:#x}", one.code));
                at += *holds ? one.jt : one.jf;
            }
        }
    }
    return system_fault(0, "the filter has an end without an answer");
}

}  // namespace virtgate::confine
