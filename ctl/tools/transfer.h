// SPDX-License-Identifier: LGPL-2.1-or-later
// transfer - volumes to a server and back.
#pragma once

#include <cstdint>
#include <string>

#include "ctl/tools/target.h"

namespace virtgate::ctl::tools {

struct TransferOrder {
    Target target;
    std::string volume;                    // POOL/VOLUME
    std::string file;                      // "-": standard input or output
    std::uint64_t offset = 0, length = 0;  // of the volume, in bytes; length 0: all there is
    bool sparse = false;
    bool resume = false;
    bool checksum = false;
    bool create = false;  // of an upload: make the volume if it is not there
    bool json = false;
};

// "10M", "512", "1.5G" is none: bytes, or with K, M, G, T (powers of 1024). False if it is no such number.
[[nodiscard]] bool parse_size(const std::string& text, std::uint64_t& bytes);

[[nodiscard]] int run_upload(const TransferOrder& order);
[[nodiscard]] int run_download(const TransferOrder& order);

}  // namespace virtgate::ctl::tools
