// SPDX-License-Identifier: LGPL-2.1-or-later
// avahi - what libavahi-client is promised about its waiting, with a loop whose time and readiness the test decides.
#include <avahi-common/timeval.h>
#include <criterion/criterion.h>

#include <vector>

#include "libshared/avahi/poll.h"
#include "libshared/loop/fake_loop.h"

using namespace virtgate;

namespace {

constexpr int k_fd = 7;

// What came back, and what is done then.
struct Rig {
    loop::FakeLoop loop;
    avahi::Poll poll{loop};
    std::vector<AvahiWatchEvent> events;
    int fired = 0;
    bool frees = false;

    static void on_watch(AvahiWatch* watch, int fd, AvahiWatchEvent event, void* self) {
        auto& rig = *static_cast<Rig*>(self);
        cr_assert_eq(fd, k_fd);
        cr_assert_eq(rig.poll.api()->watch_get_events(watch), event);
        rig.events.push_back(event);
        if (rig.frees) rig.poll.api()->watch_free(watch);
    }
    static void on_timeout(AvahiTimeout* timeout, void* self) {
        auto& rig = *static_cast<Rig*>(self);
        ++rig.fired;
        if (rig.frees) rig.poll.api()->timeout_free(timeout);
    }
    AvahiWatch* watch(int events_wanted) {
        return poll.api()->watch_new(poll.api(), k_fd, static_cast<AvahiWatchEvent>(events_wanted), on_watch,
                                     this);
    }
    AvahiTimeout* timeout(const timeval* when) {
        return poll.api()->timeout_new(poll.api(), when, on_timeout, this);
    }
};

timeval in(unsigned ms) {
    timeval when{};
    avahi_elapse_time(&when, ms, 0);
    return when;
}

}  // namespace

Test(avahi_poll, watches_what_it_is_asked_for) {
    Rig rig;
    AvahiWatch* watch = rig.watch(AVAHI_WATCH_IN);
    cr_assert_eq(rig.loop.wanted(k_fd), loop::Want::read);
    rig.loop.ready(k_fd, loop::Want::read);
    rig.poll.api()->watch_update(watch, AVAHI_WATCH_OUT);
    cr_assert_eq(rig.loop.wanted(k_fd), loop::Want::write);
    rig.loop.ready(k_fd, loop::Want::write);
    cr_assert(rig.events == (std::vector{AVAHI_WATCH_IN, AVAHI_WATCH_OUT}));
    rig.poll.api()->watch_update(watch, AvahiWatchEvent{});
    cr_assert_eq(rig.loop.wanted(k_fd), loop::Want::nothing);
    rig.poll.api()->watch_free(watch);
    cr_assert_eq(rig.loop.ready(k_fd, loop::Want::both), 0);
}

Test(avahi_poll, two_watches_of_one_descriptor_are_two) {
    Rig rig;
    AvahiWatch* reader = rig.watch(AVAHI_WATCH_IN | AVAHI_WATCH_HUP);
    AvahiWatch* writer = rig.watch(AVAHI_WATCH_OUT | AVAHI_WATCH_ERR);
    cr_assert_eq(rig.loop.wanted(k_fd), loop::Want::both);
    rig.poll.api()->watch_free(writer);
    cr_assert_eq(rig.loop.wanted(k_fd), loop::Want::read);
    rig.poll.api()->watch_free(reader);
}

Test(avahi_poll, callbacks_may_free_what_called_them) {
    Rig rig;
    rig.frees = true;
    rig.watch(AVAHI_WATCH_IN);
    rig.loop.ready(k_fd, loop::Want::read);
    cr_assert_eq(rig.events.size(), 1);
    cr_assert_eq(rig.loop.wanted(k_fd), loop::Want::nothing);
    const timeval now = in(0);
    rig.timeout(&now);
    rig.loop.advance(Milliseconds{1'000});
    cr_assert_eq(rig.fired, 1);
}

Test(avahi_poll, a_timeout_fires_once_and_when_it_is_time) {
    Rig rig;
    const timeval later = in(60'000);
    AvahiTimeout* timeout = rig.timeout(&later);
    rig.loop.advance(Milliseconds{50'000});
    cr_assert_eq(rig.fired, 0);
    rig.loop.advance(Milliseconds{20'000});
    rig.loop.advance(Milliseconds{200'000});
    cr_assert_eq(rig.fired, 1);
    rig.poll.api()->timeout_free(timeout);
}

Test(avahi_poll, a_time_that_has_passed_is_now_and_none_is_never) {
    Rig rig;
    AvahiTimeout* timeout = rig.timeout(nullptr);
    rig.loop.advance(Milliseconds{1'000'000});
    cr_assert_eq(rig.fired, 0);
    const timeval past{};
    rig.poll.api()->timeout_update(timeout, &past);
    rig.loop.advance(Milliseconds{0});
    cr_assert_eq(rig.fired, 1);
    const timeval later = in(1'000);
    rig.poll.api()->timeout_update(timeout, &later);
    rig.poll.api()->timeout_update(timeout, nullptr);
    rig.loop.advance(Milliseconds{10'000});
    cr_assert_eq(rig.fired, 1);
    rig.poll.api()->timeout_free(timeout);
}
