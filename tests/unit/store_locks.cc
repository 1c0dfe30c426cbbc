// SPDX-License-Identifier: LGPL-2.1-or-later
// store_locks - the store's locks: what the lock daemon is asked, what is made of its answers, and what becomes of a lease when
// it does not answer any more.
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "libshared/rpc/error.h"
#include "tests/unit/pump.h"
#include "workerd/store/locks.h"
#include "workerd/store/path_digest.h"

using namespace virtgate;
using namespace virtgate::workerd::store;
namespace lock = proto::lock;

namespace {

// Locks, and the test in the place of broker and lock daemon.
struct Rig {
    explicit Rig(std::string space = {})
        : locks(loop, {.is_on = true, .lock_space = std::move(space)}, loop::to<&Rig::on_asking>(*this)) {
        locks.add(7, {.identity = "alice", .session = 12});
    }
    void on_asking() noexcept { ++asked; }
    void give_way() {
        int ends[2];
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
        daemon = UniqueFd{ends[0]};
        locks.set_way(UniqueFd{ends[1]});
    }
    void claim(bool is_new = false, bool shared = false) {
        locks.take(7, {.path = "/pool/disk", .volume = "disk", .shared = shared, .is_new = is_new},
                   [this](Answer<Lease> lease) {
                       ++answers;
                       if (lease)
                           leases.push_back(std::move(*lease));
                       else
                           failure = lease.error();
                   });
    }
    // The next call that came; procedure 0: none.
    struct Asked {
        std::uint32_t procedure = 0, serial = 0;
        ByteVector payload{};
    };
    Asked next() {
        test::pump(loop);
        std::array<std::byte, 4096> piece;
        const ssize_t n = recv(daemon.get(), piece.data(), piece.size(), MSG_DONTWAIT);
        if (n > 0) input.insert(input.end(), piece.begin(), piece.begin() + n);
        if (input.size() < rpc::k_frame_min) return {};
        const std::size_t size = load_be32(input.data());
        cr_assert(size <= input.size());
        const rpc::Header header = rpc::read_header(input.data());
        Asked asked{header.procedure,
                    header.serial,
                    {input.begin() + 28, input.begin() + static_cast<std::ptrdiff_t>(size)}};
        input.erase(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(size));
        cr_assert(header.program == lock::k_program && header.type == rpc::Type::call);
        return asked;
    }
    template <class Arguments>
    Arguments expect(lock::Procedure procedure, const rpc::Failure* failure_of_it = nullptr,
                     bool answers_it = true) {
        const Asked asked = next();
        cr_assert_eq(asked.procedure, static_cast<std::uint32_t>(procedure));
        const rpc::Header call = rpc::make_call(lock::k_program, lock::k_version, procedure, asked.serial);
        serial = asked.serial;
        if (answers_it) {
            const ByteVector frame = failure_of_it == nullptr
                                         ? rpc::make_frame(rpc::reply_to(call), {})
                                         : rpc::make_frame(rpc::reply_to(call, rpc::Status::error),
                                                           rpc::make_error_payload(*failure_of_it));
            cr_assert_eq(write(daemon.get(), frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
            test::pump(loop);
        }
        return *proto::decode<Arguments>(asked.payload);
    }
    void take() {
        claim();
        if (!daemon) give_way();
        expect<lock::RegisterArgs>(lock::Procedure::register_);
        expect<lock::AcquireResourceArgs>(lock::Procedure::acquire_resource);
        cr_assert(!leases.empty());
    }
    void on_lost() noexcept { ++lost; }

    loop::FakeLoop loop;
    Locks locks;
    UniqueFd daemon;
    ByteVector input;
    std::vector<Lease> leases;
    rpc::Failure failure{};
    std::uint32_t serial = 0;
    int asked = 0, answers = 0, lost = 0;
};

}  // namespace

Test(store_locks, digests_are_those_of_the_standard) {
    cr_assert_eq(digest_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    cr_assert_eq(digest_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    cr_assert_eq(digest_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    cr_assert_eq(digest_of(std::string(64, 'a')),
                 "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
    cr_assert_eq(digest_of(std::string(1'000'000, 'a')),
                 "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

Test(store_locks, a_lock_is_taken_for_whom_it_is_and_let_go) {
    Rig rig;
    rig.claim();
    cr_assert(rig.asked == 1 && rig.answers == 0);
    rig.give_way();
    const auto owner = rig.expect<lock::RegisterArgs>(lock::Procedure::register_).owner;
    cr_assert(owner.name == "alice" && owner.id == 12);
    const auto wanted = rig.expect<lock::AcquireResourceArgs>(lock::Procedure::acquire_resource);
    cr_assert(wanted.path.empty() && wanted.name == "/pool/disk" && wanted.flags == 0);
    cr_assert(rig.leases.size() == 1 && !rig.leases[0].is_lost());
    rig.leases.clear();
    const auto released = rig.expect<lock::ReleaseResourceArgs>(lock::Procedure::release_resource);
    cr_assert(released.path.empty() && released.name == "/pool/disk");
    rig.claim(false, true);
    cr_assert_eq(rig.asked, 1, "the way is there");
    rig.expect<lock::RegisterArgs>(lock::Procedure::register_);
    cr_assert_eq(rig.expect<lock::AcquireResourceArgs>(lock::Procedure::acquire_resource).flags, 1U);
}

Test(store_locks, a_lock_space_has_the_digest_of_the_path) {
    Rig rig("/spaces/files");
    rig.claim(true);
    rig.give_way();
    cr_assert_eq(rig.expect<lock::CreateLockSpaceArgs>(lock::Procedure::create_lockspace).path,
                 "/spaces/files");
    rig.expect<lock::RegisterArgs>(lock::Procedure::register_);
    const auto wanted = rig.expect<lock::AcquireResourceArgs>(lock::Procedure::acquire_resource);
    cr_assert(wanted.path == "/spaces/files" && wanted.name == digest_of("/pool/disk") && wanted.flags == 2);
}

Test(store_locks, what_is_not_there_yet_needs_no_lock_on_a_file) {
    Rig rig;
    rig.claim(true);
    cr_assert(rig.asked == 0 && rig.leases.size() == 1);
    cr_assert(!rig.leases[0].is_lost() && rig.leases[0].loss() == nullptr);
}

Test(store_locks, who_has_it_is_told) {
    Rig rig;
    rig.claim();
    rig.give_way();
    rig.expect<lock::RegisterArgs>(lock::Procedure::register_);
    const rpc::Failure busy{
        .code = rpc::k_code_resource_busy, .message = "all of it", .detail = "\"web\" (process 4)"};
    rig.expect<lock::AcquireResourceArgs>(lock::Procedure::acquire_resource, &busy);
    cr_assert_eq(rig.failure.code, rpc::k_code_resource_busy);
    cr_assert_eq(rig.failure.message, "resource busy: volume 'disk' is in use by \"web\" (process 4)");
    const rpc::Failure other{.code = rpc::k_code_operation_denied, .message = "not beneath"};
    rig.claim();
    rig.expect<lock::RegisterArgs>(lock::Procedure::register_);
    rig.expect<lock::AcquireResourceArgs>(lock::Procedure::acquire_resource, &other);
    cr_assert_eq(rig.failure.code, rpc::k_code_operation_failed);
    cr_assert(rig.failure.message.ends_with("and so not be written: not beneath"));
}

Test(store_locks, without_a_way_there_is_no_lock) {
    Rig rig;
    rig.claim();
    rig.claim();
    cr_assert_eq(rig.asked, 1);
    rig.locks.set_no_way("it is not there");
    cr_assert(rig.answers == 2 && rig.leases.empty());
    cr_assert(rig.failure.message.ends_with("no way to the lock daemon: it is not there"));
    rig.claim();
    cr_assert_eq(rig.asked, 2, "the next one asks again");
}

Test(store_locks, a_lost_line_is_kept_until_its_last_lease_ends) {
    Rig rig;
    rig.take();
    rig.leases[0].watch(loop::to<&Rig::on_lost>(rig));
    cr_assert_eq(shutdown(rig.daemon.get(), SHUT_WR), 0);
    test::pump(rig.loop);
    cr_assert(rig.leases[0].is_lost() && *rig.leases[0].loss() && rig.lost == 1);
    // This end is open: what is being written is not anybody else's.
    std::byte one;
    cr_assert(recv(rig.daemon.get(), &one, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
    rig.leases.clear();
    cr_assert_eq(recv(rig.daemon.get(), &one, 1, MSG_DONTWAIT), 0);
    rig.daemon.reset();
    rig.input.clear();
    rig.take();
    cr_assert_eq(rig.asked, 2);
}

Test(store_locks, a_line_that_was_lost_before_is_replaced_once) {
    Rig rig;
    rig.take();
    rig.leases.clear();
    rig.next();
    rig.daemon.reset();  // nobody has noticed
    rig.claim();
    test::pump(rig.loop);
    cr_assert(rig.asked == 2 && rig.answers == 1);
    rig.give_way();
    rig.daemon.reset();
    test::pump(rig.loop);
    cr_assert(rig.answers == 2 && rig.leases.empty(), "not for ever");
}

Test(store_locks, a_lock_that_comes_too_late_is_let_go) {
    Rig rig;
    rig.claim();
    rig.give_way();
    rig.expect<lock::RegisterArgs>(lock::Procedure::register_);
    rig.expect<lock::AcquireResourceArgs>(lock::Procedure::acquire_resource, nullptr, false);
    rig.loop.advance(Locks::k_patience);
    cr_assert(rig.answers == 1 && rig.failure.message.ends_with("does not answer"));
    const ByteVector late =
        rpc::make_frame(rpc::reply_to(rpc::make_call(lock::k_program, lock::k_version,
                                                     lock::Procedure::acquire_resource, rig.serial)),
                        {});
    cr_assert_eq(write(rig.daemon.get(), late.data(), late.size()), static_cast<ssize_t>(late.size()));
    test::pump(rig.loop);
    cr_assert(rig.answers == 1 && rig.leases.empty());
    rig.expect<lock::ReleaseResourceArgs>(lock::Procedure::release_resource);
}

Test(store_locks, nonsense_is_the_end_of_the_line) {
    for (const std::size_t size : {0UL, 27UL, 1UL << 20}) {
        Rig rig;
        rig.take();
        ByteVector frame = rpc::make_frame(rpc::make_message(1, 1, 1U), {});
        store_be32(frame.data(), static_cast<std::uint32_t>(size));
        cr_assert_eq(write(rig.daemon.get(), frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
        test::pump(rig.loop);
        cr_assert(rig.leases[0].is_lost());
    }
}
