// SPDX-License-Identifier: LGPL-2.1-or-later
// service - the process that serves a program of others: its connections, its threads, its confinement, its life.
//
//     int main(int count, char** words) {
//         return service::run(count, words, [](service::Service& service) -> Done {
//             static Inventory inventory(service);
//             …                                            // see version.h
//             return {};
//         });
//     }
//
// workerd starts the executable that a file in programs.d names, and hands it one connection for each session of the front
// door that has opened NAME:/// (proto/service.x). By then the gate has checked every call against the program's schema, and
// the worker by the policy; on a read-only connection only procedures with "@readonly yes" come here. The process listens
// nowhere and ends with workerd.
//
// What every connection needs of libvirt's main program is answered here: AUTH_LIST, CONNECT_OPEN and CLOSE, the URI, the type.
//
// Trust:  at the other end of a connection is a worker, whose frames are those of its client: every byte of them is hostile.
// Limits: k_connections_max connections, k_calls calls at a time and k_streams_max open streams for each, frames of a call of
//         k_frame_max bytes; the threads that programs.d says, and k_priority_threads. A client that does not read its events is ended when k_unread_max bytes
//         wait for it.
// Owns:   all of it, and the channel to workerd.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>

#include "libshared/base/fd.h"
#include "libshared/base/log.h"
#include "libshared/confine/filter.h"
#include "libshared/loop/mailbox.h"
#include "libshared/rpc/control.h"
#include "libshared/server/subscriptions.h"
#include "libshared/service/version.h"
#include "proto/codec.h"
#include "proto/config.h"

namespace virtgate::service {

class Events;
class Flow;

class Service final : private server::ServerOwner {
public:
    static constexpr std::size_t k_connections_max = 4096;
    static constexpr unsigned k_calls = 5;
    static constexpr std::size_t k_streams_max = 256;  // no worker lets a client have more
    static constexpr std::size_t k_frame_max = 16384;
    static constexpr unsigned k_priority_threads = 2;
    static constexpr std::size_t k_unread_max = std::size_t{1} << 20;
    // Pieces of streams that may wait while calls go on.
    static constexpr std::size_t k_unsent_max = std::size_t{1} << 20;

    // `loop` outlives it.
    Service(loop::Loop& loop, proto::config::ServiceConfig config, UniqueFd channel);
    ~Service() override;
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;

    // Clients may call this version of a program; `info` is a generated program(), of which each version has one. Before the
    // first client.
    Version& serve(const proto::ProgramInfo& info);

    [[nodiscard]] loop::Loop& loop() noexcept { return loop_; }
    // As programs.d calls it, and what it may reach of the file system.
    [[nodiscard]] const std::string& name() const noexcept { return config_.name; }
    [[nodiscard]] const std::vector<std::string>& directories() const noexcept { return config_.directories; }

    // From any thread: `task` runs in the loop, in order. For events that a thread causes.
    void later(std::function<void()> task) { tasks_.put(std::move(task)); }

    // Tells workerd that it serves. Error: system's fault.
    [[nodiscard]] Done start() noexcept;
    // Takes a connection, which speaks for that caller. For start()'s twin, and for tests.
    [[nodiscard]] Done attach(UniqueFd socket, Caller caller);

private:
    friend class Version;
    friend class Events;
    class Front;
    struct Link {
        Caller caller{};
        bool is_open = false;
    };
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view reason) noexcept;
    void on_tasks() noexcept;
    bool admits(const server::Peer&, unsigned) noexcept override { return false; }  // there is no listener
    void on_closed(server::Client& client, std::string_view reason) noexcept override;
    void on_settled() noexcept override {}
    [[nodiscard]] Link& link_of(const server::Client& client) noexcept;

    loop::Loop& loop_;
    const proto::config::ServiceConfig config_;
    std::map<server::ClientId, Link> links_;
    std::vector<Events*> events_;
    loop::Mailbox<std::function<void()>> tasks_;
    std::vector<std::unique_ptr<Version>> versions_;
    std::unique_ptr<Front> front_;
    std::set<std::unique_ptr<Flow>> flows_;
    server::Workshop workshop_;
    server::Server server_;
    rpc::Control channel_;
};

// Who asked to be told of one event, and the telling. A procedure of the program enrols, another one gives that up:
//
//     Answer<WatchRet> watch(const Caller& caller) {
//         const auto number = events_.add(caller);
//         …                                                    // {.callback_id = *number}
//     }
//     events_.tell(ItemChangedMsg{.item = item});              // in the loop only
//
// In the .x file the event says "@event by WATCH UNWATCH", and its structure begins with "int callback_id".
//
// Limits: server::Subscriptions::k_subscriptions_max of one connection.
class Events {
public:
    template <class Procedure>
    Events(Service& service, const proto::ProgramInfo& info, Procedure event)
        : Events(service, info, static_cast<std::uint32_t>(event)) {}
    Events(Service& service, const proto::ProgramInfo& info, std::uint32_t event);
    ~Events();
    Events(const Events&) = delete;
    Events& operator=(const Events&) = delete;

    [[nodiscard]] Answer<std::int32_t> add(const Caller& caller);
    [[nodiscard]] Answer<void> remove(const Caller& caller, std::int32_t number);

    template <class Message>
    void tell(Message message) {
        for (const auto& [connection, number] : enrolled()) {
            message.callback_id = number;
            if (const auto payload = proto::encode(message)) send(connection, *payload);
        }
    }

private:
    friend class Service;
    [[nodiscard]] std::vector<std::pair<server::ClientId, std::int32_t>> enrolled() const;
    void send(server::ClientId connection, ByteView payload) noexcept;

    Service& service_;
    const proto::ProgramInfo& info_;
    const std::uint32_t event_;
    server::Subscriptions subscriptions_;
};

// What a program needs beyond the usual.
struct Needs {
    // System calls besides those for memory, sockets that are there, and files in its directories. What workerd's own filter
    // has not, nobody gets.
    std::span<const confine::Row> calls{};
};

// Makes the handlers known; files of its directories may be opened here and later.
using SetUp = std::function<Done(Service&)>;

// The whole main(): takes what workerd left, gives up everything else, serves until workerd ends. Returns the exit status.
[[nodiscard]] int run(int count, char** words, const SetUp& set_up, const Needs& needs = {});

}  // namespace virtgate::service
