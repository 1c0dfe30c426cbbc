// SPDX-License-Identifier: LGPL-2.1-or-later
// rpc - tests of headers, the frame cutter and control channels.
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "libshared/loop/fake_loop.h"
#include "libshared/rpc/control.h"
#include "libshared/rpc/cutter.h"
#include "libshared/rpc/error.h"

using namespace virtgate;
using rpc::Cut;
using rpc::Cutter;
using rpc::Header;

namespace {

constexpr Header k_call{.program = 0x20008086, .version = 1, .procedure = 23, .serial = 7};

ByteVector frame_of(std::size_t payload, std::byte fill = std::byte{0x5a}) {
    return rpc::make_frame(k_call, ByteVector(payload, fill));
}

void append(ByteVector& to, ByteView bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

// Feeds `stream` in pieces of `step` bytes and returns the payload sizes of the frames that came out whole.
std::vector<std::size_t> cut_whole(ByteVector stream, std::size_t step) {
    Cutter cutter(rpc::k_request_max);
    std::vector<std::size_t> sizes;
    for (std::size_t at = 0; at < stream.size(); at += step) {
        MutableBytes in = MutableBytes(stream).subspan(at, std::min(step, stream.size() - at));
        for (;;) {
            const Cut cut = cutter.next(in);
            if (cut.kind == Cut::Kind::more) break;
            cr_assert(cut.kind != Cut::Kind::flaw);
            if (cut.kind == Cut::Kind::header) {
                cutter.take_whole();
                continue;
            }
            cr_assert(cut.kind == Cut::Kind::frame);
            cr_assert(cut.header == k_call);
            cr_assert_eq(cut.bytes.size(), load_be32(cut.bytes.data()));
            for (const std::byte b : cut.bytes.subspan(rpc::k_frame_min)) cr_assert(b == std::byte{0x5a});
            sizes.push_back(cut.bytes.size() - rpc::k_frame_min);
        }
    }
    cr_assert(!cutter.in_frame());
    return sizes;
}

}  // namespace

Test(header, is_big_endian_and_survives_a_round_trip) {
    const ByteVector frame = frame_of(4);
    cr_assert_eq(to_hex(frame),
                 "0000002020008086000000010000001700000000000000070000000"
                 "05a5a5a5a");
    cr_assert(rpc::read_header(frame.data()) == k_call);
}

Test(header, keepalive_packets_have_28_bytes) {
    cr_assert_eq(to_hex(rpc::make_keepalive(rpc::Keepalive::pong)),
                 "0000001c6b6565700000000100000002000000020000000000000000");
}

Test(cutter, finds_the_same_frames_in_pieces_of_any_size) {
    ByteVector stream;
    const std::vector<std::size_t> sizes{0, 4, 100, 0, 0, 70000, 8};
    for (const std::size_t size : sizes) append(stream, frame_of(size));
    for (const std::size_t step : {1UL, 2UL, 3UL, 27UL, 28UL, 29UL, 4096UL, 65536UL, 1000000UL})
        cr_assert(cut_whole(stream, step) == sizes, "pieces of %zu bytes", step);
}

Test(cutter, does_not_copy_a_frame_that_is_complete) {
    ByteVector frame = frame_of(64);
    Cutter cutter(rpc::k_request_max);
    MutableBytes in = frame;
    cr_assert(cutter.next(in).kind == Cut::Kind::header);
    cutter.take_whole();
    cr_assert_eq(cutter.next(in).bytes.data(), frame.data());
}

Test(cutter, refuses_lengths_outside_the_limits_at_the_length_word) {
    for (const std::uint32_t length : {0U, 4U, 27U, 33554433U, 0x7fffffffU, 0xffffffffU}) {
        Cutter cutter(rpc::k_request_max);
        ByteVector word(4);
        store_be32(word.data(), length);
        MutableBytes in = word;
        cr_assert(cutter.next(in).kind == Cut::Kind::flaw, "length %u", length);
    }
    Cutter cutter(rpc::k_request_max);
    ByteVector word(4);
    store_be32(word.data(), 33554432);
    MutableBytes in = word;
    cr_assert(cutter.next(in).kind == Cut::Kind::more);
    cr_assert_eq(cutter.held().size(), 4);
}

Test(cutter, gives_pieces_as_they_come) {
    ByteVector stream = frame_of(1000);
    for (const std::size_t step : {1UL, 10UL, 28UL, 500UL, 2000UL}) {
        Cutter cutter(rpc::k_request_max);
        ByteVector out;
        bool first = true;
        bool last = false;
        for (std::size_t at = 0; at < stream.size(); at += step) {
            MutableBytes in = MutableBytes(stream).subspan(at, std::min(step, stream.size() - at));
            for (;;) {
                const Cut cut = cutter.next(in);
                if (cut.kind == Cut::Kind::more) break;
                if (cut.kind == Cut::Kind::header) {
                    cutter.take_pieces();
                    continue;
                }
                cr_assert(cut.kind == Cut::Kind::piece);
                cr_assert_eq(cut.first, first);
                cr_assert(!last);
                first = false;
                last = cut.last;
                append(out, cut.bytes);
            }
        }
        cr_assert(last);
        cr_assert(out == stream);
    }
}

Test(cutter, skips_without_keeping) {
    ByteVector stream = frame_of(100000);
    append(stream, frame_of(4));
    Cutter cutter(rpc::k_request_max);
    int frames = 0;
    int skipped = 0;
    for (std::size_t at = 0; at < stream.size(); at += 1000) {
        MutableBytes in = MutableBytes(stream).subspan(at, std::min<std::size_t>(1000, stream.size() - at));
        for (Cut cut = cutter.next(in); cut.kind != Cut::Kind::more; cut = cutter.next(in)) {
            if (cut.kind == Cut::Kind::header) {
                if (cut.frame_size > 1000)
                    cutter.skip();
                else
                    cutter.take_whole();
            }
            frames += cut.kind == Cut::Kind::frame;
            skipped += cut.kind == Cut::Kind::skipped;
            cr_assert_lt(cutter.held().size(), 1000);
        }
    }
    cr_assert_eq(frames, 1);
    cr_assert_eq(skipped, 1);
}

Test(cutter, abandons_a_frame_that_was_judged_early) {
    ByteVector stream = frame_of(10000);
    append(stream, frame_of(4));
    Cutter cutter(rpc::k_request_max);
    MutableBytes in = MutableBytes(stream).first(5000);
    cr_assert(cutter.next(in).kind == Cut::Kind::header);
    cutter.take_whole();
    cr_assert(cutter.next(in).kind == Cut::Kind::more);
    cr_assert_eq(cutter.held().size(), 5000);
    cutter.abandon();
    in = MutableBytes(stream).subspan(5000);
    cr_assert(cutter.next(in).kind == Cut::Kind::skipped);
    cr_assert(cutter.next(in).kind == Cut::Kind::header);
}

Test(error, carries_its_text_twice_as_libvirt_does) {
    const ByteVector payload = rpc::make_error_payload(39, "no");
    cr_assert_eq(to_hex(payload),
                 "0000002700000007"          // code, domain
                 "00000001000000026e6f0000"  // message
                 "0000000200000000"          // level, no domain object
                 "00000001000000022573"
                 "0000"                      // str1
                 "00000001000000026e6f0000"  // str2
                 "00000000ffffffffffffffff00000000");
    cr_assert_eq(rpc::read_error_text(payload), "no");
    cr_assert_eq(rpc::read_error_text(ByteView(payload).first(17)), "unreadable error");
}

namespace {

struct Listener {
    std::vector<std::string> heard;
    std::size_t fds = 0;
    std::string closed;
    void on_message(rpc::Control::Message& message) noexcept {
        heard.emplace_back(as_text(message.payload));
        fds += message.fds.count();
    }
    void on_closed(std::string_view why) noexcept { closed = why; }
};

struct Pair {
    loop::FakeLoop loop;
    FdPair ends = *make_channel_pair();
    int peer = ends.second.get();
    Listener listener;
    int fd;
    rpc::Control control;

    explicit Pair(std::size_t fds_allowed)
        : fd(ends.first.get()),
          control(loop, std::move(ends.first), fds_allowed, loop::to<&Listener::on_message>(listener),
                  loop::to<&Listener::on_closed>(listener)) {}
};

}  // namespace

Test(control, delivers_frames_and_counts_descriptors) {
    Pair pair(1);
    const int fds[] = {0};
    cr_assert(channel::send_packet(pair.peer, rpc::make_frame(k_call, as_bytes("hello")), fds) ==
              channel::Outcome::done);
    pair.loop.ready(pair.fd, loop::Want::read);
    cr_assert_eq(pair.listener.heard.size(), 1);
    cr_assert_eq(pair.listener.heard.front(), "hello");
    cr_assert_eq(pair.listener.fds, 1);
}

Test(control, closes_on_a_descriptor_too_many) {
    Pair pair(1);
    const int fds[] = {0, 0};
    cr_assert(channel::send_packet(pair.peer, rpc::make_frame(k_call, as_bytes("hello")), fds) ==
              channel::Outcome::done);
    pair.loop.ready(pair.fd, loop::Want::read);
    cr_assert(pair.listener.heard.empty());
    cr_assert(!pair.listener.closed.empty());
    cr_assert(!pair.control.is_open());
}

Test(control, closes_on_a_packet_that_is_not_one_frame) {
    ByteVector two = frame_of(4);
    append(two, frame_of(4));
    ByteVector cut_off = frame_of(100);
    cut_off.resize(60);
    for (const ByteVector& wrong : {two, cut_off, ByteVector(10), ByteVector(4, std::byte{0xff})}) {
        Pair pair(0);
        cr_assert(channel::send_packet(pair.peer, wrong) == channel::Outcome::done);
        pair.loop.ready(pair.fd, loop::Want::read);
        cr_assert(pair.listener.heard.empty());
        cr_assert(!pair.control.is_open());
    }
}

Test(control, queues_for_a_slow_peer_in_order_and_with_a_bound) {
    Pair pair(0);
    std::size_t sent = 0;
    while (pair.control.send(k_call, as_bytes(std::to_string(sent)))) ++sent;
    cr_assert_gt(sent, rpc::Control::k_queue_max);
    cr_assert_lt(sent, 100000);
    std::array<std::byte, 1000> buffer;
    for (std::size_t i = 0; i < sent; ++i) {
        std::size_t size = 0;
        if (channel::receive_packet(pair.peer, buffer, size) == channel::Outcome::blocked) {
            cr_assert_eq(pair.loop.ready(pair.fd, loop::Want::write), 1);
            cr_assert(channel::receive_packet(pair.peer, buffer, size) == channel::Outcome::done);
        }
        cr_assert_eq(as_text(ByteView(buffer).subspan(rpc::k_frame_min, size - rpc::k_frame_min)),
                     std::to_string(i));
    }
}

Test(control, reports_a_hang_up_once) {
    Pair pair(0);
    pair.ends.second.reset();
    cr_assert_eq(pair.loop.ready(pair.fd, loop::Want::read), 1);
    cr_assert_eq(pair.listener.closed, "it hung up");
    cr_assert(!pair.control.send(k_call, {}).has_value());
}

Test(packet, does_not_accept_one_that_does_not_fit) {
    const auto ends = make_channel_pair();
    cr_assert(channel::send_packet(ends->first.get(), ByteVector(100)) == channel::Outcome::done);
    std::array<std::byte, 99> small;
    std::size_t size = 0;
    cr_assert(channel::receive_packet(ends->second.get(), small, size) == channel::Outcome::broken);
}

Test(packet, throws_away_descriptors_that_nobody_asked_for) {
    const auto ends = make_channel_pair();
    const int fds[] = {0};
    const int before = dup(0);
    close(before);
    cr_assert(channel::send_packet(ends->first.get(), as_bytes("x"), fds) == channel::Outcome::done);
    std::array<std::byte, 99> buffer;
    std::size_t size = 0;
    cr_assert(channel::receive_packet(ends->second.get(), buffer, size) == channel::Outcome::done);
    const int after = dup(0);
    cr_assert_eq(before, after, "a descriptor has leaked");
}
