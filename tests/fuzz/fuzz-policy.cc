// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-policy - any text as a policy file: complaints or a table, within a second and 64 MiB; and a table
// that was made encodes, decodes to the same one, and does not depend on the order in which the files came.
#include <malloc.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <string_view>

#include "config.h"
#include "libshared/base/result.h"
#include "policy/files.h"
#include "policy/parse.h"
#include "policy/resolve.h"
#include "policy/table.h"
#include "proto/codec.h"

using namespace virtgate;

namespace {

// What a file of policy::k_size_max bytes may cost.
constexpr std::size_t k_memory_max = std::size_t{64} << 20;
#ifdef VIRTGATE_SANITIZERS
constexpr std::chrono::seconds k_time_max{10};  // which cost that much
#else
constexpr std::chrono::seconds k_time_max{1};
#endif

std::size_t live = 0, peak = 0;

void* take(std::size_t size) noexcept {
    void* block = std::malloc(size != 0 ? size : 1);
    if (block == nullptr) std::abort();
    live += malloc_usable_size(block);
    if (live > peak) peak = live;
    return block;
}

void give_back(void* block) noexcept {
    if (block != nullptr) live -= malloc_usable_size(block);
    std::free(block);
}

}  // namespace

// Counts what the compiler uses. The program has one thread.
void* operator new(std::size_t size) { return take(size); }
void* operator new[](std::size_t size) { return take(size); }
void operator delete(void* block) noexcept { give_back(block); }
void operator delete[](void* block) noexcept { give_back(block); }
void operator delete(void* block, std::size_t) noexcept { give_back(block); }
void operator delete[](void* block, std::size_t) noexcept { give_back(block); }

namespace {

// The second file stands for the rest of a policy, so that bindings of the first find something.
constexpr std::string_view k_other =
    "version = 1\n[identity.other]\nsasl = 'other'\n[role.other]\nallow = ['@read-only']\n"
    "[[binding]]\nidentity = 'other'\nrole = 'other'\nobjects = { domain = ['web-1'] }\n";

// The table of both files, in this order or the other one; empty if there is none.
ByteVector compile(std::string_view text, bool is_first, policy::Complaints& complaints) {
    policy::Source source;
    if (is_first) policy::parse_file(text, "10.toml", source, complaints);
    policy::parse_file(k_other, "20.toml", source, complaints);
    if (!is_first) policy::parse_file(text, "10.toml", source, complaints);
    const auto table = policy::resolve(source, complaints);
    if (complaints.errors() != 0) return {};
    auto bytes = proto::encode(table);
    require(bytes.has_value(), "a compiled policy does not encode");
    return std::move(*bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > policy::k_size_max) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto began = std::chrono::steady_clock::now();
    const std::size_t before = live;
    peak = live;
    policy::Complaints complaints;
    const ByteVector bytes = compile(text, true, complaints);
    require(peak - before <= k_memory_max, "a policy file takes too much memory");
    require(std::chrono::steady_clock::now() - began <= k_time_max, "a policy file takes too much time");
    for (const auto& line : complaints.lines())
        require(!line.text.empty() && line.text.find('\n') == std::string::npos,
                "a complaint of several lines");
    policy::Complaints again;
    require(compile(text, false, again) == bytes, "the order of files means something");
    require(complaints.errors() == again.errors(), "the order of files means something to the complaints");
    if (bytes.empty()) return 0;
    const auto table = proto::decode<proto::policy::PolicyTable>(bytes);
    require(table.has_value() && proto::encode(*table) == bytes, "a compiled policy changes when it is read");
    return 0;
}
