// SPDX-License-Identifier: LGPL-2.1-or-later
// session_output - one session's way from the worker to the client.
//
// Trust:  the worker may have been taken over: only answers to open calls, known events and data of open streams
//         pass, and their payloads are validated like the client's.
#include "netd/gate/session.h"

#include <algorithm>

namespace virtgate::netd::gate {

using channel::Outcome;
using rpc::Cut;
using rpc::Header;
using rpc::Status;
using rpc::Type;

namespace {

MutableBytes packet_buffer() {
    static thread_local const auto t_buffer =
        std::make_unique<std::array<std::byte, channel::k_packet_max>>();
    return *t_buffer;
}

}  // namespace

void Session::read_worker() {
    for (int i = 0; i < k_packets_per_turn && state_ == State::serving; ++i) {
        // Nothing is read for a client that does not take what it has been sent.
        if (client_->has_output() || !to_client_.empty()) return;
        std::size_t size = 0;
        const MutableBytes buffer = packet_buffer();
        // Without a client that can take descriptors the kernel throws away what comes, unseen by us.
        const bool fds = client_->passes_descriptors();
        switch (channel::receive_packet(worker_.get(), buffer, size, fds ? &from_worker_fds_ : nullptr,
                                        Connection::k_descriptors_max)) {
            case Outcome::blocked: return;
            case Outcome::closed: return worker_gone("the process that served this connection has ended");
            case Outcome::broken: return worker_broke_rules("a packet that is too long");
            case Outcome::done: break;
        }
        take_answers(buffer.first(size));
        if (from_worker_fds_.count() != 0) {
            from_worker_fds_.clear();
            if (state_ == State::serving)
                return worker_broke_rules("descriptors without a reply to carry them");
        }
        if (size < k_bulk_packet) return;
    }
}

void Session::take_answers(MutableBytes in) {
    const ByteView whole = in;
    while (state_ == State::serving) {
        const Cut cut = from_worker_.next(in);
        if (cut.kind == Cut::Kind::more) break;
        take_answer_cut(cut);
        if (!client_run_.empty() && !lies_in(client_run_, whole)) flush_client_run();
        if (!frame_open_ && !inserted_.empty()) {
            flush_client_run();
            send_to_client(std::exchange(inserted_, {}));
        }
    }
    flush_client_run();
}

void Session::take_answer_cut(const Cut& cut) {
    switch (cut.kind) {
        case Cut::Kind::more:
        case Cut::Kind::skipped: return;
        case Cut::Kind::flaw: return worker_broke_rules("an impossible frame length");
        case Cut::Kind::header: {
            const Ruling ruling =
                vet_answer_header(cut.header, cut.frame_size, ledger_, client_->passes_descriptors());
            switch (ruling.action) {
                case Action::whole: return from_worker_.take_whole();
                case Action::pieces: return from_worker_.take_pieces();
                case Action::skip: return from_worker_.skip();
                default: from_worker_.skip(); return worker_broke_rules(ruling.text);
            }
        }
        case Cut::Kind::piece:
            pass_to_client(cut.bytes);
            frame_open_ = !cut.last;
            return;
        case Cut::Kind::frame: {
            if (cut.header.type == Type::reply_with_fds) return pass_descriptors_to_client(cut);
            const Ruling ruling =
                vet_answer_payload(cut.header, ledger_, cut.bytes.subspan(rpc::k_frame_min));
            if (ruling.action != Action::forward) return worker_broke_rules(ruling.text);
            settle(cut.header);
            return pass_to_client(cut.bytes);
        }
    }
}

// Keeps the ledger true to what the client is told.
void Session::settle(const Header& header) {
    const CallKey key = key_of(header);
    if (header.type == Type::reply || header.type == Type::reply_with_fds) {
        if (ledger_.find_call(key) == nullptr)
            ledger_.close_stream(key);
        else
            ledger_.answer(key, header.status == Status::ok);
    } else if (header.type == Type::stream) {
        // Data came in pieces; a whole packet is the stream's end.
        ledger_.close_stream(key);
    } else if (header.type == Type::message) {
        entry_.add_event();
    }
}

void Session::pass_to_client(MutableBytes bytes) {
    if (!client_run_.empty() && client_run_.data() + client_run_.size() == bytes.data()) {
        client_run_ = MutableBytes(client_run_.data(), client_run_.size() + bytes.size());
        return;
    }
    flush_client_run();
    client_run_ = bytes;
}

void Session::flush_client_run() {
    const ByteView run = std::exchange(client_run_, {});
    if (!run.empty()) send_to_client(run);
}

void Session::send_to_client(ByteView bytes) {
    if (client_->has_output() || !to_client_.empty()) {
        to_client_.insert(to_client_.end(), bytes.begin(), bytes.end());
        return;
    }
    entry_.add_out(bytes.size());
    // Each frame begins a TLS record. libvirt's client goes back to poll() after every frame; the beginning of
    // another one, read together with it, would stay in its TLS library until something else arrives.
    client_->begin_records();
    while (!bytes.empty()) {
        if (client_frame_left_ == 0) client_frame_left_ = load_be32(bytes.data());
        const ByteView part = bytes.first(std::min(client_frame_left_, bytes.size()));
        bytes = bytes.subspan(part.size());
        client_frame_left_ -= part.size();
        if (client_->add_records(part) == Step::failed) return client_gone(client_->why());
    }
    if (client_->send_records() == Step::failed) client_gone(client_->why());
}

void Session::insert(ByteView frame) {
    if (frame_open_) {
        inserted_.insert(inserted_.end(), frame.begin(), frame.end());
        return;
    }
    flush_client_run();
    send_to_client(frame);
}

// The client's socket takes more.
void Session::drain_output() {
    if (client_->has_output()) {
        const Step step = client_->flush();
        if (step == Step::failed) return client_gone(client_->why());
        if (step != Step::done) return;
    }
    if (!to_client_.empty()) {
        const ByteVector waiting = std::exchange(to_client_, {});
        send_to_client(waiting);
    }
    resume();
}

}  // namespace virtgate::netd::gate
