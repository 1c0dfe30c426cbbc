// SPDX-License-Identifier: LGPL-2.1-or-later
// exchange - the process that runs one SASL exchange, and its security layer if it gets one.
#include "netd/doorman/sasl/exchange.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "libshared/rpc/error.h"
#include "netd/doorman/sasl/layer.h"
#include "netd/doorman/sasl/library.h"
#include "proto/codec.h"

namespace virtgate::netd::doorman::sasl {

namespace exchange = proto::exchange;

namespace {

// The clear side: where the client's connection comes first, then its bytes.
Result<FdPair> make_clear_pair() {
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) < 0)
        return system_fault(errno, "cannot make the socket of a security layer");
    return FdPair{UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

void wipe(Conversation::Token& token) noexcept {
    if (token) userdb::wipe(*token);
}

}  // namespace

Exchange::Exchange(const Library& library, proto::sasl::ExchangeArgs terms, UniqueFd channel)
    : library_(library),
      terms_(std::move(terms)),
      channel_(std::move(channel)),
      log_(fmt::format("exchange {}", terms_.exchange)) {}

void Exchange::run() {
    start_clock();
    std::optional<Conversation> conversation;
    while (auto call = receive_call()) {
        if (call->begin) {
            auto opened = Conversation::open(library_, terms_, call->begin->mechanism);
            if (!opened) return log_.error("{}", opened.error().text);
            conversation.emplace(std::move(*opened));
        }
        const Next next = answer(*conversation, *call);
        if (call->begin) wipe(call->begin->data);
        if (call->go_on) wipe(call->go_on->data);
        if (next == Next::over) return;
        if (next == Next::layer) return serve_layer(*conversation);
    }
}

void Exchange::start_clock() {
    const Milliseconds patience{library_.config().exchange_timeout};
    deadline_ = system_clock().now() + patience;
    // Time that a library spends (Kerberos may ask name servers) is not seen by wait().
    alarm(static_cast<unsigned>(patience.count() / 1000 + 2));
}

bool Exchange::wait(int fd, short events) const {
    for (;;) {
        const auto left = std::chrono::duration_cast<Milliseconds>(deadline_ - system_clock().now());
        if (left.count() <= 0) return false;
        pollfd polled{fd, events, 0};
        const int ready = poll(&polled, 1, static_cast<int>(left.count()));
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) return false;
    }
}

std::optional<Exchange::Call> Exchange::receive_call() {
    std::array<std::byte, channel::k_packet_max> buffer;
    for (;;) {
        if (!wait(channel_.get(), POLLIN)) {
            log_.info("no answer from the client within {} ms", library_.config().exchange_timeout);
            return {};
        }
        std::size_t size = 0;
        const channel::Outcome outcome = channel::receive_packet(channel_.get(), buffer, size);
        if (outcome == channel::Outcome::blocked) continue;
        if (outcome != channel::Outcome::done) return {};
        auto call = read_call({buffer.data(), size}, !begun_);
        // What came may have been a password.
        userdb::wipe(MutableBytes{buffer.data(), size});
        if (!call) log_.warning("doorman sent something that does not belong here");
        begun_ = true;
        return call;
    }
}

std::optional<Exchange::Call> Exchange::read_call(ByteView frame, bool first) {
    if (frame.size() < rpc::k_frame_min || load_be32(frame.data()) != frame.size()) return {};
    Call call{rpc::read_header(frame.data()), {}, {}};
    const auto procedure = first ? exchange::Procedure::begin : exchange::Procedure::go_on;
    if (call.header !=
        rpc::make_call(exchange::k_program, exchange::k_version, procedure, call.header.serial))
        return {};
    const ByteView payload = frame.subspan(rpc::k_frame_min);
    if (first) {
        auto arguments = proto::decode<exchange::BeginArgs>(payload);
        if (!arguments) return {};
        call.begin = std::move(*arguments);
    } else {
        auto arguments = proto::decode<exchange::GoOnArgs>(payload);
        if (!arguments) return {};
        call.go_on = std::move(*arguments);
    }
    return call;
}

Exchange::Next Exchange::answer(Conversation& conversation, const Call& call) {
    const auto step =
        call.begin ? conversation.start(call.begin->data) : conversation.go_on(call.go_on->data);
    if (!step) {
        static_cast<void>(send(rpc::reply_to(call.header, rpc::Status::error),
                               rpc::make_error_payload(rpc::k_code_auth_failed, step.error().text)));
        return Next::over;
    }
    exchange::ExchangeRet result;
    result.complete = step->complete;
    result.data = step->data;
    UniqueFd theirs;
    if (step->complete) {
        result.name = conversation.name();
        result.strength = conversation.strength();
        log_.debug("{} has logged in, layer of {} bits", escape(result.name), result.strength);
    }
    if (step->complete && result.strength != 0) {
        auto pair = make_clear_pair();
        if (!pair) {
            log_.error("{}", pair.error().text);
            return Next::over;
        }
        clear_ = std::move(pair->first);
        theirs = std::move(pair->second);
    }
    const auto payload = proto::encode(result, channel::k_packet_max - rpc::k_frame_min);
    require(payload.has_value(), "an answer that is larger than a token and a name");
    if (!send(rpc::reply_to(call.header), *payload, theirs.get())) return Next::over;
    if (!step->complete) return Next::go_on;
    return clear_ ? Next::layer : Next::over;
}

bool Exchange::send(const rpc::Header& header, ByteView payload, int fd) const {
    const ByteVector frame = rpc::make_frame(header, payload);
    const std::span<const int> fds = fd < 0 ? std::span<const int>{} : std::span<const int>{&fd, 1};
    for (;;) {
        const channel::Outcome outcome = channel::send_packet(channel_.get(), frame, fds);
        if (outcome == channel::Outcome::done) return true;
        if (outcome != channel::Outcome::blocked || !wait(channel_.get(), POLLOUT)) return false;
    }
}

void Exchange::serve_layer(Conversation& conversation) {
    channel_.reset();
    std::byte byte{};
    std::size_t size = 0;
    channel::ReceivedFds fds;
    start_clock();
    // The gate first writes the last clear reply to the client, then sends the connection.
    channel::Outcome outcome = channel::Outcome::blocked;
    while (outcome == channel::Outcome::blocked && wait(clear_.get(), POLLIN))
        outcome = channel::receive_packet(clear_.get(), {&byte, 1}, size, &fds, 1);
    if (outcome != channel::Outcome::done || fds.count() != 1)
        return log_.info("the client was gone before its security layer began");
    const UniqueFd tcp = fds.take(0);
    alarm(0);
    Layer layer(conversation, tcp.get(), clear_.get());
    if (const auto done = layer.run(); !done)
        done.error().fault == Fault::peer ? log_.info("{}", done.error().text)
                                          : log_.error("{}", done.error().text);
    log_.debug("the security layer has ended");
}

}  // namespace virtgate::netd::doorman::sasl
