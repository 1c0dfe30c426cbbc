// SPDX-License-Identifier: LGPL-2.1-or-later
// worker_session_names - sessions whose names are kept true over a second connection.
#include <criterion/criterion.h>
#include <sys/socket.h>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/programs.h"
#include "tests/unit/worker_stage.h"

using namespace virtgate;
using namespace virtgate::test;
using rpc::Type;
using workerd::worker::NamesLink;
namespace remote = proto::remote;

namespace {

const policy::Uuid k_web{std::byte{1}};
const rpc::Header k_renamed = with(call_header(Procedure::domain_event_callback_lifecycle, 1), Type::message);

template <class T>
ByteVector encoded(const T& value) {
    auto bytes = proto::encode(value);
    cr_assert(bytes.has_value());
    return *bytes;
}

// Who may do everything with domains whose names begin with "web".
Stage::Client limited() {
    proto::policy::Grant grant;
    grant.role = "operator";
    grant.may.programs.push_back({.program = remote::k_program,
                                  .version = remote::k_version,
                                  .procedures = ByteVector(64, std::byte{0xff})});
    grant.objects.push_back(
        {proto::policy::ObjectKind::object_domain, proto::policy::PatternKind::pattern_glob, "web*"});
    proto::policy::IdentityRights rights{.generation = 1, .identity = "alice", .grants = {}, .limits = {}};
    rights.grants.push_back(std::move(grant));
    Stage::Client client;
    client.identity = "alice";
    client.rights = std::make_shared<const policy::Rights>(std::move(rights));
    return client;
}

rpc::Header info(std::uint32_t serial) { return call_header(Procedure::domain_get_info, serial); }
const ByteVector& args() {
    static const ByteVector bytes = encoded(remote::DomainGetInfoArgs{{"web", k_web, -1}});
    return bytes;
}
bool is(const Frame& frame, Procedure procedure) {
    return frame.header.procedure == static_cast<std::uint32_t>(procedure);
}

// A session that has asked for names often enough, and the second connection.
struct Pair : Stage {
    Pair() : Stage(limited()) {
        open();
        for (unsigned i = 0; i < NamesLink::k_worth; ++i) call_and_answer("web");
        UniqueFd first = std::move(daemon_);
        accept();
        answer(with(asked().header, Type::reply), words({0}));
        answer(with(asked().header, Type::reply));
        answer(with(asked().header, Type::reply));
        for (int i = 0; i < 4; ++i) answer(with(asked().header, Type::reply), words({1}));
        second = std::move(daemon_);
        daemon_ = std::move(first);
        pump();
    }
    // A call of the client that has to be asked about; the daemon says how the domain is called.
    Frame call_and_answer(std::string_view name) {
        send(info(++serial), args());
        const Frame question = asked();
        cr_assert(::is(question, Procedure::domain_lookup_by_uuid), "%u", question.header.procedure);
        answer(with(question.header, Type::reply),
               encoded(remote::DomainLookupByUuidRet{{std::string(name), k_web, -1}}));
        return name.starts_with("web") ? finish(asked()) : frame();
    }
    // Its end if it goes through.
    Frame finish(const Frame& passed) {
        cr_assert(passed.header == info(serial));
        cr_assert(passed.payload == args());
        answer(with(passed.header, Type::reply), encoded(remote::DomainGetInfoRet{}));
        return frame();
    }
    void announce(std::int32_t event) {
        const ByteVector frame = rpc::make_frame(
            k_renamed, encoded(remote::DomainEventCallbackLifecycleMsg{1, {{"web", k_web, -1}, event, 0}}));
        cr_assert_eq(::send(second.get(), frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
    }
    UniqueFd second;
    std::uint32_t serial = 1;
};

}  // namespace

Test(session_names, spare_the_round_trip) {
    Pair stage;
    stage.call_and_answer("web");
    for (int i = 0; i < 3; ++i) {
        stage.send(info(++stage.serial), args());
        cr_assert_eq(stage.finish(stage.asked()).header.status, rpc::Status::ok);
    }
}

Test(session_names, let_calls_through_side_by_side) {
    Pair stage;
    stage.call_and_answer("web");
    ByteVector packet;
    for (int i = 0; i < 10; ++i) append(packet, rpc::make_frame(info(++stage.serial), args()));
    stage.send(packet);
    cr_assert(stage.read_all() == packet);
}

// The call and the event are there at the same time, and the loop looks at the call first: its descriptor is older.
Test(session_names, are_true_when_the_call_is_judged) {
    Pair stage;
    stage.call_and_answer("web");
    stage.announce(1);
    stage.send(info(++stage.serial), args());
    const Frame question = stage.asked();
    cr_assert(is(question, Procedure::domain_lookup_by_uuid));
    stage.answer(with(question.header, Type::reply),
                 encoded(remote::DomainLookupByUuidRet{{"db", k_web, -1}}));
    cr_assert_eq(error_code(stage.frame()), 42);
}

Test(session_names, of_before_an_event_are_not_kept) {
    Pair stage;
    stage.send(info(++stage.serial), args());
    const Frame question = stage.asked();
    stage.announce(0);
    stage.pump();
    stage.answer(with(question.header, Type::reply),
                 encoded(remote::DomainLookupByUuidRet{{"web", k_web, -1}}));
    stage.finish(stage.asked());
    stage.call_and_answer("web");
    stage.send(info(++stage.serial), args());
    stage.finish(stage.asked());
}

Test(session_names, are_asked_for_when_the_second_connection_is_lost) {
    Pair stage;
    stage.call_and_answer("web");
    stage.second.reset();
    stage.call_and_answer("web");
    stage.call_and_answer("db");
    cr_assert(!stage.has_ended());
}

Test(session_names, end_with_the_session) {
    Pair stage;
    stage.call_and_answer("web");
    stage.hang_up();
    stage.pump();
    std::byte byte;
    cr_assert_eq(recv(stage.second.get(), &byte, 1, MSG_DONTWAIT), 0);
}

// Nobody asks for names, so nobody needs a second connection.
Test(session_names, are_not_for_those_who_may_do_everything) {
    Stage stage;
    stage.open();
    for (std::uint32_t i = 2; i < 100; ++i) {
        stage.send(info(i), args());
        const Frame passed = stage.asked();
        cr_assert(passed.header == info(i));
        stage.answer(with(passed.header, Type::reply), encoded(remote::DomainGetInfoRet{}));
        static_cast<void>(stage.frame());
    }
    cr_assert(!stage.is_connected());
}
