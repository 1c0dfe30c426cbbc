// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-cutter - the frame cutter finds the same frames however the stream is cut into pieces.
//
// Input: one byte that seeds the sizes of the pieces, then the stream. What is done with each frame (whole, pieces,
// skip) depends on its serial, so that all ways follow each other in any order.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "libshared/base/result.h"
#include "libshared/rpc/cutter.h"

using namespace virtgate;
using rpc::Cut;

namespace {

constexpr std::size_t k_frame_max = 65536;

// What was found, as text: frames and pieces with their bytes, skips, and whether the stream broke.
std::string cut(ByteVector stream, std::uint32_t seed, bool in_one) {
    rpc::Cutter cutter(k_frame_max);
    std::string found;
    for (std::size_t at = 0; at < stream.size();) {
        seed = seed * 1664525 + 1013904223;
        const std::size_t step = in_one ? stream.size() : 1 + (seed >> 20) % 97;
        MutableBytes in = MutableBytes(stream).subspan(at, std::min(step, stream.size() - at));
        at += in.size();
        for (bool more = true; more;) {
            const std::size_t before = in.size();
            const Cut piece = cutter.next(in);
            require(in.size() <= before, "input was invented");
            switch (piece.kind) {
                case Cut::Kind::more:
                    require(in.empty(), "input was left");
                    more = false;
                    break;
                case Cut::Kind::flaw: return found + "!";
                case Cut::Kind::skipped: found += "s"; break;
                case Cut::Kind::header:
                    require(piece.frame_size >= rpc::k_frame_min && piece.frame_size <= k_frame_max,
                            "a wrong size");
                    if (piece.header.serial % 3 == 0)
                        cutter.take_whole();
                    else if (piece.header.serial % 3 == 1)
                        cutter.take_pieces();
                    else
                        cutter.skip();
                    break;
                case Cut::Kind::frame:
                    require(piece.bytes.size() == piece.frame_size, "a frame of another size");
                    require(rpc::read_header(piece.bytes.data()) == piece.header,
                            "a frame with another header");
                    found += "f" + std::string(as_text(piece.bytes));
                    break;
                case Cut::Kind::piece:
                    found += std::string(piece.first ? "p" : "") + std::string(as_text(piece.bytes)) +
                             (piece.last ? "." : "");
                    break;
            }
        }
        require(cutter.held().size() <= k_frame_max, "more was kept than a frame");
    }
    return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto* begin = reinterpret_cast<const std::byte*>(data);
    const ByteVector stream(begin + 1, begin + size);
    if (cut(stream, data[0], true) != cut(stream, data[0], false)) std::abort();
    return 0;
}
