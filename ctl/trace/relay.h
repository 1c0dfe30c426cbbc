// SPDX-License-Identifier: LGPL-2.1-or-later
// relay - a UNIX socket whose clients are connected to another UNIX socket, byte by byte; somebody looks on.
//
// Descriptors go along, each with the byte that it came with. Nothing is changed, and who reads slowly is waited for.
//
// Limits: k_piece bytes of each direction are held at a time. Half of a connection may end before the other.
// Owns:   the listener, its name and all connections.
#pragma once

#include <list>
#include <memory>
#include <string>

#include "ctl/trace/decoder.h"
#include "libshared/base/fd.h"
#include "libshared/base/result.h"
#include "libshared/channel/local_listener.h"
#include "libshared/loop/loop.h"

namespace virtgate::ctl::trace {

class RelayOwner {
public:
    virtual ~RelayOwner() = default;
    // Somebody has connected: connection number `number`. A second time with what was wrong, if it cannot be served.
    virtual void on_connected(unsigned number) noexcept = 0;
    virtual void on_refused(unsigned number, const Error& error) noexcept = 0;
    virtual void on_bytes(unsigned number, From from, ByteView bytes) noexcept = 0;
    virtual void on_closed(unsigned number) noexcept = 0;
};

class Relay {
public:
    static constexpr std::size_t k_piece = 65'536;

    // `upstream`: the path of the other socket.
    Relay(loop::Loop& loop, RelayOwner& owner, std::string upstream);
    ~Relay();
    Relay(const Relay&) = delete;
    Relay& operator=(const Relay&) = delete;

    // Listens at `path`, for its own user alone. Error: system's fault.
    Done listen(const std::string& path);
    // No connection is left.
    [[nodiscard]] bool is_idle() const noexcept { return connections_.empty(); }

private:
    class Connection;
    void on_client(loop::Want ready) noexcept;
    void on_sweep() noexcept;

    loop::Loop& loop_;
    RelayOwner& owner_;
    std::string upstream_;
    channel::LocalListener listener_;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> sweep_;
    std::list<std::unique_ptr<Connection>> connections_;
    unsigned count_ = 0;
};

}  // namespace virtgate::ctl::trace
