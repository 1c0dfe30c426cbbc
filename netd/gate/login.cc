// SPDX-License-Identifier: LGPL-2.1-or-later
// login - a client that has to log in before it has a session: the frames of libvirt's SASL dialogue.
#include "netd/gate/login.h"

#include <algorithm>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/remote.h"

namespace virtgate::netd::gate {

namespace remote = proto::remote;
using loop::Want;

using rpc::Header;
using rpc::Type;

namespace {

constexpr std::size_t k_length_size = 4;
constexpr int k_frames_per_turn = 4;
constexpr std::string_view k_failed = "authentication failed";

std::optional<proto::door::Token> token_of(std::int32_t nil, const std::string& data) {
    if (nil != 0) return std::nullopt;
    const ByteView bytes = as_bytes(data);
    return proto::door::Token(bytes.begin(), bytes.end());
}

}  // namespace

Login::Login(Connection& connection, Door& door, proto::door::Visit visit, std::size_t& memory,
             loop::Target<> changed)
    : connection_(connection), door_(door), visit_(std::move(visit)), memory_(memory), changed_(changed) {}

Login::Login(Connection& connection, Door& door, std::string refusal, std::size_t& memory,
             loop::Target<> changed)
    : Login(connection, door, proto::door::Visit{}, memory, changed) {
    refusal_ = std::move(refusal);
    gone_ = true;
}

Login::~Login() {
    if (ticket_ != 0) door_.forget(ticket_);
    if (!gone_) door_.leave(visit_.id);
    release();
}

Want Login::want() const noexcept {
    if (connection_.has_output()) return Want::write;
    return state_ == State::reading ? Want::read : Want::nothing;
}

void Login::go_on() {
    if (connection_.has_output()) {
        const Step step = connection_.flush();
        if (step == Step::failed) return end(std::string(connection_.why()));
        if (step != Step::done) return;
    }
    if (state_ == State::leaving) state_ = State::admitted;
    if (state_ == State::reading) read();
}

void Login::read() {
    for (int frames = 0; frames < k_frames_per_turn && state_ == State::reading;) {
        // Our own answers go out first: who does not read them is not read either.
        if (connection_.has_output()) return;
        if (frame_.empty()) frame_.resize(k_length_size);
        std::size_t size = 0;
        const Step step = connection_.receive_some(MutableBytes(frame_).subspan(have_), size);
        have_ += size;
        if (have_ == frame_.size()) {
            if (have_ > k_length_size) {
                take_frame();
                ++frames;
            } else {
                const std::size_t length = load_be32(frame_.data());
                if (length < rpc::k_frame_min || length > k_frame_max)
                    return end(fmt::format("a frame of {} bytes before it was let in", length));
                if (!reserve(length)) return end("too many long frames of clients that are not let in");
                frame_.resize(length);
            }
        }
        if (state_ == State::over) return;
        if (step == Step::closed) return end("it left");
        if (step == Step::failed) return end(std::string(connection_.why()));
        if (size == 0) return;
    }
}

bool Login::reserve(std::size_t size) {
    if (size <= k_small) return true;
    if (memory_ + size > k_memory_max) return false;
    memory_ += size;
    reserved_ = size;
    return true;
}

void Login::release() noexcept { memory_ -= std::exchange(reserved_, 0); }

void Login::take_frame() {
    const ByteVector frame = std::exchange(frame_, {});
    have_ = 0;
    const Header header = rpc::read_header(frame.data());
    const ByteView payload = ByteView(frame).subspan(rpc::k_frame_min);
    if (header == Header{.program = rpc::k_keepalive_program,
                         .version = rpc::k_keepalive_version,
                         .procedure = static_cast<std::uint32_t>(rpc::Keepalive::ping),
                         .type = Type::message} &&
        payload.empty())
        send(rpc::make_keepalive(rpc::Keepalive::pong));
    else if (header.type == Type::call)
        take_call(header, payload);
    else
        end("something else than a call before it was let in");
    release();
}

void Login::take_call(const Header& call, ByteView payload) {
    if (!refusal_.empty()) {
        refuse(call, rpc::k_code_auth_failed, refusal_);
        return end("it was told that it is refused");
    }
    if (call.program == remote::k_program && call.version == remote::k_version &&
        call.status == rpc::Status::ok) {
        switch (static_cast<remote::Procedure>(call.procedure)) {
            case remote::Procedure::auth_list: {
                if (!payload.empty()) return end("bytes behind a call without arguments");
                constexpr std::array<std::byte, 8> k_one_sasl{std::byte{0}, std::byte{0}, std::byte{0},
                                                              std::byte{1}, std::byte{0}, std::byte{0},
                                                              std::byte{0}, std::byte{1}};
                if (++mistakes_ > k_mistakes_max) return end("too many calls that lead to nothing");
                return send(rpc::make_frame(rpc::reply_to(call), k_one_sasl));
            }
            case remote::Procedure::auth_sasl_init: return serve_init(call, payload);
            case remote::Procedure::auth_sasl_start: return serve_start(call, payload);
            case remote::Procedure::auth_sasl_step: return serve_step(call, payload);
            case remote::Procedure::auth_polkit: return refuse(call, rpc::k_code_auth_failed, k_failed);
            default: break;
        }
    }
    // Known or not, allowed or not: outsiders learn nothing of that.
    refuse(call, rpc::k_code_rpc, "authentication required");
}

void Login::serve_init(const Header& call, ByteView payload) {
    if (!payload.empty()) return end("bytes behind a call without arguments");
    if (stage_ != Stage::nothing) return refuse(call, rpc::k_code_auth_failed, k_failed);
    const auto reply = proto::encode(remote::AuthSaslInitRet{.mechanisms = visit_.mechanisms});
    require(reply.has_value(), "mechanisms that were decoded cannot be encoded");
    stage_ = Stage::listed;
    send(rpc::make_frame(rpc::reply_to(call), *reply));
}

void Login::serve_start(const Header& call, ByteView payload) {
    const auto arguments = proto::decode<remote::AuthSaslStartArgs>(payload);
    if (!arguments) return refuse(call, rpc::k_code_rpc, "Unable to decode message payload");
    if (stage_ != Stage::listed || arguments->data.size() > proto::door::k_token_max ||
        arguments->mechanism.size() > proto::who::k_text_max)
        return refuse(call, rpc::k_code_auth_failed, k_failed);
    asked_ = call;
    ticket_ = door_.ask_start({.visit = visit_.id,
                               .mechanism = arguments->mechanism,
                               .data = token_of(arguments->nil, arguments->data)},
                              loop::to<&Login::on_decision>(*this));
    if (ticket_ == 0) return end("doorman cannot be asked");
    stage_ = Stage::begun;
    state_ = State::asking;
}

void Login::serve_step(const Header& call, ByteView payload) {
    const auto arguments = proto::decode<remote::AuthSaslStepArgs>(payload);
    if (!arguments) return refuse(call, rpc::k_code_rpc, "Unable to decode message payload");
    if (stage_ != Stage::begun || arguments->data.size() > proto::door::k_token_max)
        return refuse(call, rpc::k_code_auth_failed, k_failed);
    asked_ = call;
    ticket_ = door_.ask_step({.visit = visit_.id, .data = token_of(arguments->nil, arguments->data)},
                             loop::to<&Login::on_decision>(*this));
    if (ticket_ == 0) return end("doorman cannot be asked");
    state_ = State::asking;
}

void Login::on_decision(Door::Decision& decision) noexcept {
    ticket_ = 0;
    switch (decision.kind) {
        case Door::Decision::Kind::refused:
            state_ = State::reading;
            stage_ = Stage::nothing;
            refuse(asked_, rpc::k_code_auth_failed, k_failed);
            if (!decision.again && state_ != State::over) {
                gone_ = true;
                end(decision.why_not);
            }
            break;
        case Door::Decision::Kind::token:
            state_ = State::reading;
            answer_token(decision);
            break;
        case Door::Decision::Kind::granted:
            gone_ = true;
            state_ = State::leaving;
            admission_ = {.grant = std::move(decision.grant),
                          .session = std::move(decision.session),
                          .layer = std::move(decision.layer)};
            answer_token(decision);
            // Before anything else goes to a layer, the reply has to be out; otherwise the session sends the rest.
            if (state_ == State::leaving && (!admission_.layer || !connection_.has_output()))
                state_ = State::admitted;
            break;
        case Door::Decision::Kind::visit: end("doorman answered something else than it was asked"); break;
    }
    changed_();
}

// The replies to START and STEP have the same shape.
void Login::answer_token(const Door::Decision& decision) {
    remote::AuthSaslStepRet reply;
    reply.complete = decision.kind == Door::Decision::Kind::granted ? 1 : 0;
    reply.nil = decision.token ? 0 : 1;
    if (decision.token) reply.data = as_text(*decision.token);
    const auto payload = proto::encode(reply);
    if (!payload) return end("a token of doorman's that is too long");
    send(rpc::make_frame(rpc::reply_to(asked_), *payload));
}

void Login::refuse(const Header& call, int code, std::string_view text) {
    send(rpc::make_error_reply(call, code, text));
    if (state_ != State::over && ++mistakes_ > k_mistakes_max) end("too many calls that lead to nothing");
}

void Login::send(ByteView frame) {
    if (connection_.send(frame) == Step::failed) end(std::string(connection_.why()));
}

void Login::end(std::string why) {
    if (state_ == State::over) return;
    state_ = State::over;
    why_ = std::move(why);
}

}  // namespace virtgate::netd::gate
