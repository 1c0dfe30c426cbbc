// SPDX-License-Identifier: LGPL-2.1-or-later
// service - virtgate-sasl's two channels, the supervisor's and doorman's, and a process for each exchange.
#include "netd/doorman/sasl/service.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "libshared/base/path_fault.h"
#include "libshared/rpc/error.h"
#include "libshared/spawn/exit.h"
#include "netd/doorman/sasl/exchange.h"
#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::netd::doorman::sasl {

namespace supervise = proto::supervise;
namespace wire = proto::sasl;

namespace {

// Where an exchange has its channel; all that is above it is closed.
constexpr int k_exchange_channel = 3;

}  // namespace

Service::Service(loop::Loop& loop, UniqueFd parent, const Library& library,
                 std::optional<confine::Filter> exchange_filter)
    : loop_(loop),
      library_(library),
      exchange_filter_(std::move(exchange_filter)),
      child_signal_(loop.signal(SIGCHLD, loop::to<&Service::on_child>(*this))),
      parent_(loop, std::move(parent), 1, loop::to<&Service::on_parent>(*this),
              loop::to<&Service::on_parent_closed>(*this)) {}

Done Service::report_ready() {
    return parent_.send(
        rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::ready), {});
}

void Service::on_parent(rpc::Control::Message& message) noexcept {
    // The processes of logins that are under way keep what they had.
    if (message.header ==
        rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::tune))
        if (const auto change = proto::decode<supervise::TuneArgs>(message.payload))
            return set_log_level(static_cast<Level>(change->log_level));
    const auto adopt = proto::decode<supervise::AdoptArgs>(message.payload);
    if (message.header !=
            rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::adopt) ||
        !adopt || adopt->role != supervise::PeerRole::peer_doorman || message.fds.count() != 1)
        return log_.error("the supervisor sent something that is not known here");
    doorman_ =
        std::make_unique<rpc::Control>(loop_, message.fds.take(0), 1, loop::to<&Service::on_doorman>(*this),
                                       loop::to<&Service::on_doorman_closed>(*this));
    log_.debug("serves doorman");
}

void Service::on_parent_closed(std::string_view) noexcept { loop_.stop(); }

void Service::on_doorman(rpc::Control::Message& message) noexcept {
    const rpc::Header& header = message.header;
    if (header ==
            rpc::make_call(wire::k_program, wire::k_version, wire::Procedure::mechanisms, header.serial) &&
        message.payload.empty() && message.fds.count() == 0)
        return answer_mechanisms(header);
    auto terms = proto::decode<wire::ExchangeArgs>(message.payload);
    if (header !=
            rpc::make_message(wire::k_program, wire::k_version, wire::Procedure::exchange, header.serial) ||
        !terms || message.fds.count() != 1) {
        log_.error("doorman sent something that is not known here: its channel is closed");
        return doorman_.reset();
    }
    start_exchange(std::move(*terms), message.fds.take(0));
}

void Service::on_doorman_closed(std::string_view why) noexcept {
    log_.debug("the channel to doorman is closed: {}", why);
    doorman_.reset();
}

void Service::answer_mechanisms(const rpc::Header& call) {
    const auto payload = proto::encode(wire::MechanismsRet{library_.offered(false), library_.offered(true)},
                                       rpc::Control::k_payload_max);
    require(payload.has_value(), "more mechanisms than there are");
    if (const auto sent = doorman_->send_reply(call, *payload); !sent)
        log_.warning("doorman does not take an answer: {}", sent.error().text);
}

void Service::start_exchange(wire::ExchangeArgs terms, UniqueFd channel) {
    const std::uint64_t number = terms.exchange;
    if (exchanges_.size() >= library_.config().exchanges)
        return log_.warning("exchange {} is refused: {} processes run already", number, exchanges_.size());
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) become_exchange(parent, std::move(terms), std::move(channel));
    if (pid < 0) {
        if (const int error = errno; unforked_.next())
            log_.error("cannot make a process for exchange {}, {} times so far: {}{}", number,
                       unforked_.count(), std::strerror(error), advice_for(error));
    } else {
        exchanges_.emplace(pid, number);
    }
}

void Service::become_exchange(pid_t parent, wire::ExchangeArgs terms, UniqueFd channel) noexcept {
    signal(SIGCHLD, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "sasl-exchange");
    // Either the parent was still there when its death began to count, or this sees that it is gone.
    if (getppid() != parent) _exit(0);
    // Nothing that is destroyed in this process may touch the loop or a socket of the parent's: it ends by
    // _exit().
    const bool moved = channel.get() == k_exchange_channel || dup2(channel.get(), k_exchange_channel) >= 0;
    static_cast<void>(channel.release());
    if (!moved || close_range(k_exchange_channel + 1, ~0U, 0) < 0) _exit(spawn::k_exit_system);
    confine::Report report(confine::Demand::best_effort);
    if (exchange_filter_ && !exchange_filter_->load(report)) _exit(spawn::k_exit_system);
    library_.enter_exchange();
    Exchange(library_, std::move(terms), UniqueFd{k_exchange_channel}).run();
    _exit(0);
}

void Service::on_child(loop::Want) noexcept {
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        const auto at = exchanges_.find(pid);
        if (at == exchanges_.end()) continue;
        const bool by_signal = WIFSIGNALED(status);
        const spawn::Exit exit{by_signal, by_signal ? WTERMSIG(status) : WEXITSTATUS(status)};
        if (!exit.success()) log_.warning("exchange {} {}", at->second, spawn::describe(exit));
        exchanges_.erase(at);
    }
}

}  // namespace virtgate::netd::doorman::sasl
