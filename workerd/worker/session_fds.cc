// SPDX-License-Identifier: LGPL-2.1-or-later
// session_fds - descriptors that pass between a local client and the daemon.
//
// Between gate and worker they come with the packet of their frame. libvirt sends them behind the frame, each
// with a byte of its own that belongs to no frame:
//
//     frame (count = 2) · 0 + descriptor · 0 + descriptor · frame …
//
// The kernel ends a read behind a byte that brought descriptors, so they are met in the order of their bytes.
//
// Trust:  a gate that sends other descriptors than it announces lies. A daemon that does cannot be followed.
// Limits: channel::k_packet_fds_max with one frame.
// Owns:   every descriptor that came, close-on-exec, until it has been sent on or its frame was refused.
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "libshared/rpc/error.h"
#include "workerd/worker/session.h"

namespace virtgate::workerd::worker {

using channel::Outcome;

void Session::read_local_gate() {
    std::size_t size = 0;
    channel::ReceivedFds fds;
    const MutableBytes area = home_.scratch.area();
    switch (channel::receive_packet(gate_.get(), area, size, &fds, channel::k_packet_fds_max)) {
        case Outcome::blocked: return;
        case Outcome::closed: return enter(State::ended);
        case Outcome::broken: return lie("a packet that is too long or brings too many descriptors");
        case Outcome::done: break;
    }
    if (fds.count() == 0) return go_up(area.first(size));
    on_call_with_fds(area.first(size), fds);
}

void Session::on_call_with_fds(MutableBytes packet, channel::ReceivedFds& fds) {
    if (up_.cutter.in_frame()) return lie("descriptors within a frame");
    now_ = vet_packet_with_fds(packet, fds.count());
    if (now_.kind == FromGate::Kind::lie) return lie(now_.flaw);
    const rpc::Header call = rpc::read_header(packet.data());
    if (!on_call(call, packet.subspan(k_fds_head_size), fds.count())) return;
    for (std::size_t i = fds.count(); i > 0; --i) up_fds_.push_back(fds.take(i - 1));
    Run run;
    run.add(packet);
    if (send_up(run, {})) send_up_fds();
    if (up_is_dead_) up_fds_.clear();
}

// Sends the descriptors of a call whose frame has gone.
void Session::send_up_fds() noexcept {
    constexpr std::byte k_carrier{0};
    while (!up_fds_.empty() && !up_.blocked() && !up_is_dead_) {
        const int fd = up_fds_.back().get();
        switch (channel::send_packet(upstream_.get(), ByteView(&k_carrier, 1), {&fd, 1})) {
            case Outcome::done: up_fds_.pop_back(); break;
            case Outcome::blocked: return;
            case Outcome::closed:
            case Outcome::broken:
                // Also where the kernel has too many descriptors under way: then the daemon would wait for
                // ever.
                static_cast<void>(shutdown(upstream_.get(), SHUT_RDWR));
                up_is_dead_ = true;
                up_.clear();
                break;
        }
    }
    if (up_is_dead_ || up_fds_.empty()) up_fds_ = Fds{};
}

// Like recv(), with the descriptors that come.
ssize_t Session::read_local_upstream(MutableBytes area) noexcept {
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * channel::k_packet_fds_max)];
    iovec part{area.data(), area.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = recvmsg(upstream_.get(), &message, MSG_CMSG_CLOEXEC);
    if (n < 0) return n;
    for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd;
            std::memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof fd);
            came_.emplace_back(fd);
        }
    }
    return n;
}

std::string_view Session::on_reply_with_fds(const rpc::Cut& frame) {
    const std::size_t count = load_be32(frame.bytes.data() + rpc::k_frame_min);
    if (count > channel::k_packet_fds_max) return "it sent too many descriptors";
    if (!open_.has_call(frame.header)) return "it sent a reply that nobody asked for";
    bundle_ = std::make_unique<Bundle>();
    bundle_->reply = frame.header;
    bundle_->missing = count;
    bundle_->wanted =
        is_local_ && frame.header.status == rpc::Status::ok && open_.may_bring(frame.header, count);
    if (bundle_->wanted) bundle_->frame.assign(frame.bytes.begin(), frame.bytes.end());
    return {};
}

// Takes the bytes that follow a frame with descriptors from the front of `in`. Returns what is wrong; empty
// if nothing is. The bundle is gone when all have come. Where the client is not local, nobody asked the
// kernel for descriptors.
std::string_view Session::take_fds(MutableBytes& in) {
    for (; bundle_->missing != 0 && !in.empty(); --bundle_->missing) {
        in = in.subspan(1);
        if (!is_local_) continue;
        if (came_.empty()) return "it announced a descriptor that did not come";
        bundle_->fds.push_back(std::move(came_.front()));
        came_.erase(came_.begin());
    }
    if (bundle_->missing == 0) finish_bundle();
    return {};
}

void Session::finish_bundle() {
    const std::unique_ptr<Bundle> bundle = std::move(bundle_);
    const auto ended = open_.end_call(bundle->reply);
    require(ended.has_value(), "a call ended while its reply came");
    answered_ = *ended;
    record_end(bundle->wanted ? 0 : rpc::k_code_no_support);
    if (bundle->wanted) return notify(std::move(bundle->frame), std::move(bundle->fds));
    answer(bundle->reply, rpc::k_code_no_support, "descriptors cannot be passed to this client",
           rpc::k_domain_rpc);
}

}  // namespace virtgate::workerd::worker
