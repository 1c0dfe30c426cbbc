// SPDX-License-Identifier: LGPL-2.1-or-later
// relay - a UNIX socket whose clients are connected to a server, byte by byte; somebody looks on.
#include "ctl/trace/relay.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace virtgate::ctl::trace {

namespace {

constexpr int k_backlog = 16;
// Pieces of one direction before the others have their turn.
constexpr int k_pieces_per_turn = 8;

}  // namespace

class Relay::Connection {
public:
    Connection(Relay& relay, unsigned number, std::unique_ptr<End> client, std::unique_ptr<End> server)
        : relay_(relay),
          number_(number),
          client_(std::move(client)),
          server_(std::move(server)),
          up_(*this, From::client, *client_, *server_),
          down_(*this, From::server, *server_, *client_) {}

    [[nodiscard]] bool is_over() const noexcept { return up_.is_over() && down_.is_over(); }
    [[nodiscard]] unsigned number() const noexcept { return number_; }
    [[nodiscard]] std::string epitaph() { return server_->epitaph(); }

private:
    // One direction.
    class Way {
    public:
        Way(Connection& owner, From from, End& source, End& target)
            : owner_(owner),
              from_(from),
              source_(source),
              target_(target),
              readable_(
                  owner.relay_.loop_.watch(source.fd(), loop::Want::read, loop::to<&Way::on_ready>(*this))),
              writable_(owner.relay_.loop_.watch(target.fd(), loop::Want::nothing,
                                                 loop::to<&Way::on_ready>(*this))) {}

        [[nodiscard]] bool is_over() const noexcept { return over_; }

    private:
        void on_ready(loop::Want) noexcept {
            if (over_) return;
            for (int piece = 0; piece < k_pieces_per_turn; ++piece) {
                Step step = write();
                if (step == Step::moved) step = read();
                if (step == Step::moved) step = write();
                if (step == Step::ended) return end();
                if (step == Step::blocked || !source_.has_buffered()) break;
            }
            readable_->set(size_ == 0 ? loop::Want::read : loop::Want::nothing);
            writable_->set(size_ == 0 ? loop::Want::nothing : loop::Want::write);
            if (size_ == 0 && source_.has_buffered()) readable_->wake(loop::Want::read);
        }

        // What is there is only read when all of the last piece has gone.
        Step read() noexcept {
            const Step step = source_.read(buffer_, size_, fds_);
            if (step != Step::moved) {
                size_ = 0;
                return step;
            }
            sent_ = 0;
            owner_.relay_.owner_.on_bytes(owner_.number_, from_, ByteView(buffer_).first(size_));
            return step;
        }

        Step write() noexcept {
            while (size_ > 0) {
                std::size_t now = 0;
                const Step step = target_.write(ByteView(buffer_).first(size_).subspan(sent_), now, fds_);
                if (step != Step::moved) return step;
                sent_ += now;
                if (sent_ < size_) continue;
                size_ = 0;
                fds_.clear();
            }
            return Step::moved;
        }

        void end() noexcept {
            over_ = true;
            readable_->set(loop::Want::nothing);
            writable_->set(loop::Want::nothing);
            target_.finish_writing();
            source_.finish_reading();
            owner_.relay_.sweep_->start(Milliseconds{0});
        }

        Connection& owner_;
        From from_;
        End &source_, &target_;
        std::array<std::byte, k_piece> buffer_{};
        std::size_t size_ = 0, sent_ = 0;
        std::vector<UniqueFd> fds_;
        bool over_ = false;
        std::unique_ptr<loop::Watch> readable_, writable_;
    };

    Relay& relay_;
    unsigned number_;
    std::unique_ptr<End> client_, server_;
    Way up_, down_;
};

Relay::Relay(loop::Loop& loop, RelayOwner& owner, Connect connect)
    : loop_(loop),
      owner_(owner),
      connect_(std::move(connect)),
      sweep_(loop.timer(loop::to<&Relay::on_sweep>(*this))),
      arrivals_(loop, loop::to<&Relay::on_arrivals>(*this)) {}

Relay::~Relay() {
    stop_.request_stop();
    for (Waiting& one : waiting_) one.thread.join();
}

Done Relay::listen(const std::string& path) {
    auto listener = channel::LocalListener::open(
        path, {.type = SOCK_STREAM, .mode = 0600, .backlog = k_backlog, .group = {}});
    if (!listener) return tl::unexpected(std::move(listener.error()));
    listener_ = std::move(*listener);
    watch_ = loop_.watch(listener_.get(), loop::Want::read, loop::to<&Relay::on_client>(*this));
    return {};
}

void Relay::on_client(loop::Want) noexcept {
    UniqueFd client{accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (!client) return;
    const unsigned number = ++count_;
    owner_.on_connected(number);
    if (waiting_.size() >= k_connecting_max)
        return owner_.on_refused(number, "too many clients wait for the server");
    Waiting& one = waiting_.emplace_back();
    one.number = number;
    one.client = std::move(client);
    client::Deadline deadline = client::Deadline::in(k_patience);
    deadline.stop = stop_.get_token();
    try {
        one.thread = std::thread([this, number, deadline] { arrivals_.put({number, connect_(deadline)}); });
    } catch (const std::system_error& error) {
        waiting_.pop_back();
        owner_.on_refused(number, error.what());
    }
}

void Relay::on_arrivals() noexcept {
    for (Arrival& arrival : arrivals_.take()) {
        const auto one = std::find_if(waiting_.begin(), waiting_.end(),
                                      [&](const Waiting& each) { return each.number == arrival.number; });
        require(one != waiting_.end(), "a server that nobody waits for");
        one->thread.join();
        UniqueFd client = std::move(one->client);
        waiting_.erase(one);
        if (!arrival.server) {
            client.reset();
            owner_.on_refused(arrival.number, arrival.server.error().text);
            continue;
        }
        connections_.push_back(std::make_unique<Connection>(
            *this, arrival.number, make_socket_end(std::move(client)), std::move(*arrival.server)));
    }
}

void Relay::on_sweep() noexcept {
    connections_.remove_if([&](const auto& one) {
        if (one->is_over()) owner_.on_closed(one->number(), one->epitaph());
        return one->is_over();
    });
}

client::Result<std::unique_ptr<End>> connect_to_socket(const std::string& path) {
    const auto fail = [&](int number) {
        return client::fail_system(number, fmt::format("cannot connect to {}", path));
    };
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return fail(ENAMETOOLONG);
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket || ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
        return fail(errno);
    return make_socket_end(std::move(socket));
}

}  // namespace virtgate::ctl::trace
