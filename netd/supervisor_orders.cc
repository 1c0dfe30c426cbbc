// SPDX-License-Identifier: LGPL-2.1-or-later
// supervisor_orders - the supervisor, asked by administrators through the steward.
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "config.h"
#include "libshared/logging/outputs.h"
#include "libshared/rpc/error.h"
#include "netd/supervisor.h"

namespace virtgate::netd {

namespace control = proto::control;

namespace {

// Of one gate, as in proto/config.x.
constexpr std::uint32_t k_gate_bound_max = 1'000'000;
constexpr const char* k_program_name = "virtgate-netd";
// What clients read whose sessions a drain has ended.
constexpr const char* k_drained = "the server is drained for maintenance: this connection ends";
// From that to the end of the gates: a session waits for one more call for 2 s, and gives the answer 5 s to be read.
constexpr Milliseconds k_last_words{8'000};

}  // namespace

void Supervisor::on_steward_up() noexcept {
    for (const auto& generation : generations_)
        generation->visit_counting([&](Post& post) { stewardship_.link(post); });
    publication_.link_steward();
}

control::StateRet Supervisor::tell_state() {
    control::StateRet state;
    state.version = VIRTGATE_VERSION;
    state.pid = static_cast<std::uint32_t>(getpid());
    state.since = since_;
    state.generation = served_generation_;
    state.drained = is_drained_;
    state.drained_until = drained_until_;
    if (settings_) {
        const logging::Settings& log = settings_->log;
        state.log_level = static_cast<std::uint32_t>(log.level);
        state.log_filters = logging::list_filters(log);
        state.log_outputs = logging::list_outputs(log);
        state.tls = ground_.tls.name;
        if (settings_->tcp.is_on()) state.tcp = ground_.tcp.name;
        if (settings_->local.is_on())
            state.local = ground_.local.path().empty() ? settings_->local.path : ground_.local.path();
        state.certificate_file = settings_->certificate_file;
        state.authorities_file = settings_->ca_file;
        state.revoked_file = settings_->crl_file;
    }
    for (const auto& generation : generations_) {
        if (generation->is_serving()) state.bounds = generation->bounds();
        generation->list_processes(state.processes);
    }
    for (const Post* post : {&stewardship_.post(), &announcement_.post(), &publication_.post()})
        if (!post->is_idle()) state.processes.push_back(post->describe());
    if (state.processes.size() > control::k_processes_max) state.processes.resize(control::k_processes_max);
    return state;
}

StewardshipOwner::Verdict Supervisor::change(const control::ChangeArgs& arguments) {
    const auto serving = std::find_if(generations_.begin(), generations_.end(),
                                      [](const auto& one) { return one->is_serving(); });
    if (!settings_ || (arguments.bounds && serving == generations_.end()))
        return Refusal{rpc::k_code_operation_invalid, "no gate accepts clients now"};
    if (arguments.bounds) {
        const auto& [connections, arrivals] = *arguments.bounds;
        const std::uint64_t most = std::uint64_t{k_gate_bound_max} * settings_->gates;
        if (connections == 0 || arrivals == 0 || connections > most)
            return Refusal{rpc::k_code_invalid_argument, fmt::format("a limit has to be 1 to {}", most)};
        if (arrivals > connections)
            return Refusal{rpc::k_code_invalid_argument,
                           "there cannot be more clients that are not let in yet than clients"};
    }
    if (arguments.filters)
        if (auto refusal = change_filters(arguments.filters->text)) return refusal;
    if (arguments.outputs)
        if (auto refusal = change_outputs(arguments.outputs->text)) return refusal;
    if (arguments.bounds) {
        log_.info("at most {} clients from now on, {} of them not let in yet", arguments.bounds->connections,
                  arguments.bounds->arrivals);
        (*serving)->set_bounds(*arguments.bounds);
    }
    if (arguments.verbosity) {
        constexpr auto k_configured = static_cast<std::uint32_t>(Level::error) + 1;
        const std::uint32_t level = arguments.verbosity->log_level;
        logging::Settings log = settings_->log;
        log.level = level == k_configured ? configured_level_ : static_cast<Level>(level);
        set_log(std::move(log));
    }
    return {};
}

StewardshipOwner::Verdict Supervisor::change_filters(const std::string& text) {
    auto filters = logging::parse_filters(text, k_log_names);
    if (!filters) return Refusal{rpc::k_code_invalid_argument, filters.error().text};
    logging::Settings log = settings_->log;
    log.filters = std::move(*filters);
    set_log(std::move(log));
    return {};
}

StewardshipOwner::Verdict Supervisor::change_outputs(const std::string& text) {
    auto outputs = logging::parse_outputs(text, k_program_name);
    if (!outputs) return Refusal{rpc::k_code_invalid_argument, outputs.error().text};
    logging::Settings log = settings_->log;
    log.outputs = std::move(*outputs);
    if (ground_.in_background) log.leave_terminal(k_program_name);
    if (const auto done = logging::open_outputs(log, k_program_name); !done)
        return Refusal{rpc::k_code_operation_failed, done.error().text};
    set_log(std::move(log));
    return {};
}

// What the file says has changed: the lines go there, or, where that cannot be, where they went.
void Supervisor::move_outputs(const logging::Settings& before, logging::Settings& now) noexcept {
    if (ground_.in_background) now.leave_terminal(k_program_name);
    if (now.outputs == before.outputs) return;
    if (const auto done = logging::open_outputs(now, k_program_name); !done) {
        log_.error("log_outputs stays as it was: {}", done.error().text);
        now.outputs = before.outputs;
    }
}

// In force for who runs, and for who is started of these generations.
void Supervisor::set_log(logging::Settings log) {
    set_log_level(log.of("netd"));
    for (const auto& generation : generations_) generation->set_log(log);
    announcement_.set_log(log);
    stewardship_.set_log(log);
    publication_.set_log(log);
    settings_->log = std::move(log);
    log_.info("what is logged was changed by an administrator");
}

StewardshipOwner::Verdict Supervisor::drain(const control::DrainArgs& arguments) {
    if (std::any_of(generations_.begin(), generations_.end(), [](const auto& g) { return g->is_starting(); }))
        return Refusal{rpc::k_code_resource_busy, "a reload is under way: try in a moment"};
    if (!settings_ || stopping_)
        return Refusal{rpc::k_code_operation_invalid, "there is nothing to drain: it does not serve"};
    is_drained_ = true;
    log_.info("drained by an administrator: nobody is let in any more{}",
              arguments.timeout != 0
                  ? fmt::format(", and who is still here in {} s is ended", arguments.timeout)
                  : "");
    if (const auto told = spawn::notify("STATUS=drained: nobody is let in"); !told)
        log_.warning("{}", told.error().text);
    announcement_.withdraw();
    for (const auto& generation : generations_)
        if (generation->is_serving()) generation->drain();
    drain_end_->stop();
    is_dismissed_ = false;
    drained_until_ = arguments.timeout != 0 ? std::time(nullptr) + arguments.timeout : 0;
    if (arguments.timeout != 0) drain_end_->start(std::chrono::seconds(arguments.timeout));
    return {};
}

void Supervisor::on_drain_end() noexcept {
    if (!std::exchange(is_dismissed_, true)) {
        log_.info("the time to drain is over: who is still here is ended");
        for (const auto& generation : generations_) generation->dismiss(k_drained);
        return drain_end_->start(k_last_words);
    }
    for (const auto& generation : generations_) generation->stop();
}

void Supervisor::reload(Ticket ticket) {
    if (is_drained_)
        return stewardship_.answer(ticket, Refusal{rpc::k_code_operation_invalid,
                                                   "it is drained: \"virtgate drain --end\" reads all anew"});
    asked_.push_back(ticket);
    reload();
}

void Supervisor::resume(Ticket ticket) {
    if (!is_drained_)
        return stewardship_.answer(ticket, Refusal{rpc::k_code_operation_invalid, "it is not drained"});
    if (std::any_of(generations_.begin(), generations_.end(), [](const auto& g) { return g->is_starting(); }))
        return stewardship_.answer(ticket, Refusal{rpc::k_code_resource_busy, "that is under way"});
    asked_.push_back(ticket);
    if (const auto done = begin_reload(); !done)
        answer_all(asked_, Refusal{rpc::k_code_operation_failed, done.error().text});
}

void Supervisor::answer_all(std::vector<Ticket>& tickets, const Verdict& verdict) noexcept {
    for (const Ticket ticket : std::exchange(tickets, {})) stewardship_.answer(ticket, verdict);
}

}  // namespace virtgate::netd
