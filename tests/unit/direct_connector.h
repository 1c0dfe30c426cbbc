// SPDX-License-Identifier: LGPL-2.1-or-later
// direct_connector - connects to sockets as the broker does, from the loop, without a broker.
#pragma once

#include <sys/socket.h>

#include <map>
#include <string>
#include <utility>

#include "libshared/channel/connect.h"
#include "workerd/worker/connector.h"

namespace virtgate::test {

class DirectConnector final : public workerd::worker::Connector {
public:
    explicit DirectConnector(loop::Loop& loop)
        : timer_(loop.timer(loop::to<&DirectConnector::on_timer>(*this))) {}

    [[nodiscard]] Ticket ask_connect(const std::string& socket, std::uint64_t,
                                     OnConnected on_connected) override {
        questions_.emplace(++last_, std::pair{socket, on_connected});
        timer_->start(Milliseconds{0});
        return last_;
    }
    void forget(Ticket ticket) noexcept override { questions_.erase(ticket); }

private:
    void on_timer() noexcept {
        while (!questions_.empty()) {
            const auto [socket, on_connected] = questions_.extract(questions_.begin()).mapped();
            auto made = channel::connect_to(socket, SOCK_STREAM);
            Connected connected;
            if (made)
                connected.socket = std::move(*made);
            else
                connected.number = made.error().number;
            on_connected(connected);
        }
    }

    std::unique_ptr<loop::Timer> timer_;
    std::map<Ticket, std::pair<std::string, OnConnected>> questions_;
    Ticket last_ = 0;
};

}  // namespace virtgate::test
