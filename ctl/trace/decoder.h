// SPDX-License-Identifier: LGPL-2.1-or-later
// decoder - the bytes of one connection, in both directions, as records.
//
// Trust:  both sides may send anything. What is not a frame cannot be followed: there is one record that says so, and none
//         after it for that direction.
// Limits: a partial frame of each direction, up to libvirt's largest one; k_open_max calls are remembered, for how long they
//         take.
// Pure: time is given to it.
#pragma once

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "libshared/base/clock.h"
#include "libshared/reflect/catalogue.h"
#include "libshared/reflect/json.h"
#include "libshared/rpc/cutter.h"

namespace virtgate::ctl::trace {

enum class From : unsigned char { client, server };

struct Record {
    enum class Kind : unsigned char { call, reply, error, event, data, hole, finish, lost };
    From from{};
    Kind kind{};
    rpc::Header header{};
    std::string program, procedure;                 // names, or numbers where there is no name
    std::size_t size = 0;                           // of the whole frame; of a hole, what it stands for
    unsigned descriptors = 0;                       // that come behind the frame
    std::optional<std::chrono::microseconds> took;  // a reply: since its call
    reflect::Json payload;                          // without secrets; discarded where it cannot be known
    std::string error;  // of an error; or what is wrong with the payload. Not escaped
    int code = 0;       // of an error
};

class Decoder {
public:
    static constexpr std::size_t k_open_max = 4096;

    // `catalogue` has to outlive this.
    explicit Decoder(const reflect::Catalogue& catalogue) : catalogue_(catalogue) {}

    // What came from there, and when.
    [[nodiscard]] std::vector<Record> take(From from, ByteView bytes, Instant now);

private:
    struct Side {
        rpc::Cutter cutter{rpc::k_frame_max};
        std::size_t passing = 0;  // bytes that only carry descriptors
        bool lost = false;
    };
    [[nodiscard]] Record read(From from, const rpc::Cut& cut, Instant now);
    void name(Record& record) const;
    void read_payload(Record& record, ByteView payload) const;
    void time(Record& record, Instant now);

    const reflect::Catalogue& catalogue_;
    Side client_, server_;
    std::map<std::uint64_t, Instant> open_;  // by program and serial
};

}  // namespace virtgate::ctl::trace
