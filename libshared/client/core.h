// SPDX-License-Identifier: LGPL-2.1-or-later
// core - one connection that many threads use: who reads, who writes, who waits for what. Internal: see
// connection.h.
//
// Roles. At any time at most one thread reads from the channel, at most one writes to it, and at most one
// runs callbacks. A role is a flag below mutex_, not a lock: mutex_ is never held during a system call that
// moves bytes, nor during a callback. A thread that wants an answer sends its frame itself (or leaves it to
// the one that is writing), and then either takes the free role of the reader or sleeps. The reader hands
// each answer to its owner and wakes only that one. When its own answer has come, it wakes one of the others,
// who goes on reading: "passing the buck".
//
//   thread A   send ── read ── read ── (A's answer) ──▶ wakes B
//   thread B        send ── sleep ──────────────────────── read ── (B's answer)
//   thread C             send ── sleep ── (C's answer, handed over by A)
//
// Trust:  frames are the server's: each is checked against what was asked; what does not fit closes the
//         connection.
// Limits: options.h.
// Owns:   the channel, frames that are not sent or not delivered yet. Streams share their state with their
//         handles.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <variant>

#include "libshared/client/options.h"
#include "libshared/rpc/cutter.h"
#include "libshared/rpc/ping_schedule.h"

namespace virtgate::client {

class Core;

// Why a connection ended.
enum class CloseReason : unsigned char { error, end, keepalive, client };

// Something that arrives in pieces: bytes in memory, bytes in the stream's file, or a hole.
struct SpoolEntry {
    enum class Kind : unsigned char { memory, file, hole };
    Kind kind = Kind::memory;
    std::uint64_t size = 0;
    ByteVector bytes{};
    std::uint64_t offset = 0;  // in the file
};

// A blocking wait of one thread. Its destructor must run without mutex_: it waits for a stop callback that is
// running.
class Waiting {
public:
    Waiting(Core& core, const Deadline& deadline) : on_stop_(deadline.stop, Wake{core, *this}) {}
    std::condition_variable ready;

private:
    struct Wake {
        Core& core;
        Waiting& waiting;
        void operator()() const noexcept;
    };
    std::stop_callback<Wake> on_stop_;
};

// The connection's side of a stream; all below mutex_ but what is marked.
struct StreamState : std::enable_shared_from_this<StreamState> {
    enum class State : unsigned char { open, finishing, aborting, finished, failed };
    rpc::Header header{};
    bool sparse = false;
    bool opening = true;  // the reply to its call has not come; data may have, as libvirtd has two threads
    State state = State::open;
    bool at_end = false;  // the server has nothing more to send
    std::optional<Failure> failure{};
    std::deque<SpoolEntry> in{};
    std::size_t in_memory = 0;
    std::uint64_t in_file = 0;   // not read yet
    std::uint64_t file_end = 0;  // where the next piece goes
    Instant taken{};             // when the program read something last
    std::size_t queued = 0;      // bytes that wait to be sent
    Waiting* reader = nullptr;
    Waiting* writer = nullptr;
    Waiting* ender = nullptr;
    Want interest = Want::nothing;
    std::function<void(Want)> handler{};
    bool notified = false;  // a call of the handler is under way
    bool partly = false;    // something is left of `current`
    // Only of the thread that reads the stream:
    SpoolEntry current{};
    std::uint64_t current_at = 0;
    // Written once by the reader of the connection before the first entry of kind file is queued.
    UniqueFd file{};
};

struct Reply {
    ByteVector payload{};
    std::vector<UniqueFd> fds{};
    std::shared_ptr<StreamState> stream{};
};

struct Request {
    std::uint32_t program = 0, version = 0, procedure = 0;
    ByteVector payload{};
    std::vector<UniqueFd> fds{};
    bool opens_stream = false;
    bool sparse = false;  // the stream may have holes
    // The only link (Core::link_) that it means something on: it names what the server knows there.
    std::optional<std::uint64_t> link{};
    // Called in the order of arrival when a good reply comes, below mutex_; `late` if nobody waits for it any
    // more.
    std::function<void(Core&, const Reply&, bool late)> on_reply{};
};

// The same request without descriptors and what is to happen with the reply.
[[nodiscard]] Request repeat(const Request& request);

using Completion = std::function<void(Result<Reply>)>;

struct EventHandler {
    std::uint32_t program = 0, procedure = 0;
    std::optional<std::int32_t> callback_id{};  // none: a legacy event
    std::function<void(ByteView)> run{};        // gets the whole payload
    // Below mutex_:
    bool cancelled = false;
    std::uint64_t link = 0;         // where it is registered; nowhere now, if that is not the core's
    Request enrol{}, deregister{};  // the latter with what the server calls it on that link

    // From the reply to `enrol`, which is all that the deregistration takes.
    void name(ByteView reply);
};

class Core : public std::enable_shared_from_this<Core> {
public:
    [[nodiscard]] static Result<std::shared_ptr<Core>> make(std::unique_ptr<Channel> channel,
                                                            const Options& options);
    ~Core();
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    // Starts the thread or the descriptor for the loop. Error: Cause::system.
    [[nodiscard]] Done start_service();
    void stop_service();

    [[nodiscard]] Result<Reply> call(Request request, const Deadline& deadline);
    // Never waits. `completion` runs as a callback. Returns a number for cancel().
    [[nodiscard]] Result<std::uint32_t> start_call(Request request, Instant until, Completion completion);
    void cancel_call(std::uint32_t serial);

    // Before anything else uses the connection: replaces the channel by what `change` makes of it.
    [[nodiscard]] Done change_channel(
        const std::function<Result<std::unique_ptr<Channel>>(std::unique_ptr<Channel>)>& change);
    [[nodiscard]] const Channel* channel() const noexcept { return channel_.get(); }
    void start_keepalive();

    void close(CloseReason reason, Failure failure);
    // Why it has ended and will stay so.
    [[nodiscard]] std::optional<Failure> closed();
    [[nodiscard]] bool is_connected();
    void on_close(std::function<void(CloseReason, const Failure&)> handler);

    // Options::reconnect, once, before start_service(). `establish` makes a core of the same server on which
    // calls can be made, and that nobody else uses; what it has on the wire is taken over.
    using Establish = std::function<Result<std::shared_ptr<Core>>(const Deadline&)>;
    void set_reconnect(Reconnect plan, Establish establish);

    // Service::loop.
    [[nodiscard]] int fd() const noexcept { return poll_.get(); }
    void dispatch();
    // Service::none.
    [[nodiscard]] Done serve(const Deadline& deadline);

    // Events. Handlers are found when an event arrives; while a registration is under way, those that fit
    // none wait for it.
    void begin_registration();
    void end_registration();
    void add_handler(const std::shared_ptr<EventHandler>& handler);
    void add_handler_locked(const std::shared_ptr<EventHandler>& handler);
    void take_orphans(const std::shared_ptr<EventHandler>& handler);
    // Afterwards it does not run any more, unless it is the caller.
    void remove_handler(const std::shared_ptr<EventHandler>& handler);
    [[nodiscard]] std::uint64_t lost_events();
    // A request for this link only; none while there is none.
    [[nodiscard]] std::optional<Request> bind(Request request);
    // The call that ends a registration; none if the server does not know of it any more.
    [[nodiscard]] std::optional<Request> deregistration(const EventHandler& handler);
    // A call whose reply nobody needs; below mutex_.
    void send_and_forget_locked(const Request& request);
    void send_and_forget(Request request) noexcept;

    // Streams.
    struct Piece {
        enum class Kind : unsigned char { data, hole, end, blocked };
        Kind kind = Kind::data;
        std::uint64_t size = 0;
    };
    [[nodiscard]] Result<Piece> read_stream(StreamState& stream, MutableBytes buffer,
                                            const Deadline* deadline);
    // How much was taken: all of it with a deadline. 0 without one: not now.
    [[nodiscard]] Result<std::size_t> write_stream(const std::shared_ptr<StreamState>& stream, ByteView bytes,
                                                   const Deadline* deadline);
    [[nodiscard]] Result<bool> write_hole(const std::shared_ptr<StreamState>& stream, std::uint64_t length,
                                          const Deadline* deadline);
    [[nodiscard]] Done end_stream(const std::shared_ptr<StreamState>& stream, bool abort,
                                  const Deadline& deadline);
    void forget_stream(const std::shared_ptr<StreamState>& stream) noexcept;
    void watch_stream(const std::shared_ptr<StreamState>& stream, Want interest,
                      std::function<void(Want)> handler);

private:
    friend class Waiting;
    using Lock = std::unique_lock<std::mutex>;
    using Predicate = std::function<bool()>;

    struct Pending {
        rpc::Header header{};
        bool done = false, abandoned = false;
        Result<Reply> result{};
        Waiting* waiting = nullptr;
        Completion completion{};
        Instant until = Instant::max();
        std::shared_ptr<StreamState> stream{};  // if it opens one
        std::function<void(Core&, const Reply&, bool)> on_reply{};
    };
    struct Outgoing {
        ByteVector bytes{};
        std::vector<UniqueFd> fds{};
        std::shared_ptr<StreamState> stream{};
    };
    struct Incoming {
        rpc::Header header{};
        ByteVector payload{};
        std::vector<UniqueFd> fds{};
    };
    struct Batch {
        std::vector<Incoming> frames{};
        std::optional<Failure> failure{};
        CloseReason reason = CloseReason::error;
    };
    struct Delivery {
        std::function<void()> run{};
        std::shared_ptr<EventHandler> handler{};  // of an event
        std::size_t bytes = 0;
    };

    Core(std::unique_ptr<Channel> channel, const Options& options, UniqueFd wakeup);

    // A registration that is made on a new link.
    struct Renewal {
        std::shared_ptr<EventHandler> handler{};
        std::optional<ByteVector> name{};  // what the server calls it there; none: it did not want it
    };

    // core.cc: calls and waiting. Who is patient waits for a connection that is made again, too.
    enum class Temper : unsigned char { ordinary, patient };
    Done await(Lock& lock, Waiting& me, const Deadline& deadline, const Predicate& done,
               Temper temper = Temper::ordinary);
    Done await_turn(Lock& lock, Waiting& me, const Request& request, const Deadline& deadline);
    void pass_on();
    Result<std::shared_ptr<Pending>> enqueue(Request&& request);
    Done check_room(const Request& request) const;
    void abandon(Pending& pending);
    void complete(const std::shared_ptr<Pending>& pending, Result<Reply> result);
    void shut(CloseReason reason, Failure failure);
    void tell_close();
    void release_channel(Lock& lock);

    // core_io.cc: moving bytes
    void serve_once(Lock& lock, Instant until);
    Batch take_input();
    bool cut_input(MutableBytes in, Batch& batch);
    bool take_frame(const rpc::Cut& cut, Batch& batch);
    bool take_descriptors(MutableBytes& in, Batch& batch);
    void flush(Lock& lock);
    bool gather();
    void drop_output();
    Result<Progress> write_some();
    void wake_reader();

    // core_input.cc: what frames mean
    void absorb(Lock& lock, Batch batch);
    void take_reply(Incoming& frame);
    void take_message(Incoming& frame);
    void take_stream(Lock& lock, Incoming& frame);
    void deliver_event(const std::shared_ptr<EventHandler>& handler, ByteVector payload);
    void broken(std::string text);

    // core_service.cc: when nobody waits
    void run_thread();
    void deliver(Lock& lock);
    [[nodiscard]] bool may_deliver() const;
    void push_delivery(Delivery delivery);
    void run_timers(Instant now);
    [[nodiscard]] Instant next_timer() const;
    void rearm();
    void queue_keepalive(rpc::Keepalive procedure);

    // core_reconnect.cc
    bool begin_mending();
    void run_mender();
    void mend(Lock& lock);
    Done try_again(Lock& lock, Instant until, unsigned tries);
    Done renew(std::vector<Renewal>& renewals, const Deadline& deadline);
    Done adopt(Core& fresh, const std::vector<Renewal>& renewals, unsigned tries);
    void give_up(const Failure& why, unsigned tries);
    void tell(Change change);
    void leave_role();
    [[nodiscard]] bool await_try(Lock& lock, Instant until);

    // core_streams.cc
    void store(Lock& lock, StreamState& stream, ByteVector bytes);
    [[nodiscard]] bool is_full(const StreamState& stream) const;
    [[nodiscard]] bool is_paused() const;
    [[nodiscard]] bool calls_wait() const;
    void fail_stream(StreamState& stream, Failure failure);
    void abort_stream(const std::shared_ptr<StreamState>& stream);
    void end_of_stream(std::uint32_t serial);
    void notify_stream(StreamState& stream);
    [[nodiscard]] Want readiness(const StreamState& stream) const;
    void queue_stream(const std::shared_ptr<StreamState>& stream, rpc::Type type, rpc::Status status,
                      ByteView payload);
    void drop_queued(const StreamState& stream);
    Done await_room(Lock& lock, const std::shared_ptr<StreamState>& stream, const Deadline* deadline,
                    bool& room);
    static Done check_writable(const StreamState& stream);

    const Limits limits_;
    const Keepalive keepalive_;
    const Service service_;

    std::mutex mutex_;
    std::unique_ptr<Channel> channel_;  // used by the roles; replaced or reset only while nobody has one
    std::optional<Failure> closed_;
    CloseReason close_reason_ = CloseReason::error;
    bool reading_ = false, polling_ = false, woken_ = false, writing_ = false;
    bool blocked_ = false;  // the socket took less than all; the reader waits for it
    bool mute_ = false;     // the server does not read any more
    UniqueFd wakeup_;       // an eventfd, in the reader's poll
    std::list<Waiting*> waiters_;

    // Calls.
    std::uint32_t next_serial_ = 0;
    std::unordered_map<std::uint32_t, std::shared_ptr<Pending>> pending_;
    std::size_t live_calls_ = 0;  // of those, which somebody waits for
    Instant next_until_ = Instant::max();

    // Output: calls before stream data; out_ is the writer's.
    std::deque<Outgoing> control_, data_;
    std::size_t control_bytes_ = 0;
    ByteVector out_;
    std::size_t out_at_ = 0;
    std::vector<UniqueFd> out_fds_;
    std::size_t out_fds_at_ = 0;
    bool pong_queued_ = false;

    // Input: the reader's.
    ByteVector buffer_;
    rpc::Cutter cutter_;
    std::vector<UniqueFd> in_fds_;
    std::optional<Incoming> owing_;  // a frame whose descriptors have not come yet
    std::size_t owed_ = 0;

    // Callbacks.
    std::deque<Delivery> deliveries_;
    std::size_t event_count_ = 0, event_bytes_ = 0;
    std::uint64_t lost_events_ = 0;
    std::vector<std::shared_ptr<EventHandler>> handlers_;
    unsigned registrations_ = 0;
    std::deque<Incoming> orphans_;  // events that came before the reply that says whose they are
    std::size_t orphan_bytes_ = 0;
    std::optional<std::thread::id> delivering_;
    const EventHandler* running_ = nullptr;
    std::condition_variable ran_;
    std::function<void(CloseReason, const Failure&)> close_handler_;

    // Service.
    rpc::PingSchedule pings_;
    Instant last_caller_{};
    std::thread thread_;
    std::condition_variable service_ready_;
    bool stopping_ = false;
    UniqueFd poll_, bell_, timer_;
    unsigned armed_ = 0;
    Instant armed_until_ = Instant::max();

    std::unordered_map<std::uint32_t, std::shared_ptr<StreamState>> streams_;
    Instant next_pong_{};

    // Reconnecting. closed_ says why there is no link; with mending_ there will be another one.
    std::optional<Reconnect> reconnect_;
    Establish establish_;
    std::uint64_t link_ = 1;  // counts the channels that there were
    bool mending_ = false;
    Instant linked_at_{};
    unsigned streak_ = 0;  // tries since a link that lasted
    std::thread mender_;   // from the first loss on
    std::stop_source mend_stop_;
    std::condition_variable_any mend_ready_;
};

}  // namespace virtgate::client
