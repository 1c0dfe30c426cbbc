// SPDX-License-Identifier: LGPL-2.1-or-later
// link - the lock daemon, asked by an administrator: one call after the other, each waits for its answer.
//
// Twin: lockd/locker/administration (proto/locks.x).
//
// Trust:  the daemon's answers are decoded like anybody's; names and owners in them are what clients have said, and have to
//         be escaped before a person sees them.
// Limits: k_patience for an answer, which has at most k_answer_max bytes.
// Owns:   the connection.
#pragma once

#include <string>

#include "libshared/base/fd.h"
#include "libshared/base/result.h"
#include "libshared/rpc/header.h"
#include "proto/codec.h"
#include "proto/locks.h"

namespace virtgate::ctl::locks {

class Link {
public:
    static constexpr int k_patience = 30;  // seconds
    static constexpr std::size_t k_answer_max = 2'097'152;

    // Connects to the socket `path`. Error: system's fault.
    static Result<Link> open(const std::string& path);

    // Everything that is held; in the lock space `space`, or in all (null). Empty: files that are locked themselves.
    // What changes meanwhile may or may not be in it. Error: peer's fault if the daemon refuses, else system's.
    Result<std::vector<proto::locks::ListedHold>> list(const std::string* space);
    Result<std::vector<proto::locks::ListedSpace>> list_spaces();
    Result<proto::locks::BreakRet> break_lock(const proto::locks::BreakArgs& arguments);

private:
    explicit Link(UniqueFd socket, std::string path) : socket_(std::move(socket)), path_(std::move(path)) {}
    template <class Ret, class Arguments>
    Result<Ret> ask(proto::locks::Procedure procedure, const Arguments& arguments);
    Result<ByteVector> exchange(const rpc::Header& header, ByteView payload);
    Done receive(MutableBytes bytes);

    UniqueFd socket_;
    std::string path_;
    std::uint32_t serial_ = 0;
};

}  // namespace virtgate::ctl::locks
