// SPDX-License-Identifier: LGPL-2.1-or-later
// client - one libvirt client of the load generator, and the loop that drives many of them in one thread.
#include "tests/bench/client.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

namespace virtgate::bench {

void Task::on_stream(Client&, const Header&, ByteView) {}
void Task::on_writable(Client&) {}

Done Client::start(const Target& target) {
    sent_at_.resize(k_calls_max);
    started_ = now_ns();
    connected_ = !target.socket.empty();
    return transport_.start(target);
}

void Client::fail(std::string reason) {
    if (!ended_) reason_ = std::move(reason);
    ended_ = true;
}

void Client::send(ByteView frame) {
    if (batching_)
        transport_.queue(frame);
    else if (!transport_.send(frame))
        fail("cannot send");
}

void Client::ask(Call call, ByteView payload) {
    const Header header{.procedure = static_cast<std::uint32_t>(call), .serial = serial_};
    sent_at_[serial_ % k_calls_max] = now_ns();
    ++serial_;
    send(make_frame(header, payload));
}

void Client::finish() {
    state_ = State::closing;
    ask(Call::connect_close, {});
}

void Client::want_writable(bool on) { want_writable_ = on; }

std::uint32_t Client::wanted_events() const {
    if (!connected_) return EPOLLOUT;
    return EPOLLIN | (transport_.pending() > 0 || want_writable_ ? std::uint32_t{EPOLLOUT} : 0);
}

bool Client::advance(std::uint32_t events) {
    connected_ = true;
    if (state_ == State::handshake) {
        if (!step_handshake()) return false;
    } else {
        if ((events & EPOLLOUT) != 0) {
            if (!transport_.flush())
                fail("cannot send");
            else if (want_writable_ && is_clear())
                task_.on_writable(*this);
        }
        if ((events & ~std::uint32_t{EPOLLOUT}) != 0) {
            batching_ = loop_.options().coalesce;
            if (!transport_.receive([this](ByteView bytes) { take_bytes(bytes); }))
                fail("connection closed by the server");
            batching_ = false;
            if (loop_.options().coalesce && !transport_.flush()) fail("cannot send");
        }
    }
    return !ended_;
}

bool Client::step_handshake() {
    switch (transport_.handshake()) {
        case Transport::Step::again: return true;
        case Transport::Step::failed: fail("TLS handshake failed"); return false;
        case Transport::Step::done: break;
    }
    state_ = State::auth_list;
    ask(Call::auth_list, {});
    return !ended_;
}

void Client::take_bytes(ByteView bytes) {
    if (!partial_.empty()) {
        partial_.insert(partial_.end(), bytes.begin(), bytes.end());
        bytes = partial_;
    }
    std::size_t used = 0;
    while (!ended_ && bytes.size() - used >= k_head_size) {
        const std::size_t length = load_be32(bytes.data() + used);
        if (length < k_head_size || length > k_frame_max) return fail("frame with a bad length");
        if (bytes.size() - used < length) break;
        take_frame(bytes.subspan(used, length));
        used += length;
    }
    if (partial_.empty())
        partial_.assign(bytes.begin() + static_cast<std::ptrdiff_t>(used), bytes.end());
    else
        partial_.erase(partial_.begin(), partial_.begin() + static_cast<std::ptrdiff_t>(used));
}

void Client::take_frame(ByteView frame) {
    const Header header = read_header(frame);
    const ByteView payload = frame.subspan(k_head_size);
    if (header.program == k_keepalive_program) {
        if (header.procedure == 1)
            send(make_frame({.program = k_keepalive_program, .procedure = 2, .kind = Kind::message}, {}));
    } else if (header.kind == Kind::stream) {
        task_.on_stream(*this, header, payload);
    } else if (header.kind == Kind::reply) {
        take_reply(header, payload);
    }
}

void Client::take_reply(const Header& header, ByteView payload) {
    if (header.status != Status::ok)
        return fail(fmt::format("procedure {}: {}", header.procedure, read_error(payload)));
    switch (state_) {
        case State::closing:
            ended_ = ended_ || header.procedure == static_cast<std::uint32_t>(Call::connect_close);
            return;
        case State::ready:
            task_.on_reply(*this, header, payload, sent_at_[header.serial % k_calls_max]);
            return;
        case State::handshake:
        case State::auth_list:
        case State::keepalive:
        case State::open: return enter_next();
    }
}

void Client::enter_next() {
    if (state_ == State::auth_list && loop_.options().keepalive) {
        state_ = State::keepalive;
        ask(Call::connect_supports_feature, Payload().u32(k_feature_keepalive).view());
    } else if (state_ != State::open) {
        state_ = State::open;
        ask(Call::connect_open, Payload().u32(1).text(loop_.options().uri).u32(0).view());
    } else {
        state_ = State::ready;
        task_.on_ready(*this);
    }
}

Loop::Loop(const Target& target, Options options)
    : target_(target), options_(std::move(options)), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    require(static_cast<bool>(epoll_), "no epoll descriptor");
}

Done Loop::add(Task& task) {
    auto client = std::make_unique<Client>(*this, task);
    if (auto started = client->start(target_); !started) return started;
    client->place_ = clients_.size();
    // A UNIX socket is connected by now: begin at once. TCP waits for its connection to become writable.
    client->armed_ = EPOLLOUT;
    epoll_event event{.events = EPOLLOUT, .data = {.ptr = client.get()}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, client->transport_.fd(), &event) != 0)
        return system_fault(errno, "epoll_ctl");
    clients_.push_back(std::move(client));
    return {};
}

void Loop::watch_end(int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
    require(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0, "cannot watch the given descriptor");
}

void Loop::arm(Client& client) {
    const std::uint32_t wanted = client.wanted_events();
    if (wanted == client.armed_) return;
    client.armed_ = wanted;
    epoll_event event{.events = wanted, .data = {.ptr = &client}};
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, client.transport_.fd(), &event);
}

void Loop::run(std::uint64_t deadline) {
    stopped_ = false;
    std::array<epoll_event, 64> events{};
    while (!stopped_ && !clients_.empty()) {
        const std::uint64_t now = now_ns();
        if (now >= deadline) return;
        const int left_ms = static_cast<int>(std::min<std::uint64_t>((deadline - now) / 1000000 + 1, 1000));
        const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), left_ms);
        for (int i = 0; i < count; ++i) {
            auto* client = static_cast<Client*>(events[static_cast<std::size_t>(i)].data.ptr);
            if (client == nullptr) {
                stopped_ = true;
            } else if (client->advance(events[static_cast<std::size_t>(i)].events)) {
                arm(*client);
            } else {
                const std::size_t place = client->place_;
                auto gone = std::move(clients_[place]);
                if (place + 1 != clients_.size()) {
                    clients_[place] = std::move(clients_.back());
                    clients_[place]->place_ = place;
                }
                clients_.pop_back();
                gone->task_.on_closed(*gone, gone->reason_);
            }
        }
    }
}

}  // namespace virtgate::bench
