// SPDX-License-Identifier: LGPL-2.1-or-later
// entrance - the UNIX socket at which doormen ask for sessions.
#include "workerd/broker/entrance.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "libshared/base/log.h"
#include "libshared/base/path_fault.h"
#include "libshared/metrics/pages.h"
#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "workerd/broker/administration.h"
#include "workerd/broker/inventory.h"

namespace virtgate::workerd::broker {

using loop::Want;
using proto::broker::Procedure;

namespace {

constexpr int k_backlog = 16;
constexpr mode_t k_mode = 0660;
// accept() fails where the process or the system has no descriptor left; asking at once would not help.
constexpr Milliseconds k_retry{1000};

const Log k_log{"broker"};

}  // namespace

// One connection.
class Entrance::Doorman {
public:
    Doorman(Entrance& entrance, UniqueFd socket, bool may_ask, std::string administrator)
        : may_ask_(may_ask),
          administrator_(std::move(administrator)),
          entrance_(entrance),
          control_(entrance.loop_, std::move(socket), 0, loop::to<&Doorman::on_message>(*this),
                   loop::to<&Doorman::on_closed>(*this)) {}

    [[nodiscard]] bool may_ask() const noexcept { return may_ask_; }
    [[nodiscard]] bool is_reader() const noexcept { return reading_ != nullptr; }

private:
    void on_message(rpc::Control::Message& message) noexcept {
        if (reading_) return read(message);
        if (message.header == rpc::make_message(proto::metrics::k_program, proto::metrics::k_version,
                                                proto::metrics::Procedure::open) &&
            entrance_.inventory_ != nullptr)
            return become_reader();
        if (message.header.program == proto::sessions::k_program && !administrator_.empty())
            return entrance_.administration_->serve(control_, message, administrator_);
        const auto is = [&](Procedure procedure) {
            return may_ask_ &&
                   message.header == rpc::make_call(proto::broker::k_program, proto::broker::k_version,
                                                    procedure, message.header.serial);
        };
        if (is(Procedure::open_session)) return open_session(message);
        if (is(Procedure::revoke)) return revoke(message);
        refuse(message.header, {rpc::k_code_rpc, "unknown procedure"});
    }

    // Whoever it was, it is no doorman and no administrator any more.
    void become_reader() {
        may_ask_ = false;
        administrator_.clear();
        if (static_cast<std::size_t>(std::count_if(entrance_.doormen_.begin(), entrance_.doormen_.end(),
                                                   [](const auto& one) { return one->is_reader(); })) >=
            k_readers_max) {
            k_log.warning("one reader of what is counted too many");
            return entrance_.on_doorman_gone(*this);
        }
        reading_ = std::make_shared<Reading>();
    }

    void read(const rpc::Control::Message& message) {
        const auto after = metrics::Pages::read_question(message);
        if (!after || reading_->is_busy) {
            k_log.error("who reads what is counted asked for something else; its connection is closed");
            return entrance_.on_doorman_gone(*this);
        }
        if (*after != 0) return send_page(message.header, *after);
        reading_->is_busy = true;
        entrance_.inventory_->read([this, call = message.header,
                                    reading = std::weak_ptr(reading_)](const metrics::Samples& samples) {
            const auto still_here = reading.lock();
            if (!still_here) return;
            still_here->pages.set(samples);
            still_here->is_busy = false;
            send_page(call, 0);
        });
    }

    void send_page(const rpc::Header& call, std::uint32_t after) {
        if (const auto sent = reading_->pages.answer(control_, call, after); !sent)
            k_log.warning("who reads what is counted does not take an answer: {}", sent.error().text);
    }

    void open_session(const rpc::Control::Message& message) {
        const auto who = proto::decode<proto::who::Who>(message.payload);
        if (!who) return refuse(message.header, {rpc::k_code_rpc, "Unable to decode message payload"});
        auto admitted = entrance_.admission_.serve_open_session(*who);
        if (!admitted) return refuse(message.header, admitted.error());
        const auto payload = proto::encode(admitted->grant, rpc::Control::k_payload_max);
        if (!payload)
            return refuse(message.header, {rpc::k_code_internal, "the grant does not fit a message"});
        const int session = admitted->session.get();
        if (const auto sent = control_.send_reply(message.header, *payload, {&session, 1}); !sent)
            k_log.error("doorman does not take its session: {}", sent.error().text);
    }

    void revoke(const rpc::Control::Message& message) {
        const auto args = proto::decode<proto::broker::RevokeArgs>(message.payload);
        if (!args) return refuse(message.header, {rpc::k_code_rpc, "Unable to decode message payload"});
        const auto payload = proto::encode(entrance_.admission_.serve_revoke(*args));
        require(payload.has_value(), "a number does not encode");
        if (const auto sent = control_.send_reply(message.header, *payload); !sent)
            k_log.error("doorman does not take an answer: {}", sent.error().text);
    }

    void refuse(const rpc::Header& call, const Admission::Refused& refused) {
        if (const auto sent = control_.send_error(call, refused.code, refused.text); !sent)
            k_log.error("doorman does not take an answer: {}", sent.error().text);
    }

    void on_closed(std::string_view reason) noexcept {
        k_log.debug("doorman has gone: {}", reason);
        entrance_.on_doorman_gone(*this);
    }

    bool may_ask_;               // for sessions
    std::string administrator_;  // who it is; empty: none
    // Of one that reads.
    struct Reading {
        metrics::Pages pages{};
        bool is_busy = false;
    };
    std::shared_ptr<Reading> reading_{};
    Entrance& entrance_;
    rpc::Control control_;
};

Result<channel::LocalListener> Entrance::listen(const std::string& path, std::optional<gid_t> group) {
    return channel::LocalListener::open(
        path, {.type = SOCK_SEQPACKET, .mode = k_mode, .backlog = k_backlog, .group = group});
}

Entrance::Entrance(loop::Loop& loop, channel::LocalListener listener, std::vector<uid_t> allowed,
                   Admission& admission)
    : loop_(loop),
      listener_(std::move(listener)),
      allowed_(std::move(allowed)),
      admission_(admission),
      watch_(loop.watch(listener_.get(), Want::read, loop::to<&Entrance::on_connection>(*this))),
      retry_(loop.timer(loop::to<&Entrance::on_retry>(*this))) {}

Entrance::~Entrance() = default;

void Entrance::on_connection(Want) noexcept {
    UniqueFd socket{accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    if (!socket) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (const int number = errno; starved_.next())
                k_log.error("no connection can be accepted, {} times so far: {}{}", starved_.count(),
                            strerror(number), advice_for(number));
            watch_->set(Want::nothing);
            retry_->start(k_retry);
        }
        return;
    }
    ucred peer{};
    socklen_t size = sizeof peer;
    if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return k_log.error("nobody knows who connected: {}", strerror(errno));
    const bool may_ask = std::find(allowed_.begin(), allowed_.end(), peer.uid) != allowed_.end();
    const bool administers = administration_ != nullptr && (peer.uid == 0 || peer.uid == geteuid());
    if (!may_ask && !administers)
        return k_log.warning("user {} (process {}) may not ask for sessions", peer.uid, peer.pid);
    const auto others =
        static_cast<std::size_t>(std::count_if(doormen_.begin(), doormen_.end(), [&](const auto& one) {
            return !one->is_reader() && one->may_ask() == may_ask;
        }));
    if (others >= (may_ask ? k_doormen_max : k_administrators_max))
        return k_log.warning("process {} is one {} too many", peer.pid,
                             may_ask ? "doorman" : "administrator");
    k_log.debug("process {} of user {} has come in", peer.pid, peer.uid);
    doormen_.push_back(std::make_unique<Doorman>(
        *this, std::move(socket), may_ask,
        administers ? fmt::format("user {} (process {})", peer.uid, peer.pid) : std::string{}));
}

void Entrance::on_retry() noexcept { watch_->set(Want::read); }

void Entrance::on_doorman_gone(const Doorman& doorman) noexcept {
    std::erase_if(doormen_, [&](const auto& each) { return each.get() == &doorman; });
}

}  // namespace virtgate::workerd::broker
