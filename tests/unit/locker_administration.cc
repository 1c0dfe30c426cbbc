// SPDX-License-Identifier: LGPL-2.1-or-later
// locker_administration - tests of lists of locks, and of broken ones.
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "proto/codec.h"
#include "proto/locks.h"
#include "tests/unit/locker_rig.h"

using namespace virtgate;
using namespace virtgate::lockd::locker;
using namespace virtgate::lockd::locker::test;
namespace locks = virtgate::proto::locks;

namespace {

ByteVector bytes(std::string_view text) {
    const ByteView view = as_bytes(text);
    return {view.begin(), view.end()};
}

// The payload of the answer that `fd` got; `is_error` says which kind it is.
ByteVector ask(Rig& rig, int fd, locks::Procedure procedure, ByteView payload, bool& is_error) {
    const ByteVector frame =
        rpc::make_frame(rpc::make_call(locks::k_program, locks::k_version, procedure, 1), payload);
    send(fd, frame.data(), frame.size(), MSG_NOSIGNAL);
    rig.turn();
    ByteVector all(1 << 20);
    std::size_t size = 0;
    for (ssize_t n; (n = recv(fd, all.data() + size, all.size() - size, MSG_DONTWAIT)) > 0; rig.turn())
        size += static_cast<std::size_t>(n);
    cr_assert(size >= rpc::k_frame_min && size == load_be32(all.data()));
    is_error = rpc::read_header(all.data()).status == rpc::Status::error;
    return {all.begin() + rpc::k_frame_min, all.begin() + static_cast<std::ptrdiff_t>(size)};
}

locks::ListRet list(Rig& rig, Client& client, const locks::ListArgs& arguments = {}) {
    bool is_error = false;
    const auto payload = ask(rig, client.fd(), locks::Procedure::list, *proto::encode(arguments), is_error);
    cr_assert(!is_error);
    return *proto::decode<locks::ListRet>(payload);
}

// "ok N" with the number of holds, or the error's text.
std::string break_lock(Rig& rig, Client& client, const std::string& space, std::string_view name,
                       ByteVector uuid = {}) {
    bool is_error = false;
    const locks::BreakArgs arguments{
        .space = bytes(space), .name = bytes(name), .uuid = std::move(uuid), .reason = bytes("a test")};
    const auto payload = ask(rig, client.fd(), locks::Procedure::break_, *proto::encode(arguments), is_error);
    return is_error ? rpc::read_error_text(payload)
                    : fmt::format("ok {}", proto::decode<locks::BreakRet>(payload)->count);
}

struct House {
    House() : space(rig.spaces + "/s"), owner(rig), admin(rig) {
        cr_assert(owner.register_owner(k_nobody) == "ok" && owner.open_new(space) == "ok");
    }
    Rig rig{};
    const std::string space;
    Client owner, admin;
};

}  // namespace

Test(locker_administration, a_list_goes_on_where_it_ended) {
    House house;
    Client second(house.rig);  // now: the rig only looks at small numbers of descriptors
    cr_assert(second.register_owner(k_nobody + 1) == "ok");
    for (std::size_t i = 0; i < 300; ++i)
        cr_assert(house.owner.acquire(house.space, fmt::format("{:03}", i), k_auto | k_shared) == "ok");
    cr_assert(second.acquire(house.space, "127", k_shared) == "ok");
    locks::ListArgs arguments;
    std::vector<std::string> found;
    for (int parts = 1;; ++parts) {
        const auto ret = list(house.rig, house.admin, arguments);
        cr_assert(ret.holds.size() <= locks::k_listed_max);
        for (const auto& hold : ret.holds)
            found.push_back(fmt::format("{}/{}", as_text(hold.name), hold.hold));
        if (ret.last) {
            cr_assert_eq(parts, 3);
            break;
        }
        const auto& last = ret.holds.back();
        arguments.after = {.space = last.space, .name = last.name, .hold = last.hold};
    }
    cr_assert_eq(found.size(), 301);
    cr_assert(std::is_sorted(found.begin(), found.end()) && found[128] == "127/1");
}

Test(locker_administration, a_place_that_is_gone_is_passed_over) {
    House house;
    for (const char* name : {"a", "c"}) cr_assert(house.owner.acquire(house.space, name, k_auto) == "ok");
    const auto at = [&](std::string_view space, std::string_view name, std::uint32_t hold) {
        locks::ListArgs arguments;
        arguments.after = {.space = bytes(space), .name = bytes(name), .hold = hold};
        std::string names;
        for (const auto& one : list(house.rig, house.admin, arguments).holds) names += as_text(one.name);
        return names;
    };
    cr_assert(at(house.space, "a", 0) == "c" && at(house.space, "b", 7) == "c");
    cr_assert(at(house.space, "a", 65535) == "c" && at("", "", 0) == "ac" && at("~", "", 0) == "");
}

Test(locker_administration, the_names_of_an_answer_are_bounded) {
    House house;
    const std::string deep = house.rig.direct + "/" + std::string(200, 'd');
    cr_assert_eq(mkdir(deep.c_str(), 0700), 0);
    std::string path = deep;
    while (path.size() + 250 < 4000) {
        path += "/" + std::string(200, 'd');
        cr_assert_eq(mkdir(path.c_str(), 0700), 0);
    }
    for (int i = 0; i < 40; ++i) {
        const std::string file = fmt::format("{}/{}", path, i);
        write_file(file);
        cr_assert(house.owner.acquire("", file) == "ok");
    }
    const auto ret = list(house.rig, house.admin);
    cr_assert(!ret.last && ret.holds.size() >= 10 && ret.holds.size() < 20, "%zu", ret.holds.size());
}

Test(locker_administration, a_broken_lock_is_dropped_before_it_is_answered_and_free_then) {
    House house;
    cr_assert(house.owner.acquire(house.space, "r", k_auto) == "ok");
    const std::size_t kept = house.rig.holder.things.size();
    cr_assert(break_lock(house.rig, house.admin, house.space, "r") == "ok 1");
    cr_assert_eq(house.rig.holder.things.size(), kept - 1);
    cr_assert(is_free(house.space + "/r") && house.rig.locker->table().held() == 0);
    cr_assert(house.owner.answer().empty() && house.owner.is_at_end, "whoever speaks for the owner is ended");
    cr_assert(break_lock(house.rig, house.admin, house.space, "r") ==
              "Requested operation is not valid: nobody holds a lock on 'r'");
    cr_assert(break_lock(house.rig, house.admin, "/no", "r") ==
              "internal error: Lockspace for path /no does not exist");
}

Test(locker_administration, a_lock_can_be_broken_where_there_is_no_room_for_new_ones) {
    House house;
    cr_assert(house.owner.acquire(house.space, "r", k_auto) == "ok");
    house.rig.holder.mode = Holder::Mode::refusing;
    cr_assert(break_lock(house.rig, house.admin, house.space, "r") == "ok 1");
    cr_assert(is_free(house.space + "/r"));
}

Test(locker_administration, an_owner_that_lives_keeps_its_other_locks) {
    House house;
    Client self(house.rig);
    cr_assert(self.register_owner(static_cast<std::uint32_t>(getpid())) == "ok");
    for (const char* name : {"a", "b"}) cr_assert(self.acquire(house.space, name, k_auto) == "ok");
    cr_assert(list(house.rig, house.admin).holds[0].connected);
    cr_assert(break_lock(house.rig, house.admin, house.space, "a") == "ok 1");
    cr_assert(self.answer().empty() && self.is_at_end);
    cr_assert(is_free(house.space + "/a") && !is_free(house.space + "/b"), "and this process was not ended");
    house.rig.crash();
    house.rig.start();
    cr_assert(!is_free(house.space + "/b"));
}

Test(locker_administration, only_the_owner_that_is_meant) {
    House house;
    Client other(house.rig);
    cr_assert(other.register_owner(k_nobody + 1) == "ok");
    for (Client* client : {&house.owner, &other})
        cr_assert(client->acquire(house.space, "r", k_auto | k_shared) == "ok");
    cr_assert(break_lock(house.rig, house.admin, house.space, "r", ByteVector(16, std::byte{9})) ==
              "Requested operation is not valid: others hold the lock on 'r', not the owner with this UUID");
    cr_assert(break_lock(house.rig, house.admin, house.space, "r", ByteVector(15)) ==
              "the UUID of an owner has 16 bytes");
    cr_assert(break_lock(house.rig, house.admin, house.space, "r", ByteVector(16)) == "ok 2", "both have it");
}
