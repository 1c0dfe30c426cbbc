// SPDX-License-Identifier: LGPL-2.1-or-later
// daemon - one of our daemons, asked by an administrator: one call after the other, each waits for its answer.
//
// Twins: netd/steward/control_desk (proto/control.x), workerd/broker/administration (proto/sessions.x).
//
// Trust:  the daemon's answers are decoded like anybody's; names in them are what clients have shown, and have to be
//         escaped before a person sees them.
// Limits: k_patience for an answer, which has at most k_answer_max bytes.
// Owns:   the connection.
#pragma once

#include <string>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/base/result.h"
#include "libshared/rpc/header.h"
#include "proto/codec.h"
#include "proto/control.h"
#include "proto/sessions.h"

namespace virtgate::ctl::admin {

class Daemon {
public:
    static constexpr int k_patience = 70;  // seconds: a reload has 60
    static constexpr std::size_t k_answer_max = 2'097'152;

    // Connects to the socket `path` of the daemon `name`; `type`: SOCK_STREAM or SOCK_SEQPACKET. Error: system's fault.
    static Result<Daemon> open(const std::string& path, int type, const std::string& name);

    // Calls. Error: peer's fault if the daemon refuses, else system's.
    template <class Ret, class Procedure, class Arguments>
    Result<Ret> ask(Procedure procedure, const Arguments& arguments) {
        const auto payload = proto::encode(arguments);
        if (!payload) return peer_fault(fmt::format("something is too long for {}", name_));
        return read<Ret>(exchange(header_of(procedure), *payload));
    }
    template <class Ret, class Procedure>
    Result<Ret> ask(Procedure procedure) {
        return read<Ret>(exchange(header_of(procedure), {}));
    }
    // A call without a result.
    template <class Procedure>
    Done tell(Procedure procedure, ByteView payload = {}) {
        auto answer = exchange(header_of(procedure), payload);
        if (!answer) return tl::unexpected(std::move(answer.error()));
        return {};
    }

private:
    Daemon(UniqueFd socket, std::string path, std::string name)
        : socket_(std::move(socket)), path_(std::move(path)), name_(std::move(name)) {}
    rpc::Header header_of(proto::control::Procedure procedure) noexcept;
    rpc::Header header_of(proto::sessions::Procedure procedure) noexcept;
    Result<ByteVector> exchange(const rpc::Header& header, ByteView payload);
    Result<ByteVector> receive();
    template <class Ret>
    Result<Ret> read(const Result<ByteVector>& answer) {
        if (!answer) return tl::unexpected(answer.error());
        auto ret = proto::decode<Ret>(*answer);
        if (!ret) return system_fault(0, fmt::format("{} at {} answers nonsense", name_, path_));
        return std::move(*ret);
    }

    UniqueFd socket_;
    std::string path_, name_;
    std::uint32_t serial_ = 0;
};

// Whole lists, of at most some hundred thousand rows.
[[nodiscard]] Result<std::vector<proto::control::Connection>> list_connections(Daemon& steward);
[[nodiscard]] Result<std::vector<proto::sessions::ListedSession>> list_sessions(Daemon& broker);
[[nodiscard]] Result<std::vector<proto::sessions::ListedWorker>> list_workers(Daemon& broker);

}  // namespace virtgate::ctl::admin
