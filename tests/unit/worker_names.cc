// SPDX-License-Identifier: LGPL-2.1-or-later
// worker_names - what objects are called, as long as nothing is announced that changes it: with every race that would
// leave a name behind which libvirt does not use any more.
#include <criterion/criterion.h>

#include "libshared/rpc/error.h"
#include "tests/unit/names_rig.h"
#include "workerd/worker/names_feed.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::workerd::worker;

// ---- a cache that is told of everything ----------------------------------

namespace {

struct Cache {
    Cache() {
        for (const ObjectKind kind : k_kept) cache.admit(kind);
    }
    bool knows(ObjectKind kind, const Uuid& which, std::string_view name) const {
        const auto found = cache.find(kind, which);
        cr_assert(!found || *found == name);
        return found.has_value();
    }
    FakeClock clock;
    NamesCache cache{clock};
};

}  // namespace

Test(names_cache, finds_what_it_learnt_of_that_kind_and_uuid_only) {
    Cache rig;
    for (const ObjectKind kind : k_kept) {
        cr_assert(!rig.knows(kind, k_web, ""));
        rig.cache.learn(kind, k_web, "web", rig.cache.epoch());
        cr_assert(rig.knows(kind, k_web, "web"));
        cr_assert(!rig.knows(kind, k_other, ""));
    }
    rig.cache.drop(ObjectKind::network, k_web);
    cr_assert(!rig.knows(ObjectKind::network, k_web, "web"));
    for (const ObjectKind kind : {ObjectKind::domain, ObjectKind::pool, ObjectKind::secret})
        cr_assert(rig.knows(kind, k_web, "web"));
}

Test(names_cache, keeps_nothing_of_which_nothing_is_announced) {
    FakeClock clock;
    NamesCache cache(clock);
    cache.admit(ObjectKind::domain);
    for (const ObjectKind kind :
         {ObjectKind::network, ObjectKind::pool, ObjectKind::secret, ObjectKind::nwfilter}) {
        cache.learn(kind, k_web, "web", cache.epoch());
        cr_assert(!cache.find(kind, k_web).has_value());
    }
    cr_assert_eq(cache.size(), 0);
}

// An answer is what was true when the daemon looked; these are the orders in which it and the event can come.
Test(names_cache, an_event_before_the_question_does_not_matter) {
    Cache rig;
    rig.cache.drop(ObjectKind::domain, k_web);
    rig.cache.learn(ObjectKind::domain, k_web, "new", rig.cache.epoch());
    cr_assert(rig.knows(ObjectKind::domain, k_web, "new"));
}

Test(names_cache, an_event_between_question_and_answer_spoils_the_answer) {
    Cache rig;
    const Names::Epoch asked = rig.cache.epoch();
    rig.cache.drop(ObjectKind::domain, k_web);
    rig.cache.learn(ObjectKind::domain, k_web, "old", asked);
    cr_assert(!rig.knows(ObjectKind::domain, k_web, "old"));
}

Test(names_cache, an_event_after_the_answer_drops_it) {
    Cache rig;
    const Names::Epoch asked = rig.cache.epoch();
    rig.cache.learn(ObjectKind::domain, k_web, "old", asked);
    rig.cache.drop(ObjectKind::domain, k_web);
    cr_assert(!rig.knows(ObjectKind::domain, k_web, "old"));
    // A second answer to a question of before, of another session.
    rig.cache.learn(ObjectKind::domain, k_web, "old", asked);
    cr_assert(!rig.knows(ObjectKind::domain, k_web, "old"));
}

Test(names_cache, what_was_asked_before_events_came_is_not_kept) {
    FakeClock clock;
    NamesCache cache(clock);
    const Names::Epoch asked = cache.epoch();
    cache.admit(ObjectKind::domain);
    cache.learn(ObjectKind::domain, k_web, "web", asked);
    cr_assert_eq(cache.size(), 0);
}

Test(names_cache, what_was_asked_before_a_loss_is_not_kept_after_it) {
    Cache rig;
    const Names::Epoch asked = rig.cache.epoch();
    rig.cache.learn(ObjectKind::domain, k_other, "other", asked);
    rig.cache.close();
    cr_assert_eq(rig.cache.size(), 0);
    rig.cache.learn(ObjectKind::domain, k_web, "web", rig.cache.epoch());
    cr_assert_eq(rig.cache.size(), 0, "kept while nothing is announced");
    rig.cache.admit(ObjectKind::domain);
    rig.cache.learn(ObjectKind::domain, k_web, "web", asked);
    cr_assert_eq(rig.cache.size(), 0, "kept from before the loss");
}

Test(names_cache, trusts_no_name_for_long) {
    Cache rig;
    rig.cache.learn(ObjectKind::domain, k_web, "web", rig.cache.epoch());
    rig.clock.advance(NamesCache::k_age_max - Milliseconds{1});
    cr_assert(rig.knows(ObjectKind::domain, k_web, "web"));
    rig.clock.advance(Milliseconds{1});
    cr_assert(!rig.knows(ObjectKind::domain, k_web, "web"));
    rig.cache.learn(ObjectKind::domain, k_web, "later", rig.cache.epoch());
    cr_assert(rig.knows(ObjectKind::domain, k_web, "later"));
    cr_assert_eq(rig.cache.size(), 1);
}

Test(names_cache, is_bounded_in_number_and_size) {
    Cache rig;
    for (unsigned i = 0; i < NamesCache::k_names_max; ++i)
        rig.cache.learn(ObjectKind::domain, uuid(i), "web", rig.cache.epoch());
    cr_assert_eq(rig.cache.size(), NamesCache::k_names_max);
    rig.cache.learn(ObjectKind::domain, uuid(5), "known", rig.cache.epoch());
    cr_assert_eq(rig.cache.size(), NamesCache::k_names_max, "one that was there takes no room");
    rig.cache.learn(ObjectKind::network, uuid(5), "one more", rig.cache.epoch());
    cr_assert_eq(rig.cache.size(), 1);
    rig.cache.learn(ObjectKind::domain, k_web, std::string(NamesCache::k_name_size_max, 'x'),
                    rig.cache.epoch());
    cr_assert_eq(rig.cache.size(), 2);
    rig.cache.learn(ObjectKind::domain, k_other, std::string(NamesCache::k_name_size_max + 1, 'x'),
                    rig.cache.epoch());
    cr_assert_eq(rig.cache.size(), 2);
}

// ---- what is said on the connection ----------------------------------

namespace {

struct Feed {
    Feed() { calls = feed.start(); }
    // Takes one frame, as the link would.
    std::string_view take(ByteVector frame) {
        const rpc::Header head = rpc::read_header(frame.data());
        cr_assert(NamesFeed::wants(head), "procedure %u", head.procedure);
        return feed.take(head, ByteView(frame).subspan(rpc::k_frame_min));
    }
    // The calls, taken apart.
    std::vector<rpc::Header> asked() const {
        std::vector<rpc::Header> all;
        for (std::size_t at = 0; at < calls.size(); at += load_be32(calls.data() + at))
            all.push_back(rpc::read_header(calls.data() + at));
        return all;
    }
    // Answers all of them; a number of a registration to each that has one.
    void settle() {
        for (const rpc::Header& call : asked()) {
            const bool has_number =
                call.procedure != static_cast<std::uint32_t>(Procedure::connect_register_close_callback);
            cr_assert(take(rpc::make_frame(rpc::reply_to(call), ByteVector(has_number ? 4 : 0))).empty());
        }
    }
    void learn(ObjectKind kind, const Uuid& which) { cache.learn(kind, which, "web", cache.epoch()); }
    bool knows(ObjectKind kind, const Uuid& which) const { return cache.find(kind, which).has_value(); }

    FakeClock clock;
    NamesCache cache{clock};
    NamesFeed feed{cache};
    ByteVector calls;
};

}  // namespace

Test(names_feed, asks_for_the_lifecycle_of_everything) {
    Feed rig;
    const Procedure expected[] = {
        Procedure::connect_register_close_callback, Procedure::connect_domain_event_callback_register_any,
        Procedure::connect_network_event_register_any, Procedure::connect_storage_pool_event_register_any,
        Procedure::connect_secret_event_register_any};
    const std::byte* at = rig.calls.data();
    std::uint32_t serial = 0;
    for (const Procedure each : expected) {
        const bool is_first = each == Procedure::connect_register_close_callback;
        cr_assert(rpc::read_header(at) == header(each, Type::call, ++serial));
        const std::size_t size = load_be32(at);
        cr_assert_eq(size, rpc::k_frame_min + (is_first ? 0 : 8));
        for (std::size_t i = rpc::k_frame_min; i < size; ++i) cr_assert_eq(at[i], std::byte{0});
        at += size;
    }
    cr_assert_eq(at, rig.calls.data() + rig.calls.size());
    cr_assert(!rig.feed.is_settled());
    rig.settle();
    cr_assert(rig.feed.is_settled());
    for (const ObjectKind kind : k_kept) cr_assert(rig.cache.admits(kind));
    cr_assert(!rig.cache.admits(ObjectKind::nwfilter));
}

Test(names_feed, keeps_nothing_of_a_kind_until_its_registration_is_answered) {
    Feed rig;
    const auto calls = rig.asked();
    rig.learn(ObjectKind::domain, k_web);
    cr_assert(!rig.knows(ObjectKind::domain, k_web));
    // An event may overtake the answer.
    const Names::Epoch asked = rig.cache.epoch();
    cr_assert(rig.take(event(ObjectKind::domain, k_web, k_defined)).empty());
    cr_assert(rig.take(rpc::make_frame(rpc::reply_to(calls[1]), ByteVector(4))).empty());
    rig.cache.learn(ObjectKind::domain, k_web, "web", asked);
    cr_assert(!rig.knows(ObjectKind::domain, k_web), "it was asked before");
    rig.learn(ObjectKind::domain, k_web);
    cr_assert(rig.knows(ObjectKind::domain, k_web));
    rig.learn(ObjectKind::network, k_web);
    cr_assert(!rig.knows(ObjectKind::network, k_web));
}

Test(names_feed, keeps_nothing_of_a_kind_that_is_refused) {
    Feed rig;
    const auto calls = rig.asked();
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const bool good = i == 1 || i == 3;
        const ByteVector payload = good ? ByteVector(4) : rpc::make_error_payload(3, "not supported");
        const rpc::Header reply = rpc::reply_to(calls[i], good ? Status::ok : Status::error);
        cr_assert(rig.take(rpc::make_frame(reply, payload)).empty());
    }
    cr_assert(rig.feed.is_settled());
    for (const ObjectKind kind : k_kept) {
        rig.learn(kind, k_web);
        cr_assert_eq(rig.knows(kind, k_web), kind == ObjectKind::domain || kind == ObjectKind::pool);
    }
}

Test(names_feed, drops_exactly_the_object_that_may_be_called_otherwise) {
    Feed rig;
    rig.settle();
    for (const ObjectKind kind : k_kept)
        for (const std::int32_t what : {k_defined, k_undefined, k_started, k_suspended, k_resumed, k_stopped,
                                        k_shutdown, k_pm_suspended, k_crashed, 9, -1, 0x7fffffff}) {
            for (const ObjectKind each : k_kept) rig.learn(each, k_web), rig.learn(each, k_other);
            const Names::Epoch before = rig.cache.epoch();
            cr_assert(rig.take(event(kind, k_web, what)).empty());
            const bool stays = kind == ObjectKind::domain && (what == k_suspended || what == k_resumed ||
                                                              what == k_shutdown || what == k_pm_suspended);
            cr_assert_eq(rig.cache.epoch() == before, stays, "kind %u, event %d", unsigned(kind), what);
            for (const ObjectKind each : k_kept) {
                cr_assert_eq(rig.knows(each, k_web), stays || each != kind);
                cr_assert(rig.knows(each, k_other));
            }
        }
}

// The new name in an event is not taken: only an answer says how the daemon looks an object up.
Test(names_feed, a_rename_is_two_events) {
    Feed rig;
    rig.settle();
    rig.learn(ObjectKind::domain, k_web);
    const Names::Epoch asked = rig.cache.epoch();
    cr_assert(rig.take(event(ObjectKind::domain, k_web, k_undefined, "web")).empty());
    cr_assert(!rig.knows(ObjectKind::domain, k_web));
    cr_assert(rig.take(event(ObjectKind::domain, k_web, k_defined, "db")).empty());
    cr_assert(!rig.knows(ObjectKind::domain, k_web));
    rig.cache.learn(ObjectKind::domain, k_web, "web", asked);
    cr_assert(!rig.knows(ObjectKind::domain, k_web));
}

Test(names_feed, refuses_what_cannot_be_understood) {
    for (const ObjectKind kind : k_kept) {
        const ByteVector good = event(kind, k_web, k_defined);
        ByteVector shorter(good.begin(), good.end() - 4), longer = good,
                                                          unaligned(good.begin(), good.end() - 1);
        longer.resize(good.size() + 4);
        ByteVector failed = good;
        rpc::Header bad = rpc::read_header(good.data());
        bad.status = Status::error;
        rpc::write_header(failed.data(), failed.size(), bad);
        const ByteVector empty(good.begin(), good.begin() + rpc::k_frame_min);
        for (const ByteVector& each : {shorter, longer, unaligned, failed, empty}) {
            Feed rig;
            rig.settle();
            cr_assert(!rig.take(each).empty());
        }
    }
}

Test(names_feed, refuses_answers_that_nobody_asked_for) {
    Feed rig;
    const auto calls = rig.asked();
    rpc::Header wrong = rpc::reply_to(calls[1]);
    wrong.serial = calls[2].serial;
    cr_assert(!rig.take(rpc::make_frame(wrong, ByteVector(4))).empty());
    wrong = rpc::reply_to(calls[1]);
    wrong.type = Type::reply_with_fds;
    cr_assert(!rig.take(rpc::make_frame(wrong, ByteVector(8))).empty());
    wrong = rpc::reply_to(calls[1]);
    wrong.program = 0x20008087;
    cr_assert(!rig.take(rpc::make_frame(wrong, ByteVector(4))).empty());
    const rpc::Header other = header(Procedure::domain_lookup_by_uuid, Type::reply, calls[1].serial);
    cr_assert(!rig.take(rpc::make_frame(other, {})).empty());
    cr_assert(!rig.cache.admits(ObjectKind::domain));
    cr_assert(rig.take(rpc::make_frame(rpc::reply_to(calls[1]), ByteVector(4))).empty());
    cr_assert(!rig.take(rpc::make_frame(rpc::reply_to(calls[1]), ByteVector(4))).empty(), "twice");
    cr_assert(!rig.take(rpc::make_frame(rpc::reply_to(calls[2]), ByteVector(3))).empty(), "no number");
    cr_assert(!rig.take(rpc::make_frame(rpc::reply_to(calls[3], Status::proceed), ByteVector(4))).empty());
    for (const ObjectKind kind : {ObjectKind::network, ObjectKind::pool, ObjectKind::secret})
        cr_assert(!rig.cache.admits(kind));
}

Test(names_feed, believes_nothing_of_a_daemon_that_lost_the_one_behind_it) {
    Feed rig;
    rig.settle();
    cr_assert(!rig.take(rpc::make_frame(header(Procedure::connect_event_connection_closed, Type::message),
                                        ByteVector(4)))
                   .empty());
}

Test(names_feed, wants_nothing_else) {
    for (const auto& [procedure, type] : {std::pair{Procedure::domain_event_callback_reboot, Type::message},
                                          {Procedure::domain_event_lifecycle, Type::message},
                                          {Procedure::domain_event_callback_lifecycle, Type::stream},
                                          {Procedure::domain_event_callback_lifecycle, Type::call},
                                          {Procedure::secret_event_value_changed, Type::message}})
        cr_assert(!NamesFeed::wants(header(procedure, type)), "%u", static_cast<unsigned>(procedure));
    rpc::Header ping{rpc::k_keepalive_program, rpc::k_keepalive_version, 1, Type::message, 0, Status::ok};
    cr_assert(!NamesFeed::wants(ping));
    ping.procedure = static_cast<std::uint32_t>(Procedure::domain_event_callback_lifecycle);
    cr_assert(!NamesFeed::wants(ping));
}
