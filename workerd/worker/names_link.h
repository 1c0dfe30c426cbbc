// SPDX-License-Identifier: LGPL-2.1-or-later
// names_link - names that a second connection to the daemon keeps true.
//
//     idle ── k_worth questions ──▶ opening ──▶ serving
//      ▲                               │           │ lost
//      └── a while ──── resting ◀──────┴───────────┘
//
// It goes to the same socket with the same URI, mode and identity as the connections of the sessions that use it: the
// daemon sends it the events about exactly those objects that it lets them look up, also where its own access rules
// filter. Only when names were asked for a few times is it opened; most clients are gone before it would pay. It asks
// for no keepalive, so the daemon never pings it. While it is not serving nothing is found, and nothing waits for it.
//
// How old a name can be. As a rule libvirt makes a change and its event under a lock that look-ups take, too; so an
// event is sent after look-ups see the change, and names.h says why a name that was learnt lives until its event comes.
// catch_up(), before calls are judged, applies all events that the daemon has written by then. What is left:
//   - the time from the change to the writing of its event, which libvirt's event loop does next, but may do after
//     the reply to whoever made the change: microseconds on an idle daemon, more on a busy one, or where a daemon
//     stands in front of the one that has the object. In that time a call is judged as if it had come before the
//     change. The same is true, by a round trip, of a name that is asked for with each call.
//   - what libvirt announces too early or not at all: the end of an object that some drivers announce before look-ups
//     miss it, or of one that failed to start or to arrive. If it was learnt then, and another object gets its uuid,
//     the old name holds until that one is announced, which is when it has started.
//   - networks, pools and secrets that a daemon has from another one (virtqemud from virtnetworkd), if that one is
//     restarted: nothing tells then that its events do not come any more.
// In the last two a name may be wrong until it is NamesCache::k_age_max old, no longer.
//
// Trust:  the daemon; after a frame that cannot be understood everything is forgotten.
// Limits: frames of NamesFeed::k_frame_max; others are skipped, not kept. It sends nothing but its few first calls.
// Owns:   its connection. Sessions share it; it ends with the last one.
#pragma once

#include <memory>
#include <string>

#include "libshared/base/log.h"
#include "workerd/worker/names_feed.h"
#include "workerd/worker/opening.h"

namespace virtgate::workerd::worker {

class NamesLink final : public Names {
public:
    // So many questions were in vain before it is opened.
    static constexpr unsigned k_worth = 16;
    // How long it waits after a failure: twice as long after each, up to the longest.
    static constexpr Milliseconds k_rest_min{500}, k_rest_max{30'000};

    // Where the connections of its sessions go, and as whom.
    struct Way {
        std::string uri;
        std::string socket;  // the one that the session is connected to
        bool read_only = false;
        Prologue::Identity identity{};
        bool operator==(const Way&) const = default;
    };
    // Does nothing yet. `timeout`: for opening. `loop`, `scratch` and `connector` have to outlive it.
    NamesLink(loop::Loop& loop, Scratch& scratch, Connector& connector, Milliseconds timeout, Way way);

    [[nodiscard]] std::optional<std::string_view> find(policy::ObjectKind kind,
                                                       const policy::Uuid& uuid) noexcept override {
        return cache_.find(kind, uuid);
    }
    [[nodiscard]] Epoch epoch() noexcept override;
    void learn(policy::ObjectKind kind, const policy::Uuid& uuid, std::string_view name,
               Epoch asked) override {
        cache_.learn(kind, uuid, name, asked);
    }

    // Applies what the daemon has announced by now. For sessions, before they look at what a client sent; never while
    // something is in the scratch.
    void catch_up() noexcept;

    [[nodiscard]] const Way& way() const noexcept { return way_; }
    [[nodiscard]] bool is_serving() const noexcept { return static_cast<bool>(upstream_); }

private:
    enum class State : unsigned char { idle, opening, serving, resting };

    void open();
    void on_opened() noexcept;
    void on_ready(loop::Want ready) noexcept;
    void on_rested() noexcept;
    [[nodiscard]] bool read_once() noexcept;
    [[nodiscard]] std::string_view take(MutableBytes in);
    void lose(std::string_view why) noexcept;
    void rest() noexcept;

    loop::Loop& loop_;
    Scratch& scratch_;
    Connector& connector_;
    const Milliseconds timeout_;
    const Way way_;
    const Log log_;
    NamesCache cache_;
    NamesFeed feed_;
    State state_ = State::idle;
    unsigned questions_ = 0;  // since it is idle
    Milliseconds rest_ = k_rest_min;
    Instant served_{};  // since when
    std::unique_ptr<loop::Timer> timer_;
    std::unique_ptr<Opening> opening_;
    UniqueFd upstream_;
    std::unique_ptr<loop::Watch> watch_;
    rpc::Cutter cutter_;
};

}  // namespace virtgate::workerd::worker
