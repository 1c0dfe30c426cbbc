// SPDX-License-Identifier: LGPL-2.1-or-later
// holder_desk - what a locker may say to its holder, when, and what it gets; and what a locker that was taken over gets.
#include <criterion/criterion.h>
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
    explicit House(std::size_t things_max = 100) {
        auto opened = Journal::open(scratch / "journal", boot());
        cr_assert(opened.has_value());
        keeping =
            std::make_unique<Keeping>(loop, std::move(opened->journal), loop::to<&House::on_settled>(*this));
        cr_assert(keeping->recover({}, {}).has_value());
        come(things_max);
    }
    // A new locker.
    void come(std::size_t things_max = 100) {
        desk.reset();
        auto pair = make_channel_pair();
        cr_assert(pair.has_value());
        locker = std::move(pair->first);
        desk = std::make_unique<Desk>(loop, *keeping, things_max, std::move(pair->second), *this);
        ready = 0;
        broken.clear();
    }
    void on_ready() noexcept override { ++ready; }
    void on_broken(std::string_view why) noexcept override { broken += why; }
    void on_hung_up() noexcept override { hung_up = true; }
    void on_settled(std::uint64_t ticket, bool done) noexcept {
        if (desk) desk->on_settled(ticket, done);
    }

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
    void keep(Slot slot, std::string_view text, bool with_fd = true) {
        const UniqueFd file = make_file();
        call(Procedure::keep, proto::holder::KeepArgs{.slot = slot, .record = record(text)},
             with_fd ? std::vector<int>{file.get()} : std::vector<int>{});
    }
    void drop(std::vector<Slot> slots) {
        call(Procedure::drop, proto::holder::DropArgs{.slots = {slots.begin(), slots.end()}});
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
    void expect_good() {
        const auto answer = receive();
        cr_assert(answer && answer->is_good() && answer->header.serial == serial, "%s",
                  answer ? answer->error().c_str() : "nothing");
        cr_assert(broken.empty(), "%s", broken.c_str());
    }
    void expect_error(std::string_view text) {
        const auto answer = receive();
        const std::string error = answer ? answer->error() : "nothing came";
        cr_assert(error == text, "%s", error.c_str());
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
    int ready = 0;
    std::string broken;
    bool hung_up = false;
};

}  // namespace

Test(
    desk, keeps_renews_and_drops, .init = [] { unsetenv("NOTIFY_SOCKET"); }) {
    House house;
    house.keep(3, "three");
    house.expect_good();
    house.keep(3, "three again", false);
    house.expect_good();
    house.keep(0, "");
    house.expect_good();
    house.drop({3, 0});
    house.expect_good();
    cr_assert(house.keeping->things().empty());
    house.keep(3, "free again");
    house.expect_good();
}

Test(
    desk, gives_everything_back_in_batches, .init = [] { unsetenv("NOTIFY_SOCKET"); }) {
    House house;
    std::map<Slot, std::pair<ino_t, ByteVector>> expected;
    for (Slot slot = 0; slot < 40; ++slot) {
        const UniqueFd file = make_file();
        // Of some a batch could have sixteen by number, and has fewer by size.
        const ByteVector bytes = slot < 20 ? record(32'768, static_cast<char>('a' + slot)) : record("small");
        expected[slot * 3] = {inode_of(file.get()), bytes};
        house.call(Procedure::keep, proto::holder::KeepArgs{.slot = slot * 3, .record = bytes}, {file.get()});
        house.expect_good();
    }
    house.come();
    int batches = 0;
    cr_assert(house.restore(batches) == expected);
    // Each large one needs its own batch; the last of them takes fifteen small ones along.
    cr_assert_eq(batches, 20 + 1);
    house.say_ready();
    cr_assert_eq(house.ready, 1);
    house.desk->tell_serve();
    cr_assert_eq(house.receive()->header.procedure,
                 static_cast<std::uint32_t>(proto::supervise::Procedure::serve));
    house.desk->tell_hand_over();
    const auto over = house.receive();
    cr_assert_eq(over->header.program, proto::holder::k_program);
    cr_assert(over->header.type == rpc::Type::message);
}

Test(
    desk, refuses_what_is_too_much_and_goes_on, .init = [] { unsetenv("NOTIFY_SOCKET"); }) {
    House house(2);
    house.keep(0, "a");
    house.expect_good();
    house.keep(1, "b");
    house.expect_good();
    house.keep(2, "c");
    house.expect_error("no more than 2 locks and connections can be kept");
    house.keep(1, "renewing takes no room", false);
    house.expect_good();
    house.drop({0});
    house.expect_good();
    house.keep(2, "c");
    house.expect_good();
}

Test(desk, answers_when_the_manager_has_it) {
    const Scratch scratch;
    Manager manager(scratch);
    House house;
    fill_queue();
    house.keep(1, "one");
    cr_assert(!house.receive(), "answered before it was safe");
    manager.take();
    pump(house.loop);
    house.expect_good();
    fill_queue();
    house.drop({1});
    cr_assert(!house.receive(), "answered before it was over");
    manager.take();
    pump(house.loop);
    house.expect_good();
}

Test(desk, says_when_the_manager_does_not_take_it) {
    const Scratch scratch;
    Manager manager(scratch);
    House house;
    fill_queue();
    house.keep(1, "one");
    house.loop.advance(OuterStore::k_patience + OuterStore::k_retry);
    house.expect_error("the service manager does not take what has to be kept");
    cr_assert(house.broken.empty());
}

// A locker that died in the middle leaves slots that are neither free nor taken: the next one does not get to see them so.
Test(desk, gives_a_new_locker_what_is_settled) {
    const Scratch scratch;
    Manager manager(scratch);
    House house;
    house.keep(1, "one");
    house.expect_good();
    fill_queue();
    house.keep(2, "two");
    house.drop({1});
    house.come();
    house.call(Procedure::restore, proto::holder::RestoreArgs{.from = 0});
    cr_assert(!house.receive());
    manager.take();
    pump(house.loop);
    auto answer = house.receive();
    cr_assert(answer && answer->is_good());
    const auto batch = proto::decode<proto::holder::RestoreRet>(answer->payload);
    cr_assert(batch.has_value());
    cr_assert_eq(batch->things.size(), 1);
    cr_assert_eq(batch->things[0].slot, 2);
    cr_assert(!house.receive(), "the answers to the one that died are nobody's");
    house.keep(1, "free");
}

Test(
    desk, does_not_listen_to_who_breaks_the_rules, .init = [] { unsetenv("NOTIFY_SOCKET"); }) {
    const UniqueFd file = make_file();
    const auto call = [](Procedure procedure) {
        return rpc::make_call(proto::holder::k_program, proto::holder::k_version, procedure, 7);
    };
    const auto keep_payload = *proto::encode(proto::holder::KeepArgs{.slot = 5, .record = record("x")});
    ByteVector trailing = keep_payload;
    trailing.resize(trailing.size() + 4);
    ByteVector too_high = keep_payload;
    store_be32(too_high.data(), proto::holder::k_slots_max);
    const auto nothing = *proto::encode(proto::holder::DropArgs{});
    rpc::Header version = call(Procedure::keep), stream = version, status = version, unknown = version;
    version.version = 2;
    stream.type = rpc::Type::stream;
    status.status = rpc::Status::error;
    unknown.procedure = 9;
    const struct {
        rpc::Header header;
        ByteVector payload;
        bool with_fd;
        const char* why;
    } breaches[] = {
        {call(Procedure::keep), keep_payload, false, "it sent nothing to keep"},
        {call(Procedure::keep), {}, true, "does not decode"},
        {call(Procedure::keep), trailing, true, "does not decode"},
        {call(Procedure::keep), too_high, true, "does not decode"},
        {call(Procedure::drop), nothing, false, "it drops nothing"},
        {call(Procedure::drop), nothing, true, "does not decode"},
        {call(Procedure::drop), *proto::encode(proto::holder::DropArgs{.slots = {5}}), false,
         "it drops what is not kept"},
        {call(Procedure::restore), {}, false, "does not decode"},
        {call(Procedure::restore), *proto::encode(proto::holder::RestoreArgs{}), true, "does not decode"},
        {call(Procedure::hand_over), {}, false, "has no place here"},
        {version, keep_payload, true, "has no place here"},
        {stream, keep_payload, true, "has no place here"},
        {status, keep_payload, true, "has no place here"},
        {unknown, {}, false, "has no place here"},
    };
    House house;
    for (const auto& breach : breaches) {
        house.come();
        house.send(breach.header, breach.payload,
                   breach.with_fd ? std::vector<int>{file.get()} : std::vector<int>{});
        house.expect_broken(breach.why);
        // Nothing that comes later counts.
        const std::string why = std::exchange(house.broken, {});
        house.keep(1, "one");
        house.say_ready();
        cr_assert(
            !house.receive() && house.keeping->things().empty() && house.ready == 0 && house.broken.empty(),
            "%s", why.c_str());
    }
}

Test(
    desk, does_not_listen_to_who_confuses_its_slots, .init = [] { unsetenv("NOTIFY_SOCKET"); }) {
    House house;
    house.keep(1, "one");
    house.expect_good();
    house.keep(1, "one again, with a descriptor");
    house.expect_broken("it sent a descriptor for a slot that is taken");
    house.come();
    house.drop({1, 1});
    house.expect_broken("it drops what is not kept");
    house.come();
    house.drop({1, 2});
    house.expect_broken("it drops what is not kept");
    house.come();
    house.say_ready();
    house.say_ready();
    house.expect_broken("has no place here");
    house.come();
    house.say_ready();
    house.call(Procedure::restore, proto::holder::RestoreArgs{.from = 0});
    house.expect_broken("when it had said that it serves");
    cr_assert(house.keeping->state(1) == Keeping::State::kept,
              "what was kept went with a locker that broke the rules");
}

Test(desk, does_not_listen_to_who_does_not_wait) {
    const Scratch scratch;
    Manager manager(scratch);
    House house;
    house.keep(1, "one");
    house.expect_good();
    fill_queue();
    house.keep(2, "two");
    house.keep(2, "two, too early", false);
    house.expect_broken("before that has been answered");
    house.come();
    house.drop({1});
    house.drop({1});
    house.expect_broken("it drops what is not kept");
}

Test(
    desk, notices_when_the_locker_hangs_up, .init = [] { unsetenv("NOTIFY_SOCKET"); }) {
    House house;
    house.keep(1, "one");
    house.locker.reset();
    pump(house.loop);
    cr_assert(house.hung_up && house.broken.empty());
    cr_assert(house.keeping->state(1) == Keeping::State::kept);
}
