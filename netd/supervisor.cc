// SPDX-License-Identifier: LGPL-2.1-or-later
// supervisor - has one generation of processes serve, replaces it on a reload, and ends all on a signal.
#include "netd/supervisor.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>

#include "config.h"
#include "libshared/logging/outputs.h"
#include "libshared/rpc/error.h"
#include "libshared/spawn/census.h"
#include "libshared/spawn/notify.h"

namespace virtgate::netd {

namespace {

const StewardshipOwner::Refusal k_failed{rpc::k_code_operation_failed,
                                         "the new processes do not become ready: everything stays as it was; "
                                         "the log says why"};

constexpr std::uint32_t k_index_max = 1023;  // see adopt_args in proto/supervise.x

void tell(std::string_view state) {
    if (const auto told = spawn::notify(state); !told) Log().warning("{}", told.error().text);
}

}  // namespace

Supervisor::Supervisor(loop::Loop& loop, std::string path, Ground ground)
    : loop_(loop),
      path_(std::move(path)),
      ground_(std::move(ground)),
      announcement_(loop, ground_, loop::to<&Supervisor::on_withdrawn>(*this)),
      stewardship_(loop, ground_, *this),
      publication_(loop, ground_, stewardship_, loop::to<&Supervisor::on_withdrawn>(*this)),
      since_(std::time(nullptr)),
      drain_end_(loop.timer(loop::to<&Supervisor::on_drain_end>(*this))),
      files_(loop, loop::to<&Supervisor::on_files_changed>(*this)) {
    for (const int number : {SIGTERM, SIGINT})
        signals_.push_back(loop.signal(number, loop::to<&Supervisor::on_stop_signal>(*this)));
    signals_.push_back(loop.signal(SIGHUP, loop::to<&Supervisor::on_reload_signal>(*this)));
}

int Supervisor::run(Settings settings, Pki pki, UniqueFd key) {
    find_users(settings);
    files_.set(settings.watched_files());
    spawn::Census::of_this_process().add_self("netd");
    stewardship_.set(settings);
    publication_.set(settings);
    add_generation(std::move(settings), std::move(pki), std::move(key));
    loop_.run();
    return status_;
}

// As root every role runs as a user of its own, if the package made these users.
void Supervisor::find_users(const Settings& settings) {
    if (geteuid() != 0 || !settings.user_switch) return;
    const std::pair<Role, const char*> wanted[] = {{Role::gate, VIRTGATE_NET_USER},
                                                   {Role::keeper, VIRTGATE_KEY_USER},
                                                   {Role::doorman, VIRTGATE_AUTH_USER},
                                                   {Role::sasl, VIRTGATE_AUTH_USER}};
    for (const auto& [role, name] : wanted) {
        auto user = spawn::find_user(name);
        if (user && *user)
            ground_.users.emplace(role, std::move(**user));
        else
            log_.warning("there is no user {}: processes that should run as it run as root", name);
    }
    if (const auto gate = ground_.users.find(Role::gate); gate != ground_.users.end())
        for (const Role role : {Role::announcer, Role::steward, Role::exporter})
            ground_.users.emplace(role, gate->second);
}

void Supervisor::add_generation(Settings settings, Pki pki, UniqueFd key) {
    std::vector<std::uint32_t> indices;
    for (std::uint32_t index = 0; index <= k_index_max && indices.size() < settings.gates; ++index)
        if (std::none_of(generations_.begin(), generations_.end(),
                         [&](const auto& g) { return g->has_gate(index); }))
            indices.push_back(index);
    GenerationOwner& self = *this;
    generations_.push_back(std::make_unique<Generation>(loop_, self, ground_, std::move(settings),
                                                        std::move(pki), std::move(key), indices));
    generations_.back()->set_number(++last_generation_);
    generations_.back()->start();
}

void Supervisor::on_counting_up(Generation&, Post& post) noexcept {
    post.set_serial(++last_gate_);
    stewardship_.link(post);
}

void Supervisor::tell_where(const Settings& settings) noexcept {
    std::string where = fmt::format("TLS on {}", ground_.tls.name);
    std::string variables = fmt::format("X_VIRTGATE_TLS_PORT={}", ground_.tls.port);
    if (settings.tcp.is_on()) {
        where += fmt::format(", TCP on {}", ground_.tcp.name);
        variables += fmt::format("\nX_VIRTGATE_TCP_PORT={}", ground_.tcp.port);
    }
    if (settings.local.is_on())
        where +=
            fmt::format(", {}", ground_.local.path().empty() ? "passed UNIX sockets" : ground_.local.path());
    log_.info("serving {} with {} gates", where, settings.gates);
    tell(fmt::format("READY=1\nSTATUS=serving {}\n{}", where, variables));
}

void Supervisor::on_serving(Generation& generation) noexcept {
    set_log_level(generation.settings().log.of("netd"));
    for (const auto& older : generations_)
        if (older.get() != &generation && older->is_serving()) older->drain();
    tell_where(generation.settings());
    announcement_.set(generation.settings());
    Settings settings = generation.settings();
    if (settings_) move_outputs(settings_->log, settings.log);
    settings_ = std::move(settings);
    configured_level_ = settings_->log.level;
    served_generation_ = generation.number();
    served_since_ = std::time(nullptr);
    ++loads_;
    stewardship_.set(*settings_);
    publication_.set(*settings_);
    is_drained_ = false;
    drain_end_->stop();
    drained_until_ = 0;
    answer_all(under_way_, {});
    reload_later();
}

void Supervisor::on_failed(Generation& generation, int status) noexcept {
    ++failed_loads_;
    for (const auto& older : generations_) {
        if (older.get() == &generation || !older->is_serving()) continue;
        log_.error("the reload failed: everything stays as it was");
        generation.stop();
        tell_where(older->settings());
        answer_all(under_way_, k_failed);
        return reload_later();
    }
    if (is_drained_) {
        log_.error("nobody is let in as before");
        generation.stop();
        return answer_all(under_way_, k_failed);
    }
    log_.error("giving up");
    stop(status);
}

void Supervisor::on_ended(Generation& generation) noexcept {
    std::erase_if(generations_, [&](const auto& g) { return g.get() == &generation; });
    end_if_all_have_ended();
}

void Supervisor::on_withdrawn() noexcept { end_if_all_have_ended(); }

void Supervisor::end_if_all_have_ended() noexcept {
    if (stopping_ && generations_.empty() && announcement_.is_idle() && stewardship_.post().is_idle() &&
        publication_.post().is_idle())
        loop_.stop();
}

void Supervisor::on_stop_signal(loop::Want) noexcept {
    log_.info("stopping");
    tell("STOPPING=1");
    stop(0);
}

void Supervisor::stop(int status) noexcept {
    if (stopping_) return;
    stopping_ = true;
    status_ = status;
    drain_end_->stop();
    publication_.stop();
    stewardship_.stop();
    announcement_.withdraw();  // nobody is sent here any more
    for (const auto& generation : generations_) generation->stop();
}

void Supervisor::on_reload_signal(loop::Want) noexcept {
    logging::reopen_outputs();
    reload();
}

void Supervisor::on_files_changed() noexcept { reload(); }

void Supervisor::reload_later() noexcept {
    if (std::exchange(reload_waits_, false)) reload();
}

void Supervisor::reload() {
    if (stopping_) return;
    if (is_drained_) return log_.info("not reloading: drained, until an administrator has it resume");
    // One at a time. A generation that failed and is still ending is none.
    const auto newest = std::find_if(generations_.rbegin(), generations_.rend(),
                                     [](const auto& g) { return g->is_starting() || g->is_serving(); });
    if (newest == generations_.rend() || (*newest)->is_starting()) {
        log_.info("a reload waits for the one that is under way");
        reload_waits_ = true;
        return;
    }
    if (const auto done = begin_reload(); !done) {
        ++failed_loads_;
        log_.error("not reloading: {}", done.error().text);
        answer_all(asked_, Refusal{rpc::k_code_operation_failed, done.error().text});
    }
}

// Reads everything and starts a generation of it. Error: why that cannot be.
Done Supervisor::begin_reload() {
    auto settings = read_settings(path_);
    if (!settings) return tl::unexpected(std::move(settings.error()));
    auto pki = read_pki(*settings);
    if (!pki) return tl::unexpected(std::move(pki.error()));
    auto key = open_key(*settings);
    if (!key) return tl::unexpected(std::move(key.error()));
    files_.set(settings->watched_files());
    const Settings& old = *settings_;
    if (!settings->tls.is_at(old.tls) || !settings->tcp.is_at(old.tcp) || !settings->local.is_at(old.local) ||
        settings->admin != old.admin || settings->metrics != old.metrics)
        log_.warning("listeners stay where they are until virtgate-netd is started again");
    // What has to be proved there may change, where they are may not.
    const auto keep = [](auto& now, const auto& before) {
        const auto login = now.is_on() && before.is_on() ? now.login : before.login;
        now = before;
        now.login = login;
    };
    keep(settings->tls, old.tls);
    keep(settings->tcp, old.tcp);
    keep(settings->local, old.local);
    settings->admin = old.admin;
    settings->metrics = old.metrics;
    log_.info("reloading: new gates take over when they are ready");
    tell("STATUS=reloading");
    under_way_ = std::exchange(asked_, {});
    add_generation(std::move(*settings), std::move(*pki), std::move(*key));
    return {};
}

}  // namespace virtgate::netd
