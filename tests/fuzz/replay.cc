// SPDX-License-Identifier: LGPL-2.1-or-later
// replay - run a fuzzer's target over a corpus as an ordinary test, without libFuzzer.
//
// usage: replay-NAME PATH...      files, or directories of files; prints TAP
//
// Each file is one test. The target gets the file as it is, then what a small accident makes of it: every one of its
// first k_cuts beginnings, and the file with single bytes changed. The same file always gives the same inputs.
// Trust:  the corpus is ours. A target that crashes ends the program before the plan is fulfilled, which is a failure.
// Limits: files up to k_file_max bytes.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;
using Input = std::vector<std::uint8_t>;

constexpr std::size_t k_file_max = 1U << 20;
constexpr std::size_t k_cuts = 256;
constexpr std::size_t k_changes = 256;

/// Runs the target on a heap block of exactly the input's size, so that AddressSanitizer sees the byte after it.
void try_input(const std::uint8_t* data, std::size_t size) {
    const Input exact(data, data + size);
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

void try_file(Input input) {
    try_input(input.data(), input.size());
    for (std::size_t cut = 0; cut < std::min(input.size(), k_cuts); ++cut) try_input(input.data(), cut);
    // The first bytes hold lengths and discriminants: they are changed one by one, later bytes in even steps.
    const std::size_t step = std::max<std::size_t>(1, input.size() / k_changes);
    for (std::size_t at = 0; at < input.size(); at += at < k_changes / 4 ? 1 : step) {
        const std::uint8_t original = input[at];
        for (const std::uint8_t value : {0x00, 0x7f, 0x80, 0xff}) {
            input[at] = static_cast<std::uint8_t>(original ^ value);
            try_input(input.data(), input.size());
        }
        input[at] = original;
    }
}

/// The files named by the arguments, in a fixed order; an argument that cannot be read yields itself and fails later.
std::vector<fs::path> list_files(int argc, char** argv) {
    std::vector<fs::path> files;
    for (int i = 1; i < argc; ++i) {
        std::error_code error;
        if (!fs::is_directory(argv[i], error)) {
            files.emplace_back(argv[i]);
            continue;
        }
        for (const auto& entry : fs::directory_iterator(argv[i], error))
            if (entry.is_regular_file(error)) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
}

bool read_file(const fs::path& path, Input& input) {
    std::ifstream in(path, std::ios::binary);
    if (!in.is_open()) return false;
    input.assign(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    return !in.bad();
}

}  // namespace

int main(int argc, char** argv) {
    const auto files = list_files(argc, argv);
    std::printf("1..%zu\n", files.size());
    int status = 0;
    for (std::size_t i = 0; i < files.size(); ++i) {
        Input input;
        const bool readable = read_file(files[i], input) && input.size() <= k_file_max;
        if (readable) try_file(input);
        if (!readable) status = 1;
        std::printf("%s %zu - %s\n", readable ? "ok" : "not ok", i + 1, files[i].filename().c_str());
        std::fflush(stdout);
    }
    return status;
}
