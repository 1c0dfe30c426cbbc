// SPDX-License-Identifier: LGPL-2.1-or-later
// service - all of doorman: the supervisor's channel, a desk for each gate, the UNIX sockets, and the ways to the
// broker and to virtgate-sasl.
#include "netd/doorman/service.h"

#include "libshared/spawn/exit.h"
#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::netd::doorman {

namespace supervise = proto::supervise;
using proto::config::LoginMode;

namespace {

rpc::Header make_message(supervise::Procedure procedure) noexcept {
    return rpc::make_message(supervise::k_program, supervise::k_version, procedure);
}

bool asks_for_sasl(LoginMode mode) noexcept {
    return mode == LoginMode::login_sasl || mode == LoginMode::login_both || mode == LoginMode::login_either;
}

}  // namespace

Service::Service(loop::Loop& loop, UniqueFd parent, const Examiner& examiner,
                 const proto::config::DoormanConfig& config, Listeners listeners)
    : loop_(loop),
      tls_(config.tls),
      tcp_(config.tcp),
      local_mode_(config.local),
      broker_(loop, config.broker_socket),
      failures_(loop.clock(), config.logins),
      examiner_(examiner),
      sasl_(loop, config.logins.exchanges, loop::to<&Service::on_mechanisms>(*this)),
      tools_{.visit = {.loop = loop,
                       .broker = broker_,
                       .sasl = sasl_,
                       .failures = failures_,
                       .counts = counts_,
                       .tries = config.logins.tries},
             .examiner = examiner,
             .tls = config.tls,
             .tcp = config.tcp,
             .local = config.local,
             .login = Milliseconds{config.login}},
      sweep_(loop.timer(loop::to<&Service::on_sweep>(*this))),
      local_(loop, std::move(listeners.local), std::move(listeners.read_only),
             loop::to<&Service::on_local>(*this)),
      parent_(loop, std::move(parent), 1, loop::to<&Service::on_parent>(*this),
              loop::to<&Service::on_parent_closed>(*this)) {
    broker_.report_revoked(examiner.revoked());
}

bool Service::needs_sasl() const noexcept {
    return asks_for_sasl(tls_) || asks_for_sasl(tcp_) || asks_for_sasl(local_mode_);
}

Done Service::report_ready() {
    wants_ready_ = true;
    if (reported_ || (needs_sasl() && !has_mechanisms_)) return {};
    reported_ = true;
    return parent_.send(make_message(supervise::Procedure::ready), {});
}

void Service::on_parent(rpc::Control::Message& message) noexcept {
    if (message.header == make_message(supervise::Procedure::adopt)) return serve_adopt(message);
    if (message.header == make_message(supervise::Procedure::serve)) return local_.open();
    if (message.header == make_message(supervise::Procedure::drain)) return local_.close();
    if (message.header == make_message(supervise::Procedure::tune))
        if (const auto change = proto::decode<supervise::TuneArgs>(message.payload))
            return set_log_level(static_cast<Level>(change->log_level));
    log_.error("the supervisor sent something that doorman does not know");
}

void Service::serve_adopt(rpc::Control::Message& message) {
    const auto adopt = proto::decode<supervise::AdoptArgs>(message.payload);
    if (!adopt || message.fds.count() != 1) return log_.error("a malformed ADOPT of the supervisor");
    switch (adopt->role) {
        case supervise::PeerRole::peer_gate: {
            auto desk = std::make_unique<Desk>(tools_, adopt->index, message.fds.take(0),
                                               loop::to<&Service::on_desk_gone>(*this));
            desks_[adopt->index] = std::move(desk);
            sasl_.set_gates(desks_.size());
            return log_.debug("serves gate {}", adopt->index);
        }
        case supervise::PeerRole::peer_steward:
            steward_ = std::make_unique<rpc::Control>(loop_, message.fds.take(0), 0,
                                                      loop::to<&Service::on_steward>(*this),
                                                      loop::to<&Service::on_steward_closed>(*this));
            return;
        case supervise::PeerRole::peer_sasl: return sasl_.adopt(message.fds.take(0));
        default: break;
    }
    log_.error("ADOPT of a peer that doorman does not have");
}

// A listener without a mechanism would refuse everybody for ever: that is a mistake of the configuration.
void Service::on_mechanisms() noexcept {
    std::string_view flaw;
    if ((asks_for_sasl(tls_) || asks_for_sasl(local_mode_)) && sasl_.mechanisms(false).empty())
        flaw = "none of the configured SASL mechanisms can be had: is their package installed?";
    else if (asks_for_sasl(tcp_) && sasl_.mechanisms(true).empty())
        flaw =
            "none of the configured SASL mechanisms can encrypt, which [tcp] needs: GSSAPI and DIGEST-MD5 "
            "can";
    if (!flaw.empty()) {
        log_.error("{}", flaw);
        status_ = spawn::k_exit_config;
        return loop_.stop();
    }
    has_mechanisms_ = true;
    if (!wants_ready_) return;
    if (const auto sent = report_ready(); !sent) log_.error("{}", sent.error().text);
}

// Each gate in turn gets a client of a UNIX socket.
void Service::on_local(LocalClient& client) noexcept {
    if (desks_.empty()) return log_.warning("{} is sent away: no gate runs yet", client.name);
    auto next = desks_.lower_bound(next_gate_);
    if (next == desks_.end()) next = desks_.begin();
    next_gate_ = next->first + 1;
    next->second->receive_local(std::move(client.who), std::move(client.connection), std::move(client.name));
}

// Not from here: the caller is a method of the desk.
void Service::on_desk_gone(std::uint32_t gate) noexcept {
    const auto at = desks_.find(gate);
    if (at == desks_.end()) return;
    gone_.push_back(std::move(at->second));
    desks_.erase(at);
    sasl_.set_gates(desks_.size());
    sweep_->start(Milliseconds{0});
}

void Service::on_sweep() noexcept { gone_.clear(); }

// It asks what was counted, and nothing else.
void Service::on_steward(rpc::Control::Message& message) noexcept {
    const auto after = metrics::Pages::read_question(message);
    if (!after) {
        log_.error("the steward asked for something that doorman does not do");
        return steward_.reset();
    }
    if (*after == 0)
        pages_.set(counts_.read(examiner_.expiry(), sasl_.mechanisms(false), sasl_.mechanisms(true)));
    if (const auto sent = pages_.answer(*steward_, message.header, *after); !sent)
        log_.warning("{}", sent.error().text);
}

void Service::on_steward_closed(std::string_view) noexcept { steward_.reset(); }

void Service::on_parent_closed(std::string_view) noexcept { loop_.stop(); }

}  // namespace virtgate::netd::doorman
