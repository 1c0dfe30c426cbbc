// SPDX-License-Identifier: LGPL-2.1-or-later
// worker_fds - descriptors between a local client and the daemon: what passes, what is refused, and that
// none is left.
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/qemu.h"
#include "tests/unit/worker_stage.h"

using namespace virtgate;
using namespace virtgate::test;
using rpc::Status;
using rpc::Type;

namespace {

using Client = Stage::Client;
const Client k_local{.identity = "alice", .is_local = true};

rpc::Header graphics(std::uint32_t serial) { return call_header(Procedure::domain_open_graphics, serial); }
rpc::Header graphics_fd(std::uint32_t serial) {
    return call_header(Procedure::domain_open_graphics_fd, serial);
}
rpc::Header monitor(std::uint32_t serial) {
    return rpc::make_call(proto::qemu::k_program, proto::qemu::k_version,
                          proto::qemu::Procedure::domain_monitor_command_with_files, serial);
}

template <class T>
ByteVector encoded(const T& value = {}) {
    auto bytes = proto::encode(value);
    cr_assert(bytes.has_value());
    return *bytes;
}

// A frame with descriptors: their number comes before the arguments.
ByteVector frame_with(const rpc::Header& header, Type type, std::uint32_t count, ByteView payload) {
    ByteVector body = words({count});
    append(body, payload);
    return rpc::make_frame(with(header, type), body);
}

ByteVector graphics_frame(std::uint32_t serial, std::uint32_t count = 1) {
    return frame_with(graphics(serial), Type::call_with_fds, count,
                      encoded<proto::remote::DomainOpenGraphicsArgs>());
}

ByteVector monitor_frame(std::uint32_t serial, std::uint32_t count) {
    return frame_with(monitor(serial), Type::call_with_fds, count,
                      encoded<proto::qemu::DomainMonitorCommandWithFilesArgs>());
}

// Pipes: the writing ends travel. They are told apart by what is written to them.
class Pipes {
public:
    explicit Pipes(std::size_t count) : ends_(count) {
        for (auto& [reading, writing] : ends_) {
            int both[2];
            cr_assert_eq(pipe2(both, O_CLOEXEC | O_NONBLOCK), 0);
            reading = UniqueFd{both[0]};
            writing = UniqueFd{both[1]};
        }
    }
    [[nodiscard]] std::vector<int> writing() const {
        std::vector<int> fds;
        for (const auto& [reading, writing] : ends_) fds.push_back(writing.get());
        return fds;
    }
    // Closes our copies of the writing ends.
    void let_go() {
        for (auto& [reading, writing] : ends_) writing.reset();
    }
    // True if nobody can write to any of them any more.
    [[nodiscard]] bool are_closed() const {
        return std::all_of(ends_.begin(), ends_.end(), [](const auto& each) {
            char byte;
            return read(each.first.get(), &byte, 1) == 0;
        });
    }
    // True if `fd` leads to number `i`.
    [[nodiscard]] bool leads_to(int fd, std::size_t i) const {
        char byte = 0;
        return ::write(fd, "x", 1) == 1 && read(ends_[i].first.get(), &byte, 1) == 1;
    }

private:
    std::vector<std::pair<UniqueFd, UniqueFd>> ends_;
};

void send_from_gate(Stage& stage, ByteView packet, const std::vector<int>& fds) {
    cr_assert_eq(channel::send_packet(stage.client_.get(), packet, fds), channel::Outcome::done);
    stage.pump();
}

// The daemon sends a descriptor in libvirt's way.
void send_fd(Stage& stage, int fd) {
    const std::byte zero{0};
    cr_assert_eq(channel::send_packet(stage.daemon_.get(), ByteView(&zero, 1), {&fd, 1}),
                 channel::Outcome::done);
}

// What the daemon gets with the next `size` bytes.
std::vector<UniqueFd> receive(Stage& stage, ByteVector& bytes, std::size_t size) {
    stage.pump();
    bytes.resize(size);
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 4)];
    iovec part{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = recvmsg(stage.daemon_.get(), &message, MSG_CMSG_CLOEXEC);
    bytes.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    std::vector<UniqueFd> fds;
    for (cmsghdr* head = CMSG_FIRSTHDR(&message); n >= 0 && head != nullptr;
         head = CMSG_NXTHDR(&message, head)) {
        int fd;
        cr_assert_eq(head->cmsg_len, CMSG_LEN(sizeof fd), "more than one descriptor at once");
        std::memcpy(&fd, CMSG_DATA(head), sizeof fd);
        fds.emplace_back(fd);
    }
    return fds;
}

// A packet for the gate, with what came with it.
struct Packet {
    ByteVector bytes{};
    std::vector<UniqueFd> fds{};
};
std::optional<Packet> packet_of(Stage& stage) {
    stage.pump();
    Packet packet{.bytes = ByteVector(channel::k_packet_max), .fds = {}};
    std::size_t size = 0;
    channel::ReceivedFds fds;
    if (channel::receive_packet(stage.client_.get(), packet.bytes, size, &fds, channel::k_packet_fds_max) !=
        channel::Outcome::done)
        return std::nullopt;
    packet.bytes.resize(size);
    for (std::size_t i = 0; i < fds.count(); ++i) packet.fds.push_back(fds.take(i));
    return packet;
}

std::size_t open_descriptors() {
    std::size_t count = 0;
    DIR* directory = opendir("/proc/self/fd");
    while (readdir(directory) != nullptr) ++count;
    closedir(directory);
    return count;
}

void expect_refused(const Packet& packet, std::uint32_t serial, int code, std::string_view text) {
    const rpc::Header header = rpc::read_header(packet.bytes.data());
    cr_assert_eq(header.serial, serial);
    cr_assert_eq(header.type, Type::reply);
    const Frame frame{header, ByteVector(packet.bytes.begin() + rpc::k_frame_min, packet.bytes.end())};
    cr_assert_eq(error_code(frame), code);
    cr_assert_eq(error_text(frame), text, "%s", error_text(frame).c_str());
    cr_assert(packet.fds.empty());
}

}  // namespace

// ---- from the client ----------------------------------------

Test(fds, of_a_call_follow_its_frame_one_by_one) {
    Stage stage(k_local);
    stage.open();
    for (const std::size_t count : {1UL, 3UL, 32UL}) {
        Pipes pipes(count);
        const auto number = static_cast<std::uint32_t>(count);
        const ByteVector frame = monitor_frame(number, number);
        send_from_gate(stage, frame, pipes.writing());
        pipes.let_go();
        ByteVector bytes;
        cr_assert(receive(stage, bytes, frame.size()).empty());
        cr_assert(bytes == frame);
        for (std::size_t i = 0; i < count; ++i) {
            const std::vector<UniqueFd> fds = receive(stage, bytes, 100);
            cr_assert_eq(bytes.size(), 1, "a read goes beyond the byte of a descriptor");
            cr_assert_eq(bytes[0], std::byte{0});
            cr_assert_eq(fds.size(), 1);
            cr_assert(pipes.leads_to(fds[0].get(), i), "descriptor %zu is another one", i);
        }
        cr_assert(pipes.are_closed(), "the worker keeps descriptors");
    }
    // The next call comes behind them.
    stage.send(lookup(50), lookup_args("demo"));
    cr_assert(stage.asked().header == lookup(50));
}

Test(fds, of_a_call_wait_while_the_daemon_does_not_read) {
    Stage stage(k_local);
    stage.open();
    // Calls of 60 KiB until the session stops reading, the last ones with a descriptor.
    auto args = encoded(proto::qemu::DomainMonitorCommandWithFilesArgs{
        .domain = {}, .command = std::string(60'000, 'x'), .flags = 0});
    Pipes pipes(1);
    const std::vector<int> fds = pipes.writing();
    std::vector<ByteVector> frames;
    for (std::uint32_t serial = 10; serial < 40; ++serial) {
        ByteVector frame = frame_with(monitor(serial), Type::call_with_fds, 1, args);
        if (channel::send_packet(stage.client_.get(), frame, fds) != channel::Outcome::done) break;
        stage.pump();
        frames.push_back(std::move(frame));
    }
    pipes.let_go();
    cr_assert_lt(frames.size(), 29, "the session takes more than sockets can hold");
    for (const ByteVector& frame : frames) {
        ByteVector all, bytes;
        while (all.size() < frame.size()) {
            cr_assert(receive(stage, bytes, frame.size() - all.size()).empty());
            cr_assert(!bytes.empty());
            append(all, bytes);
        }
        cr_assert(all == frame);
        const std::vector<UniqueFd> got = receive(stage, bytes, 100);
        cr_assert_eq(bytes.size(), 1);
        cr_assert_eq(got.size(), 1);
        cr_assert(pipes.leads_to(got[0].get(), 0));
    }
    cr_assert(pipes.are_closed());
}

Test(fds, that_a_call_does_not_take_are_refused) {
    const std::size_t before = open_descriptors();
    {
        Stage stage(k_local);
        Pipes pipes(2);
        std::vector<int> two = pipes.writing(), one{two[0]};
        send_from_gate(stage, graphics_frame(2), one);
        expect_refused(*packet_of(stage), 2, rpc::k_code_internal, "connection not open");
        stage.open();
        send_from_gate(stage, graphics_frame(3, 2), two);
        expect_refused(*packet_of(stage), 3, rpc::k_code_invalid_argument,
                       "domain_open_graphics takes 1 to 1 file descriptors, not 2");
        send_from_gate(stage, frame_with(lookup(4), Type::call_with_fds, 1, lookup_args("demo")), one);
        expect_refused(*packet_of(stage), 4, rpc::k_code_invalid_argument,
                       "domain_lookup_by_name takes no file descriptors");
        stage.send(graphics(5), encoded<proto::remote::DomainOpenGraphicsArgs>());
        expect_refused(*packet_of(stage), 5, rpc::k_code_invalid_argument,
                       "domain_open_graphics takes 1 to 1 file descriptors, not 0");
        pipes.let_go();
        cr_assert(pipes.are_closed(), "refused descriptors stay open");
        cr_assert(stage.read_all().empty());
        cr_assert(!stage.has_ended());
    }
    cr_assert_eq(open_descriptors(), before);
}

Test(fds, of_a_gate_that_lies_end_the_session) {
    ByteVector within = rpc::make_frame(lookup(3), lookup_args("demo"));
    within.resize(within.size() - 4);
    ByteVector trailing = graphics_frame(3);
    append(trailing, words({0}));
    ByteVector two_frames = graphics_frame(3);
    append(two_frames, graphics_frame(4));
    ByteVector short_frame = rpc::make_frame(with(graphics(3), Type::call_with_fds), {});
    ByteVector with_status = graphics_frame(3);
    store_be32(with_status.data() + rpc::k_frame_min - 4, static_cast<std::uint32_t>(Status::error));
    rpc::Header unknown = graphics(3);
    unknown.procedure = 99'999;
    struct Lie {
        const char* what;
        ByteVector packet;
        std::size_t fds;
    };
    const std::vector<Lie> lies{
        {"fewer than announced", graphics_frame(3, 2), 1},
        {"more than announced", graphics_frame(3, 1), 2},
        {"none, one announced", graphics_frame(3, 1), 0},
        {"none, none announced", graphics_frame(3, 0), 0},
        {"one, none announced", graphics_frame(3, 0), 1},
        {"33 announced", graphics_frame(3, 33), 32},
        {"very many announced", graphics_frame(3, 0xffffffff), 1},
        {"with a plain call", rpc::make_frame(lookup(3), lookup_args("demo")), 1},
        {"with a part of a frame", within, 1},
        {"with something behind the frame", trailing, 1},
        {"with two frames", two_frames, 2},
        {"without a count", short_frame, 1},
        {"with a few bytes", words({1, 2}), 1},
        {"with a status", with_status, 1},
        {"with an unknown call", frame_with(unknown, Type::call_with_fds, 1, {}), 1},
        {"with arguments that do not validate",
         frame_with(graphics(3), Type::call_with_fds, 1, words({1, 2, 3})), 1},
    };
    const std::size_t before = open_descriptors();
    for (const Lie& lie : lies) {
        Stage stage(k_local);
        stage.open();
        Pipes pipes(lie.fds);
        send_from_gate(stage, lie.packet, pipes.writing());
        pipes.let_go();
        cr_assert(stage.read_all().empty(), "%s: something went to the daemon", lie.what);
        cr_assert(stage.has_ended(), "%s", lie.what);
        cr_assert(pipes.are_closed(), "%s: descriptors stay open", lie.what);
    }
    // And in the middle of a frame.
    {
        Stage stage(k_local);
        stage.open();
        stage.send(within);
        stage.pump();
        Pipes pipes(1);
        send_from_gate(stage, graphics_frame(4), pipes.writing());
        pipes.let_go();
        cr_assert(stage.has_ended());
        cr_assert(pipes.are_closed());
    }
    cr_assert_eq(open_descriptors(), before);
}

Test(fds, of_a_client_that_is_not_local_are_a_lie) {
    const std::size_t before = open_descriptors();
    {
        Stage stage;
        stage.open();
        Pipes pipes(1);
        send_from_gate(stage, graphics_frame(3), pipes.writing());
        pipes.let_go();
        cr_assert(stage.has_ended());
        cr_assert(pipes.are_closed());
    }
    cr_assert_eq(open_descriptors(), before);
}

Test(fds, cannot_be_asked_for_over_the_network) {
    Stage stage;
    stage.open();
    stage.send(graphics(3), encoded<proto::remote::DomainOpenGraphicsArgs>());
    expect_refusal(stage, 3, rpc::k_code_no_support,
                   "domain_open_graphics passes file descriptors, which this client cannot");
    stage.send(graphics_fd(4), encoded<proto::remote::DomainOpenGraphicsFdArgs>());
    expect_refusal(stage, 4, rpc::k_code_no_support,
                   "domain_open_graphics_fd passes file descriptors, which this client cannot");
    const rpc::Header feature = call_header(Procedure::connect_supports_feature, 5);
    stage.send(feature, encoded(proto::remote::ConnectSupportsFeatureArgs{.feature = 8}));
    const Frame no = stage.frame();
    cr_assert(no.header == rpc::reply_to(feature));
    cr_assert(no.payload == words({0}));
    cr_assert(stage.read_all().empty());
    // Every other feature is the daemon's, and for a local client this one too.
    stage.send(feature, encoded(proto::remote::ConnectSupportsFeatureArgs{.feature = 14}));
    cr_assert(stage.asked().header == feature);
    Stage local(k_local);
    local.open();
    local.send(feature, encoded(proto::remote::ConnectSupportsFeatureArgs{.feature = 8}));
    cr_assert(local.asked().header == feature);
}

// ---- from the daemon ----------------------------------------

Test(fds, of_a_reply_come_to_the_gate_with_its_frame) {
    const std::size_t before = open_descriptors();
    {
        Stage stage(k_local);
        stage.open();
        for (const std::uint32_t count : {1U, 2U, 32U}) {
            stage.send(monitor(count), encoded<proto::qemu::DomainMonitorCommandWithFilesArgs>());
            stage.send(lookup(100), lookup_args("demo"));
            static_cast<void>(stage.read_all());
            // Something before it, something behind it, and each in one breath with its neighbour.
            ByteVector head = rpc::make_frame(with(lookup(100), Type::reply), filled(12));
            const ByteVector frame = frame_with(monitor(count), Type::reply_with_fds, count, words({0}));
            append(head, frame);
            cr_assert_eq(stage.write(head), head.size());
            Pipes pipes(count);
            for (const int fd : pipes.writing()) send_fd(stage, fd);
            const rpc::Header event = with(call_header(Procedure::domain_event_lifecycle, 1), Type::message);
            stage.answer(event, filled(8));
            pipes.let_go();
            const auto first = packet_of(stage);
            cr_assert(first && first->fds.empty());
            cr_assert_eq(rpc::read_header(first->bytes.data()).serial, 100);
            const auto second = packet_of(stage);
            cr_assert(second.has_value());
            cr_assert(second->bytes == frame, "the frame is not alone, or it was changed");
            cr_assert_eq(second->fds.size(), count);
            for (std::size_t i = 0; i < count; ++i) cr_assert(pipes.leads_to(second->fds[i].get(), i));
            const auto third = packet_of(stage);
            cr_assert(third && third->fds.empty());
            cr_assert(rpc::read_header(third->bytes.data()) == event);
        }
        cr_assert(!stage.has_ended());
    }
    cr_assert_eq(open_descriptors(), before);
}

Test(fds, of_a_reply_may_come_late_and_in_pieces) {
    Stage stage(k_local);
    stage.open();
    stage.send(graphics_fd(3), encoded<proto::remote::DomainOpenGraphicsFdArgs>());
    static_cast<void>(stage.read_all());
    const ByteVector frame = frame_with(graphics_fd(3), Type::reply_with_fds, 1, {});
    for (const std::byte& byte : frame) {
        cr_assert_eq(stage.write(ByteView(&byte, 1)), 1);
        cr_assert(stage.is_quiet());
    }
    Pipes pipes(1);
    send_fd(stage, pipes.writing()[0]);
    pipes.let_go();
    const auto packet = packet_of(stage);
    cr_assert(packet && packet->bytes == frame);
    cr_assert_eq(packet->fds.size(), 1);
    cr_assert(pipes.leads_to(packet->fds[0].get(), 0));
    const int flags = fcntl(packet->fds[0].get(), F_GETFD);
    cr_assert((flags & FD_CLOEXEC) != 0);
}

Test(fds, of_replies_wait_while_the_gate_does_not_read) {
    const std::size_t before = open_descriptors();
    {
        Stage stage(k_local);
        stage.open();
        const std::uint32_t count = 200;
        for (std::uint32_t serial = 0; serial < count; ++serial) {
            stage.send(monitor(serial), encoded<proto::qemu::DomainMonitorCommandWithFilesArgs>());
            static_cast<void>(stage.read_all());
        }
        Pipes pipes(1);
        const std::size_t mine = open_descriptors();
        const std::vector<int> fd = pipes.writing();
        std::uint32_t sent = 0;
        ByteVector bytes;
        for (; sent < count; ++sent) {
            const ByteVector frame = frame_with(monitor(sent), Type::reply_with_fds, 1, filled(20'000));
            if (stage.write(frame) != frame.size()) break;
            const std::byte zero{0};
            if (channel::send_packet(stage.daemon_.get(), ByteView(&zero, 1), fd) != channel::Outcome::done)
                break;
            stage.pump();
        }
        cr_assert_lt(sent, 100, "the session takes more than sockets can hold");
        cr_assert_leq(open_descriptors(), mine + 2, "the worker collects descriptors");
        for (std::uint32_t serial = 0; serial < sent; ++serial) {
            const auto packet = packet_of(stage);
            cr_assert(packet.has_value());
            cr_assert_eq(rpc::read_header(packet->bytes.data()).serial, serial);
            cr_assert_eq(packet->bytes.size(), 20'000 + rpc::k_frame_min + 4);
            cr_assert_eq(packet->fds.size(), 1);
            cr_assert(pipes.leads_to(packet->fds[0].get(), 0));
        }
    }
    cr_assert_eq(open_descriptors(), before);
}

Test(fds, of_a_reply_that_may_not_bring_them_are_closed) {
    const std::size_t before = open_descriptors();
    {
        Stage stage(k_local);
        stage.open();
        stage.send(lookup(3), lookup_args("demo"));
        stage.send(graphics_fd(4), encoded<proto::remote::DomainOpenGraphicsFdArgs>());
        stage.send(lookup(5), lookup_args("demo"));
        static_cast<void>(stage.read_all());
        Pipes pipes(3);
        const std::vector<int> fds = pipes.writing();
        stage.answer(with(lookup(3), Type::reply_with_fds), words({1}));
        send_fd(stage, fds[0]);
        expect_refused(*packet_of(stage), 3, rpc::k_code_no_support,
                       "descriptors cannot be passed to this client");
        stage.answer(with(graphics_fd(4), Type::reply_with_fds), words({2}));
        send_fd(stage, fds[1]);
        send_fd(stage, fds[2]);
        expect_refused(*packet_of(stage), 4, rpc::k_code_no_support,
                       "descriptors cannot be passed to this client");
        pipes.let_go();
        cr_assert(pipes.are_closed());
        stage.answer(with(lookup(5), Type::reply), filled(12));
        cr_assert(stage.frame().payload == filled(12));
    }
    cr_assert_eq(open_descriptors(), before);
}

Test(fds, of_a_daemon_that_breaks_the_rules_end_the_connection) {
    // What the daemon sends: bytes, then descriptors with a byte each, then bytes again.
    struct Wrong {
        const char* what;
        ByteVector before;
        std::size_t fds;
        ByteVector behind;
    };
    const ByteVector good = frame_with(graphics_fd(3), Type::reply_with_fds, 1, {});
    ByteVector carrier_only = good;
    carrier_only.push_back(std::byte{0});
    const std::vector<Wrong> wrongs{
        {"a descriptor without a reply", {}, 1, filled(30)},
        {"one more than announced", good, 2, filled(30)},
        {"a byte without its descriptor", carrier_only, 0, {}},
        {"too many announced", frame_with(graphics_fd(3), Type::reply_with_fds, 33, {}), 0, {}},
        {"a reply that nobody asked for", frame_with(graphics_fd(77), Type::reply_with_fds, 1, {}), 1, {}},
        {"no room for a count", rpc::make_frame(with(graphics_fd(3), Type::reply_with_fds), {}), 1, {}},
        {"too long", frame_with(graphics_fd(3), Type::reply_with_fds, 1, filled(66'000)), 0, {}},
        {"the end while one is missing", good, 0, {}},
    };
    const std::size_t before = open_descriptors();
    for (const Wrong& wrong : wrongs) {
        Stage stage(k_local);
        stage.open();
        stage.send(graphics_fd(3), encoded<proto::remote::DomainOpenGraphicsFdArgs>());
        stage.send(lookup(4), lookup_args("demo"));
        static_cast<void>(stage.read_all());
        Pipes pipes(wrong.fds);
        cr_assert_eq(stage.write(wrong.before), wrong.before.size());
        for (const int fd : pipes.writing()) send_fd(stage, fd);
        static_cast<void>(stage.write(wrong.behind));
        pipes.let_go();
        stage.pump();
        if (std::string_view(wrong.what).starts_with("the end")) stage.hang_up();
        // Each call that is open gets an error; the good reply before the mistake may have got through.
        std::size_t answers = 0;
        while (const auto packet = packet_of(stage)) ++answers;
        cr_assert_geq(answers, 1, "%s", wrong.what);
        cr_assert(stage.has_ended(), "%s", wrong.what);
        cr_assert(pipes.are_closed(), "%s: descriptors stay open", wrong.what);
    }
    cr_assert_eq(open_descriptors(), before);
}

Test(fds, are_closed_with_the_session) {
    const std::size_t before = open_descriptors();
    for (const bool gate_goes : {true, false}) {
        Stage stage(k_local);
        stage.open();
        stage.send(monitor(3), encoded<proto::qemu::DomainMonitorCommandWithFilesArgs>());
        static_cast<void>(stage.read_all());
        Pipes pipes(2);
        const ByteVector frame = frame_with(monitor(3), Type::reply_with_fds, 2, words({0}));
        cr_assert_eq(stage.write(frame), frame.size());
        send_fd(stage, pipes.writing()[0]);
        pipes.let_go();
        stage.pump();
        cr_assert(!pipes.are_closed(), "the first descriptor does not wait for the second");
        if (gate_goes)
            stage.client_.reset();
        else
            stage.session().dismiss("of a test");
        stage.pump();
        cr_assert(stage.has_ended());
        cr_assert(pipes.are_closed());
    }
    cr_assert_eq(open_descriptors(), before);
}
