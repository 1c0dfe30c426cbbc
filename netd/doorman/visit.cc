// SPDX-License-Identifier: LGPL-2.1-or-later
// visit - one client that has to log in: its tries, the exchange that runs, and the broker's word at the end.
#include "netd/doorman/visit.h"

#include <algorithm>

#include "libshared/rpc/error.h"
#include "proto/codec.h"

namespace virtgate::netd::doorman {

namespace exchange = proto::exchange;

namespace {

constexpr std::size_t k_layer_descriptors = 1;

// A user's name goes to the policy and to logs: it must have one reading.
bool is_good_user(std::string_view name) noexcept { return !name.empty() && is_plain_text(name); }

}  // namespace

Visit::Visit(VisitTools tools, VisitOwner& owner, std::uint64_t id, proto::who::Who who, std::string client)
    : tools_(tools),
      owner_(owner),
      id_(id),
      since_(tools.loop.clock().now()),
      who_(std::move(who)),
      client_(std::move(client)),
      source_(source_of(who_)),
      late_(tools.loop.timer(loop::to<&Visit::on_late>(*this))),
      log_(fmt::format("visit {}", id)) {}

// Nothing below encrypts: the mechanism has to.
bool Visit::needs_layer() const noexcept { return !who_.local && who_.strength == 0; }

const std::vector<std::string>& Visit::mechanisms() const noexcept {
    return tools_.sasl.mechanisms(needs_layer());
}

bool Visit::serve_start(proto::door::StartArgs arguments) {
    if (state_ != State::idle) return false;
    mechanism_ = escape(arguments.mechanism, 64);
    if (tools_.failures.is_blocked(source_)) {
        tools_.counts.note_throttled();
        fail("its source has failed too often", true);
        return true;
    }
    const auto& offered = mechanisms();
    if (std::find(offered.begin(), offered.end(), arguments.mechanism) == offered.end()) {
        fail("the mechanism is not offered", true);
        return true;
    }
    mechanism_ = arguments.mechanism;
    auto begun = tools_.sasl.begin(
        {.exchange = id_,
         .strength = who_.strength,
         .needs_layer = needs_layer(),
         .local = {},
         .remote = who_.local ? std::string{} : fmt::format("{};{}", who_.source, who_.source_port)},
        {.source = source_, .gate = tools_.gate}, loop::to<&Visit::on_ousted>(*this));
    if (!begun) {
        log_.error("no exchange for {}: {}", client_, begun.error().text);
        fail("no exchange can be had", false);
        return true;
    }
    exchange_ = std::move(*begun);
    channel_ = std::make_unique<rpc::Control>(tools_.loop, exchange_->take_channel(), k_layer_descriptors,
                                              loop::to<&Visit::on_message>(*this),
                                              loop::to<&Visit::on_closed>(*this));
    send(exchange::Procedure::begin,
         exchange::BeginArgs{.mechanism = mechanism_, .data = std::move(arguments.data)});
    return true;
}

bool Visit::serve_step(proto::door::StepArgs arguments) {
    if (state_ != State::between) return false;
    if (!channel_) {
        fail("its exchange has ended", true);
        return true;
    }
    send(exchange::Procedure::go_on, exchange::GoOnArgs{.data = std::move(arguments.data)});
    return true;
}

template <class Args>
void Visit::send(exchange::Procedure procedure, const Args& arguments) {
    state_ = State::exchanging;
    exchange_->set_waiting(false);
    const auto payload = proto::encode(arguments, rpc::Control::k_payload_max);
    asked_ = rpc::make_call(exchange::k_program, exchange::k_version, procedure, channel_->next_serial());
    if (!payload) return fail("a token that cannot be passed on", true);
    if (const auto sent = channel_->send(asked_, *payload); !sent) fail(sent.error().text, false);
}

// Between two tokens nobody waits; the client's next question gets the answer.
void Visit::on_closed(std::string_view why) noexcept {
    channel_.reset();
    if (state_ == State::exchanging) fail(fmt::format("its exchange ended: {}", why), true);
}

// Others need its place. The client's next question gets the answer, if it asks.
void Visit::on_ousted() noexcept {
    log_.info("login of {} with {} has to make room for others: it waited for its client", client_,
              mechanism_);
    channel_.reset();
    exchange_.reset();
}

void Visit::on_message(rpc::Control::Message& message) noexcept {
    if (state_ != State::exchanging) {
        log_.error("the exchange of {} spoke without being asked", client_);
        return channel_.reset();
    }
    if (message.header == rpc::reply_to(asked_, rpc::Status::error))
        return fail(rpc::read_error_text(message.payload), true);
    auto answer = proto::decode<exchange::ExchangeRet>(message.payload);
    if (message.header != rpc::reply_to(asked_) || !answer)
        return fail("its exchange sent something that is no answer", false);
    take_answer(*answer, message.fds);
}

void Visit::take_answer(exchange::ExchangeRet& answer, channel::ReceivedFds& fds) {
    if (!answer.complete) {
        if (fds.count() != 0) return fail("its exchange sent a descriptor too early", false);
        state_ = State::between;
        exchange_->set_waiting(true);
        return owner_.on_token(*this, std::move(answer.data));
    }
    const bool has_layer = answer.strength != 0;
    if (fds.count() != (has_layer ? 1U : 0U) || has_layer != needs_layer())
        return fail("its exchange ended with the wrong kind of layer", false);
    if (!is_good_user(answer.name)) return fail("the user's name is not plain text", true);
    if (has_layer) layer_ = fds.take(0);
    user_ = std::move(answer.name);
    last_token_ = std::move(answer.data);
    // The process lives on with its layer, if it has one.
    channel_.reset();
    exchange_.reset();
    proto::who::Who who = who_;
    who.login = {.mechanism = mechanism_, .name = user_};
    if (has_layer) who.strength = answer.strength;
    state_ = State::admitting;
    if (const auto asked = tools_.broker.ask_open_session(who, id_, loop::to<&Visit::on_answer>(*this));
        !asked)
        fail(asked.error().text, false);
}

void Visit::on_answer(BrokerAnswer& answer) noexcept {
    if (answer.grant == nullptr) return fail(answer.refusal, answer.code == rpc::k_code_access_denied);
    tools_.counts.note_login(mechanism_, true);
    log_.info("client admitted: {}, {} with {}: session {} as {}", client_, escape(user_, 128), mechanism_,
              answer.grant->session, escape(answer.grant->identity, 128));
    state_ = State::idle;
    owner_.on_granted(*this, std::move(last_token_), answer, std::move(layer_));
}

// `counts`: it may have been a guess of the client's.
void Visit::fail(std::string_view why, bool counts) {
    exchange_.reset();
    channel_.reset();
    layer_.reset();
    const bool is_known = !user_.empty();
    const auto& offered = mechanisms();
    tools_.counts.note_login(
        std::find(offered.begin(), offered.end(), mechanism_) != offered.end() ? mechanism_ : "", false);
    log_.info("login failed: {}, {}{}{}: {}", client_, mechanism_.empty() ? "no mechanism" : mechanism_,
              is_known ? ", user " : "", escape(user_, 128), escape(why, 256));
    user_.clear();
    ++failures_;
    state_ = State::late;
    late_->start(counts ? tools_.failures.add(source_) : Milliseconds{0});
}

void Visit::on_late() noexcept {
    state_ = State::idle;
    owner_.on_refused(*this, failures_ < tools_.tries);
}

}  // namespace virtgate::netd::doorman
