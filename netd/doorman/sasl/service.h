// SPDX-License-Identifier: LGPL-2.1-or-later
// service - virtgate-sasl's two channels, the supervisor's and doorman's, and a process for each exchange.
//
// Twins: ADOPT comes from the supervisor, MECHANISMS and EXCHANGE from doorman (proto/sasl.x).
//
// Trust:  doorman is trusted to open exchanges and with nothing else. No token comes here: a client talks
//         to a process that was forked for it and that has neither a channel of this one nor another
//         client's memory.
// Limits: config.exchanges processes at a time, security layers included; one doorman, a new channel
//         replaces the old. Ends when the supervisor's channel closes, and all its processes with it.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>

#include "libshared/base/log.h"
#include "libshared/confine/filter.h"
#include "libshared/rpc/control.h"
#include "netd/doorman/sasl/library.h"
#include "proto/sasl.h"

namespace virtgate::netd::doorman::sasl {

class Service {
public:
    // Serves `parent`, the supervisor's channel; stops `loop` when that is closed. The process of each exchange loads
    // `exchange_filter`, if there is one.
    Service(loop::Loop& loop, UniqueFd parent, const Library& library,
            std::optional<confine::Filter> exchange_filter);

    // Tells the supervisor that this process serves. Error: the channel is closed.
    Done report_ready();

private:
    void on_parent(rpc::Control::Message& message) noexcept;
    void on_parent_closed(std::string_view why) noexcept;
    void on_doorman(rpc::Control::Message& message) noexcept;
    void on_doorman_closed(std::string_view why) noexcept;
    void on_child(loop::Want) noexcept;
    void answer_mechanisms(const rpc::Header& call);
    void start_exchange(proto::sasl::ExchangeArgs terms, UniqueFd channel);
    [[noreturn]] void become_exchange(pid_t parent, proto::sasl::ExchangeArgs terms,
                                      UniqueFd channel) noexcept;

    loop::Loop& loop_;
    const Library& library_;
    const std::optional<confine::Filter> exchange_filter_;
    Log log_;
    std::map<pid_t, std::uint64_t> exchanges_;  // doorman's number, by process
    Sparse unforked_;
    std::unique_ptr<loop::Watch> child_signal_;
    rpc::Control parent_;
    std::unique_ptr<rpc::Control> doorman_;
};

}  // namespace virtgate::netd::doorman::sasl
