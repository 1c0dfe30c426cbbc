// SPDX-License-Identifier: LGPL-2.1-or-later
// session_descriptors - calls and replies that carry descriptors, for clients of UNIX sockets.
//
// On the client's side each descriptor comes behind its frame with a byte of its own (docs/protocol.md,
// "Descriptors"). On the session's descriptor such a frame is a packet of its own and all its descriptors come with
// that packet; a worker or a gate that does it otherwise breaks the rules.
//
// Trust:  hostile from both sides. A descriptor that no frame announced closes the connection; whatever is not passed
//         on is closed.
// Limits: 32 descriptors for each frame, frames of at most one packet.
#include <algorithm>

#include "libshared/rpc/error.h"
#include "netd/gate/session.h"

namespace virtgate::netd::gate {

using channel::Outcome;
using proto::Extent;
using rpc::Cut;
using rpc::Header;

namespace {

constexpr std::size_t k_count_at = rpc::k_frame_min;
constexpr std::size_t k_fds_count_size = 4;

}  // namespace

// The frame is kept: the buffer that it lies in is gone before its descriptors are here.
void Session::begin_descriptors(const Cut& cut) {
    const std::uint32_t count = load_be32(cut.bytes.data() + k_count_at);
    if (count == 0 || count > Connection::k_descriptors_max)
        return client_broke_rules("a call with an impossible number of descriptors");
    flush_worker_run();
    with_descriptors_ = std::make_unique<WithDescriptors>();
    with_descriptors_->frame.assign(cut.bytes.begin(), cut.bytes.end());
    with_descriptors_->bytes_left = count;
}

// Passes over the bytes that came with the descriptors. Returns what is behind them.
MutableBytes Session::take_descriptor_bytes(MutableBytes in) {
    const std::size_t size = std::min(in.size(), with_descriptors_->bytes_left);
    with_descriptors_->bytes_left -= size;
    if (with_descriptors_->bytes_left == 0) end_descriptors();
    return in.subspan(size);
}

// All of them are here: now the call is judged like any other.
void Session::end_descriptors() {
    WithDescriptors& call = *with_descriptors_;
    const MutableBytes frame(call.frame);
    const Header header = rpc::read_header(frame.data());
    const std::uint32_t count = load_be32(frame.data() + k_count_at);
    call.descriptors = client_->take_descriptors();
    if (call.descriptors.size() != count)
        return client_broke_rules("another number of descriptors than was announced");
    const proto::ProcedureInfo* procedure = nullptr;
    Ruling ruling = vet_descriptor_call(header, frame.size(), count, ledger_);
    if (ruling.action == Action::whole) {
        procedure = ruling.procedure;
        ruling = vet_payload(*proto::find_relayed_program(header.program, header.version), *procedure,
                             frame.subspan(k_count_at + k_fds_count_size), Extent::whole);
    }
    if (ruling.action == Action::refuse) {
        with_descriptors_.reset();
        return refuse(header, ruling);
    }
    if (ruling.action != Action::forward) return client_broke_rules(ruling.text);
    entry_.add_call();
    ledger_.add({.key = key_of(header), .procedure = procedure, .sparse = false});
    call.vetted = true;
    if (to_worker_.empty()) send_descriptors_to_worker();
}

void Session::send_descriptors_to_worker() {
    std::vector<int> borrowed;
    for (const UniqueFd& descriptor : with_descriptors_->descriptors) borrowed.push_back(descriptor.get());
    switch (channel::send_packet(worker_.get(), with_descriptors_->frame, borrowed)) {
        case Outcome::blocked: return;
        case Outcome::done: return with_descriptors_.reset();
        case Outcome::closed:
        case Outcome::broken: break;
    }
    worker_gone("the process that served this connection has ended");
}

// Descriptors come behind the frame that announces them. At the end of a turn that frame has been seen.
void Session::check_stray_descriptors() {
    const bool expected = with_descriptors_ && !with_descriptors_->vetted;
    if (!expected && client_->descriptors_held() != 0)
        client_broke_rules("descriptors that no call has announced");
}

void Session::pass_descriptors_to_client(const Cut& cut) {
    const ByteView frame = cut.bytes;
    const std::uint32_t count = load_be32(frame.data() + k_count_at);
    const OpenCall* call = ledger_.find_call(key_of(cut.header));
    const proto::ProcedureInfo& procedure = *call->procedure;
    if (count != from_worker_fds_.count() || count < procedure.fds_reply_min ||
        count > procedure.fds_reply_max)
        return worker_broke_rules("a reply with another number of descriptors than it should have");
    const Ruling ruling =
        vet_answer_payload(cut.header, ledger_, cut.bytes.subspan(k_count_at + k_fds_count_size));
    if (ruling.action != Action::forward) return worker_broke_rules(ruling.text);
    std::vector<UniqueFd> descriptors;
    for (std::size_t i = 0; i < count; ++i) descriptors.push_back(from_worker_fds_.take(i));
    from_worker_fds_.clear();
    settle(cut.header);
    flush_client_run();
    send_to_client(frame);
    if (state_ == State::serving && client_->send_descriptors(std::move(descriptors)) == Step::failed)
        client_gone(client_->why());
}

}  // namespace virtgate::netd::gate
