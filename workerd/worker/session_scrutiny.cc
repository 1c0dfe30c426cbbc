// SPDX-License-Identifier: LGPL-2.1-or-later
// session_scrutiny - calls, replies and events of an identity that may not do everything.
//
// What may pass is decided in scrutiny.h; here its rulings are carried out: questions of ours go to the daemon between
// the client's calls, and while one is open nothing more of the client is looked at.
#include <algorithm>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/programs.h"
#include "workerd/worker/session.h"

namespace virtgate::workerd::worker {

using Ruling = Scrutiny::Ruling;
using Outcome = Scrutiny::Outcome;

namespace {

// Of a call that no role has: what the client has got instead, where that is one thing.
std::string lacking_role(const Ruling& ruling) {
    if (!ruling.finding || ruling.finding->grant != nullptr) return {};
    const proto::policy::Grant* grant = only_grant(*ruling.finding->rights);
    return grant == nullptr ? "" : fmt::format(", role {} at {}:{}", grant->role, grant->file, grant->line);
}

}  // namespace

// True if the client's own bytes go to the daemon.
bool Session::scrutinise(const rpc::Header& call, MutableBytes payload, std::size_t fds) {
    if (fds != 0 && !scrutiny_.is_idle()) {
        // They would have to be kept while the call is held, and nobody can say what a descriptor leads to.
        answer(call, rpc::k_code_access_denied,
               "access denied: descriptors are for identities that may do everything", rpc::k_domain_access);
        return false;
    }
    const Instant began = home_.loop.clock().now();
    Ruling ruling = scrutiny_.on_call(call, *now_.program, *now_.procedure, payload,
                                      [this](const rpc::Header& header) { return open_.has_call(header); });
    return follow(std::move(ruling), call, *now_.procedure, {}, began);
}

// Carries out what was decided about the client's call; `frame` is the call if it was held. True if the client's own
// bytes go to the daemon, which only those can that were not held.
bool Session::follow(Ruling ruling, const rpc::Header& call, const proto::ProcedureInfo& procedure,
                     ByteView frame, Instant began) {
    OpenCalls::Record recorded{.number = 0, .began = began};
    if (ruling.finding) recorded.number = record(call, procedure, *ruling.finding, began);
    switch (ruling.kind) {
        case Ruling::Kind::refuse: {
            ++home_.counts.of(call.program).denied;
            log_refusal(procedure.name, ruling.log + lacking_role(ruling));
            const auto payload = proto::encode(ruling.error);
            require(payload.has_value(), "an error that does not encode");
            notify(rpc::make_frame(rpc::reply_to(call, rpc::Status::error), *payload));
            return false;
        }
        case Ruling::Kind::ask:
            held_ = call;
            held_since_ = began;
            own_up_ = std::move(ruling.frame);
            return false;
        case Ruling::Kind::pass: break;
    }
    if (procedure.stream != proto::Stream::none && ruling.finding)
        note_stream(call, procedure, *ruling.finding);
    rpc::Header sent = call;
    if (!ruling.frame.empty())
        own_up_ = std::move(ruling.frame);
    else if (!frame.empty())
        own_up_.assign(frame.begin(), frame.end());
    if (!own_up_.empty()) sent = rpc::read_header(own_up_.data());
    ++home_.counts.of(call.program).forwarded;
    open_.add(sent, procedure.stream != proto::Stream::none,
              {procedure.fds_reply_min, procedure.fds_reply_max}, call.procedure, recorded);
    return own_up_.empty();
}

void Session::note_stream(const rpc::Header& call, const proto::ProcedureInfo& procedure,
                          const Finding& finding) {
    std::erase_if(streams_, [&](const StreamNote& note) { return !open_.has_stream(note.call); });
    streams_.push_back({.call = call, .procedure = &procedure, .finding = finding});
}

bool Session::set_rights(std::shared_ptr<const policy::Rights> rights, bool is_shadowed) {
    const auto may_go_on = [&](const StreamNote& note) {
        const proto::ProgramInfo* program = proto::find_relayed_program(note.call.program, note.call.version);
        require(program != nullptr, "a stream of a program that is not served");
        std::vector<policy::Object> objects;
        policy::KindMask unknown = 0;
        for (const Finding::Thing& thing : note.finding.things)
            if (thing.is_known)
                objects.push_back({thing.kind, thing.name, thing.uuid});
            else
                unknown |= bit(thing.kind);  // nobody asked what it is, since that did not matter
        return rights->judge(*program, *note.procedure, note.finding.flags, objects, unknown).allowed;
    };
    std::erase_if(streams_, [&](const StreamNote& note) { return !open_.has_stream(note.call); });
    const bool all = is_shadowed || std::all_of(streams_.begin(), streams_.end(), may_go_on);
    scrutiny_.set_rights(std::move(rights), is_shadowed);
    return all;
}

// What is our own goes up when the client's bytes before it have gone.
void Session::send_own_up() noexcept {
    if (own_up_.empty() || up_.blocked() || !upstream_ || up_is_dead_) return;
    const std::size_t sent = write_up(own_up_);
    if (sent == own_up_.size() || up_is_dead_)
        own_up_ = ByteVector{};
    else
        own_up_.erase(own_up_.begin(), own_up_.begin() + static_cast<std::ptrdiff_t>(sent));
}

// What the client gets for its call is in the outcome. A look-up is judged only now.
void Session::on_shown(const Outcome& outcome) {
    const rpc::Header reply = rpc::read_header(outcome.frame.data());
    if (outcome.finding) {
        const proto::ProgramInfo* program = proto::find_relayed_program(reply.program, reply.version);
        const proto::ProcedureInfo* procedure = program != nullptr ? program->find(reply.procedure) : nullptr;
        require(procedure != nullptr, "a call was judged that is none");
        answered_.number = record(reply, *procedure, *outcome.finding, answered_.began);
    }
    record_end(reply.status == rpc::Status::error
                   ? rpc::read_error_code(ByteView(outcome.frame).subspan(rpc::k_frame_min))
                   : 0);
}

void Session::on_scrutinised(const rpc::Cut& frame) {
    scrutinising_ = false;
    Outcome outcome =
        scrutiny_.on_frame(frame.header, frame.bytes.subspan(rpc::k_frame_min),
                           [this](const rpc::Header& header) { return open_.has_call(header); });
    switch (outcome.kind) {
        case Outcome::Kind::forward:
            if (!outcome.log.empty()) log_refusal("answered by the daemon", outcome.log);
            if (frame.header.type == rpc::Type::reply) on_shown(outcome);
            return notify(std::move(outcome.frame));
        case Outcome::Kind::drop: return;
        case Outcome::Kind::resume: break;
    }
    const proto::ProgramInfo* program =
        proto::find_relayed_program(outcome.held.program, outcome.held.version);
    const proto::ProcedureInfo* procedure =
        program != nullptr ? program->find(outcome.held.procedure) : nullptr;
    require(procedure != nullptr, "a call was held that is none");
    static_cast<void>(
        follow(std::move(outcome.ruling), outcome.held, *procedure, outcome.held_frame, held_since_));
}

}  // namespace virtgate::workerd::worker
