// SPDX-License-Identifier: LGPL-2.1-or-later
// holder_desk - what a locker may ask its holder for, and when; and what a locker that was taken over gets.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include "libshared/rpc/error.h"
#include "lockd/holder/desk.h"
#include "proto/codec.h"
#include "proto/supervise.h"
#include "tests/unit/holder_rig.h"
#include "tests/unit/pump.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::lockd::holder;
using proto::holder::Procedure;

namespace {

struct Answer {
    rpc::Header header{};
    ByteVector payload{};
    std::vector<UniqueFd> fds{};
    [[nodiscard]] bool is_good() const {
        return header.type == rpc::Type::reply && header.status == rpc::Status::ok;
    }
    [[nodiscard]] std::string error() const {
        return header.status == rpc::Status::error ? rpc::read_error_text(payload) : "";
    }
};

// A desk, and the locker at it, which the test plays.
struct House final : Desk::Owner {
    House() {
        auto opened = Journal::open(scratch / "journal", boot());
        cr_assert(opened.has_value());
        keeping =
            std::make_unique<Keeping>(loop, std::move(opened->journal), loop::to<&House::on_settled>(*this));
        cr_assert(keeping->recover({}, {}).has_value());
        come();
    }
    // A new locker; `opens`: it gets a queue.
    void come(bool opens = true) {
        desk.reset();
        auto pair = make_channel_pair();
        cr_assert(pair.has_value());
        locker = std::move(pair->first);
        desk = std::make_unique<Desk>(loop, *keeping, std::move(pair->second), *this);
        ready = 0;
        broken.clear();
        if (opens) open();
    }
    void open() {
        const UniqueFd queue = make_file();
        queue_inode = inode_of(queue.get());
        desk->open({.things_max = 100, .grant = {.bytes = 7, .more = true}}, queue.get());
    }
    // Takes what came first.
    void expect_queue() {
        const auto message = receive();
        cr_assert(message && message->header.procedure == static_cast<std::uint32_t>(Procedure::queue) &&
                  message->header.type == rpc::Type::message && message->fds.size() == 1);
        cr_assert_eq(inode_of(message->fds[0].get()), queue_inode);
        const auto args = proto::decode<proto::holder::QueueArgs>(message->payload);
        cr_assert(args && args->things_max == 100 && args->grant.bytes == 7 && args->grant.more);
    }
    void on_ready() noexcept override { ++ready; }
    void on_broken(std::string_view why) noexcept override { broken += why; }
    void on_hung_up() noexcept override { hung_up = true; }
    void on_settled() noexcept {}

    void send(const rpc::Header& header, ByteView payload, std::vector<int> fds = {}) {
        const ByteVector frame = rpc::make_frame(header, payload);
        cr_assert(channel::send_packet(locker.get(), frame, fds) == channel::Outcome::done);
        pump(loop);
    }
    template <class Args>
    void call(Procedure procedure, const Args& args, std::vector<int> fds = {}) {
        const auto payload = proto::encode(args);
        cr_assert(payload.has_value());
        send(rpc::make_call(proto::holder::k_program, proto::holder::k_version, procedure, ++serial),
             *payload, std::move(fds));
    }
    void keep(Slot slot, int fd, ByteVector bytes) {
        Keeping::Changes changes;
        changes[slot] = {std::move(bytes), UniqueFd{fcntl(fd, F_DUPFD_CLOEXEC, 0)}};
        cr_assert(keeping->apply(std::move(changes)).has_value());
    }
    void say_ready() {
        send(rpc::make_message(proto::supervise::k_program, proto::supervise::k_version,
                               proto::supervise::Procedure::ready),
             {});
    }
    // What came; none if nothing did.
    std::optional<Answer> receive() {
        std::vector<std::byte> buffer(channel::k_packet_max);
        std::size_t size = 0;
        channel::ReceivedFds fds;
        if (channel::receive_packet(locker.get(), buffer, size, &fds, channel::k_packet_fds_max) !=
            channel::Outcome::done)
            return std::nullopt;
        Answer answer;
        answer.header = rpc::read_header(buffer.data());
        answer.payload.assign(buffer.begin() + rpc::k_frame_min,
                              buffer.begin() + static_cast<std::ptrdiff_t>(size));
        for (std::size_t i = 0; i < fds.count(); ++i) answer.fds.push_back(fds.take(i));
        return answer;
    }
    void expect_broken(std::string_view part) {
        cr_assert(broken.find(part) != broken.npos, "\"%s\" is not \"%s\"", broken.c_str(),
                  std::string(part).c_str());
        cr_assert(!receive(), "it was answered");
    }
    // All that RESTORE gives, in batches.
    std::map<Slot, std::pair<ino_t, ByteVector>> restore(int& batches) {
        std::map<Slot, std::pair<ino_t, ByteVector>> found;
        Slot from = 0;
        for (batches = 0;; ++batches) {
            call(Procedure::restore, proto::holder::RestoreArgs{.from = from});
            auto answer = receive();
            cr_assert(answer && answer->is_good());
            const auto batch = proto::decode<proto::holder::RestoreRet>(answer->payload);
            cr_assert(batch.has_value());
            cr_assert_eq(batch->things.size(), answer->fds.size());
            if (batch->things.empty()) return found;
            for (std::size_t i = 0; i < batch->things.size(); ++i) {
                const auto& thing = batch->things[i];
                cr_assert(thing.slot >= from, "out of order");
                found[thing.slot] = {inode_of(answer->fds[i].get()), thing.record};
                from = thing.slot + 1;
            }
        }
    }

    const Scratch scratch;
    loop::FakeLoop loop;
    UniqueFd locker;
    std::unique_ptr<Keeping> keeping;
    std::unique_ptr<Desk> desk;
    std::uint32_t serial = 0;
    ino_t queue_inode = 0;
    int ready = 0;
    std::string broken;
    bool hung_up = false;
};

}  // namespace

Test(
    desk, gives_everything_back_in_batches, .init = [] { unsetenv("NOTIFY_SOCKET"); }) {
    House house;
    std::map<Slot, std::pair<ino_t, ByteVector>> expected;
    for (Slot slot = 0; slot < 40; ++slot) {
        const UniqueFd file = make_file();
        // Of some a batch could have sixteen by number, and has fewer by size.
        const ByteVector bytes = slot < 20 ? record(32'768, static_cast<char>('a' + slot)) : record("small");
        expected[slot * 3] = {inode_of(file.get()), bytes};
        house.keep(slot * 3, file.get(), bytes);
    }
    house.come();
    house.expect_queue();
    int batches = 0;
    cr_assert(house.restore(batches) == expected);
    // Each large one needs its own batch; the last of them takes fifteen small ones along.
    cr_assert_eq(batches, 20 + 1);
    house.say_ready();
    cr_assert_eq(house.ready, 1);
    house.desk->tell_serve();
    cr_assert_eq(house.receive()->header.procedure,
                 static_cast<std::uint32_t>(proto::supervise::Procedure::serve));
    house.desk->tell_grant({.bytes = 9, .more = false});
    const auto grant = house.receive();
    cr_assert_eq(grant->header.procedure, static_cast<std::uint32_t>(Procedure::grant));
    const auto granted = proto::decode<proto::holder::GrantArgs>(grant->payload);
    cr_assert(granted && granted->bytes == 9 && !granted->more);
    house.desk->tell_hand_over();
    const auto over = house.receive();
    cr_assert_eq(over->header.program, proto::holder::k_program);
    cr_assert(over->header.type == rpc::Type::message);
}

// What earlier ones said may not be done yet.
Test(
    desk, gives_nothing_before_the_queue_is_open, .init = [] { unsetenv("NOTIFY_SOCKET"); }) {
    House house;
    house.come(false);
    house.desk->tell_grant({.bytes = 1, .more = true});
    house.call(Procedure::restore, proto::holder::RestoreArgs{.from = 0});
    cr_assert(!house.receive());
    const UniqueFd file = make_file();
    house.keep(4, file.get(), record("in the meantime"));
    house.open();
    house.expect_queue();
    auto answer = house.receive();
    cr_assert(answer && answer->is_good());
    const auto batch = proto::decode<proto::holder::RestoreRet>(answer->payload);
    cr_assert(batch.has_value());
    cr_assert_eq(batch->things.size(), 1);
    cr_assert_eq(batch->things[0].slot, 4);
    house.come(false);
    house.call(Procedure::restore, proto::holder::RestoreArgs{.from = 0});
    house.call(Procedure::restore, proto::holder::RestoreArgs{.from = 0});
    house.expect_broken("when it had said that it serves");
}

Test(
    desk, does_not_listen_to_who_breaks_the_rules, .init = [] { unsetenv("NOTIFY_SOCKET"); }) {
    const UniqueFd file = make_file();
    const auto call = [](Procedure procedure) {
        return rpc::make_call(proto::holder::k_program, proto::holder::k_version, procedure, 7);
    };
    const auto keep_payload = *proto::encode(proto::holder::KeepArgs{.slot = 5, .record = record("x")});
    rpc::Header version = call(Procedure::restore), stream = version, status = version, unknown = version;
    version.version = 1;
    stream.type = rpc::Type::stream;
    status.status = rpc::Status::error;
    unknown.procedure = 9;
    const auto restore = *proto::encode(proto::holder::RestoreArgs{});
    const struct {
        rpc::Header header;
        ByteVector payload;
        bool with_fd;
        const char* why;
    } breaches[] = {
        {call(Procedure::keep), keep_payload, false, "has no place here"},
        {call(Procedure::keep), keep_payload, true, "breaks the rules"},
        {call(Procedure::restore), {}, false, "does not decode"},
        {call(Procedure::restore), restore, true, "breaks the rules"},
        {call(Procedure::hand_over), {}, false, "has no place here"},
        {call(Procedure::queue), {}, false, "has no place here"},
        {version, restore, false, "has no place here"},
        {stream, restore, false, "has no place here"},
        {status, restore, false, "has no place here"},
        {unknown, {}, false, "has no place here"},
    };
    House house;
    for (const auto& breach : breaches) {
        house.come();
        house.expect_queue();
        house.send(breach.header, breach.payload,
                   breach.with_fd ? std::vector<int>{file.get()} : std::vector<int>{});
        house.expect_broken(breach.why);
    }
    // Nothing that comes later counts.
    house.come();
    house.expect_queue();
    house.send(unknown, {});
    const std::string why = std::exchange(house.broken, {});
    house.say_ready();
    cr_assert(!house.receive() && house.ready == 0 && house.broken.empty());
}

Test(
    desk, does_not_listen_to_who_says_things_in_another_order, .init = [] { unsetenv("NOTIFY_SOCKET"); }) {
    House house;
    house.expect_queue();
    house.say_ready();
    house.say_ready();
    house.expect_broken("has no place here");
    house.come();
    house.expect_queue();
    house.say_ready();
    house.call(Procedure::restore, proto::holder::RestoreArgs{.from = 0});
    house.expect_broken("when it had said that it serves");
}

Test(
    desk, notices_when_the_locker_hangs_up, .init = [] { unsetenv("NOTIFY_SOCKET"); }) {
    House house;
    house.locker.reset();
    pump(house.loop);
    cr_assert(house.hung_up && house.broken.empty());
    house.desk->tell_grant({.bytes = 1, .more = true});
    cr_assert(house.broken.empty(), "nobody is told anything any more");
}
