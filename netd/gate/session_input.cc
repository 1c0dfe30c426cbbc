// SPDX-License-Identifier: LGPL-2.1-or-later
// session_input - one session's way from the client to the worker.
//
// Trust:  the client is hostile. Whatever is handed to pass_to_worker() has been vetted and is canonical.
#include <algorithm>

#include "libshared/rpc/error.h"
#include "netd/gate/session.h"
#include "proto/remote.h"

namespace virtgate::netd::gate {

using channel::Outcome;
using rpc::Cut;
using rpc::Header;
using rpc::Type;

namespace {

constexpr std::size_t k_plain_size = Connection::k_buffer_size;
// A partial call is judged again when it has grown to twice what was judged before.
constexpr std::size_t k_judge_growth = 2;

MutableBytes plain_buffer() {
    static thread_local const auto t_buffer = std::make_unique<std::array<std::byte, k_plain_size>>();
    return *t_buffer;
}

}  // namespace

void Session::read_client() {
    std::size_t size = 0;
    const MutableBytes plain = plain_buffer();
    const Step step = client_->receive(plain, size);
    if (size != 0) {
        entry_.add_in(size);
        if (keepalive_.started()) keepalive_.on_input(loop_.clock().now());
        take_input(plain.first(size));
    }
    if (step == Step::closed)
        client_gone("it closed the connection");
    else if (step == Step::failed)
        client_gone(client_->why());
}

void Session::take_input(MutableBytes in) {
    const ByteView whole = in;
    while (state_ == State::serving) {
        if (with_descriptors_ && !with_descriptors_->vetted) {
            in = take_descriptor_bytes(in);
            if (with_descriptors_ && !with_descriptors_->vetted) break;
        }
        if (must_pause()) {
            flush_worker_run();
            return pause(in);
        }
        const Cut cut = from_client_.next(in);
        if (cut.kind == Cut::Kind::more) break;
        take_cut(cut);
        // What is not in `whole` is the cutter's, and gone at the next step.
        if (!worker_run_.empty() && !lies_in(worker_run_, whole)) flush_worker_run();
    }
    flush_worker_run();
    if (state_ == State::serving) check_stray_descriptors();
    if (state_ != State::serving) return;
    judge_partial();
    note_partial_frame();
}

void Session::take_cut(const Cut& cut) {
    switch (cut.kind) {
        case Cut::Kind::header: return take_header(cut);
        case Cut::Kind::frame: return take_frame(cut);
        case Cut::Kind::piece: return pass_to_worker(cut.bytes);
        case Cut::Kind::flaw: return client_broke_rules("an impossible frame length");
        case Cut::Kind::skipped:
        case Cut::Kind::more: return;
    }
}

void Session::take_header(const Cut& cut) {
    const Ruling ruling = vet_header(cut.header, cut.frame_size, ledger_, client_->passes_descriptors());
    calling_ = ruling.procedure;
    judged_ = 0;
    switch (ruling.action) {
        case Action::whole: return from_client_.take_whole();
        case Action::pieces: return from_client_.take_pieces();
        case Action::skip: return from_client_.skip();
        case Action::refuse: from_client_.skip(); return refuse(cut.header, ruling);
        case Action::close: from_client_.skip(); return client_broke_rules(ruling.text);
        case Action::forward: break;
    }
    panic("a header was judged like a payload");
}

// Looks at a call that is still coming: one that is wrong already is refused now, and its rest is not kept.
void Session::judge_partial() {
    const MutableBytes held = from_client_.held();
    if (calling_ == nullptr || !from_client_.in_frame() || held.size() <= rpc::k_frame_min ||
        held.size() < judged_ * k_judge_growth)
        return;
    judged_ = held.size();
    const Header header = from_client_.header();
    const Ruling ruling = vet_payload(*proto::find_session_program(header.program, header.version), *calling_,
                                      held.subspan(rpc::k_frame_min), proto::Extent::prefix);
    if (ruling.action == Action::whole) return;
    from_client_.abandon();
    calling_ = nullptr;
    if (ruling.action == Action::refuse)
        refuse(header, ruling);
    else
        client_broke_rules(ruling.text);
}

void Session::take_frame(const Cut& cut) {
    if (cut.header.program == rpc::k_keepalive_program) {
        if (cut.header.procedure == static_cast<std::uint32_t>(rpc::Keepalive::ping))
            insert(rpc::make_keepalive(rpc::Keepalive::pong));
        return;
    }
    if (cut.header.type == Type::call) return take_call(cut);
    if (cut.header.type == Type::call_with_fds) return begin_descriptors(cut);
    const Ruling ruling = vet_stream(cut.header, cut.bytes.subspan(rpc::k_frame_min));
    if (ruling.action != Action::forward) return client_broke_rules(ruling.text);
    if (cut.header.type == Type::stream)
        if (OpenStream* stream = ledger_.find_stream(key_of(cut.header))) stream->finishing = true;
    pass_to_worker(cut.bytes);
}

void Session::take_call(const Cut& cut) {
    entry_.add_call();
    const proto::ProcedureInfo& procedure = *std::exchange(calling_, nullptr);
    const proto::ProgramInfo& program = *proto::find_session_program(cut.header.program, cut.header.version);
    const MutableBytes payload = cut.bytes.subspan(rpc::k_frame_min);
    const Ruling ruling = vet_payload(program, procedure, payload, proto::Extent::whole);
    if (ruling.action == Action::refuse) return refuse(cut.header, ruling);
    if (ruling.action != Action::forward) return client_broke_rules(ruling.text);
    if (!dismissed_.empty()) {
        ledger_.add({.key = key_of(cut.header), .procedure = &procedure});
        return worker_gone(dismissed_);
    }
    if (&program == &proto::lock_program()) return pass_to_locks(cut, procedure);
    if (answer_here(cut.header, payload)) return;
    ledger_.add(
        {.key = key_of(cut.header), .procedure = &procedure, .sparse = asks_for_holes(procedure, payload)});
    pass_to_worker(cut.bytes);
}

// Calls that are the gate's own business. True if this was one.
bool Session::answer_here(const Header& call, ByteView payload) {
    using proto::remote::Procedure;
    if (call.program != proto::remote::k_program) return false;
    const auto say = [&](std::initializer_list<std::uint32_t> words) {
        std::array<std::byte, 8> reply;
        std::size_t size = 0;
        for (const std::uint32_t word : words) {
            store_be32(reply.data() + size, word);
            size += 4;
        }
        insert(rpc::make_frame(rpc::reply_to(call), ByteView(reply).first(size)));
        return true;
    };
    constexpr std::uint32_t k_auth_none = 0;
    constexpr std::uint32_t k_feature_fd_passing = 8;
    constexpr std::uint32_t k_feature_keepalive = 10;
    switch (static_cast<Procedure>(call.procedure)) {
        case Procedure::auth_list: return say({1, k_auth_none});
        case Procedure::auth_sasl_init:
        case Procedure::auth_sasl_start:
        case Procedure::auth_sasl_step:
        case Procedure::auth_polkit:
            insert(rpc::make_error_reply(call, rpc::k_code_auth_failed, "authentication failed"));
            return true;
        case Procedure::connect_supports_feature: {
            const std::uint32_t feature = load_be32(payload.data());
            if (feature == k_feature_fd_passing && !client_->passes_descriptors()) return say({0});
            if (feature != k_feature_keepalive) return false;
            start_keepalive();
            return say({1});
        }
        default: return false;
    }
}

void Session::refuse(const Header& call, const Ruling& ruling) {
    entry_.note_refused_call();
    if (refused_.next())
        log_.info("call refused ({} so far): procedure {} of program {:#x}, serial {}: {}", refused_.count(),
                  call.procedure, call.program, call.serial, ruling.text);
    insert(rpc::make_error_reply(call, ruling.code, ruling.text, ruling.domain));
}

// Adjacent frames leave together, so a burst of small calls is one packet.
void Session::pass_to_worker(MutableBytes bytes) {
    if (!worker_run_.empty() && worker_run_.data() + worker_run_.size() == bytes.data() &&
        worker_run_.size() + bytes.size() <= channel::k_packet_max) {
        worker_run_ = MutableBytes(worker_run_.data(), worker_run_.size() + bytes.size());
        return;
    }
    flush_worker_run();
    worker_run_ = bytes;
}

void Session::flush_worker_run() {
    ByteView run = std::exchange(worker_run_, {});
    while (!run.empty() && state_ == State::serving) {
        const ByteView packet = run.first(std::min(run.size(), channel::k_packet_max));
        run = run.subspan(packet.size());
        send_to_worker(packet);
    }
}

void Session::send_to_worker(ByteView packet) {
    const Outcome outcome =
        to_worker_.empty() ? channel::send_packet(worker_.get(), packet) : Outcome::blocked;
    if (outcome == Outcome::blocked)
        to_worker_.add(packet);
    else if (outcome != Outcome::done)
        worker_gone("the process that served this connection has ended");
}

void Session::flush_to_worker() {
    while (!to_worker_.empty()) {
        const ByteView waiting = to_worker_.bytes();
        const ByteView packet = waiting.first(std::min(waiting.size(), channel::k_packet_max));
        const Outcome outcome = channel::send_packet(worker_.get(), packet);
        if (outcome == Outcome::blocked) return;
        if (outcome != Outcome::done) return worker_gone("the process that served this connection has ended");
        to_worker_.take(packet.size());
    }
    if (with_descriptors_ && with_descriptors_->vetted) send_descriptors_to_worker();
}

}  // namespace virtgate::netd::gate
