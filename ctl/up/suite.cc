// SPDX-License-Identifier: LGPL-2.1-or-later
// suite - the daemons of virtgate as children of this process: started in order, kept running, ended together.
#include "ctl/up/suite.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "ctl/files.h"
#include "ctl/up/configuration.h"
#include "ctl/up/console.h"
#include "ctl/up/uri.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::up {

namespace {

bool is_ignored(int number) noexcept {
    struct sigaction now {};
    return sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace

Suite::Suite(loop::Loop& loop, Setup setup)
    : loop_(loop),
      setup_(std::move(setup)),
      options_(setup_.options),
      places_(setup_.places),
      lockd_(loop, *this, "lockd", places_.lockd_toml),
      workerd_(loop, *this, "workerd", places_.workerd_toml),
      netd_(loop, *this, "netd", places_.netd_toml) {
    notice_watch_ = loop.watch(setup_.notices.fd(), loop::Want::read, loop::to<&Suite::on_notice>(*this));
    impatience_ = loop.timer(loop::to<&Suite::on_impatient>(*this));
    for (const int number : {SIGTERM, SIGINT})
        signals_.push_back(loop.signal(number, loop::to<&Suite::on_signal>(*this)));
    // The terminal has gone away; but nohup(1) starts programs that are to stay.
    if (!is_ignored(SIGHUP)) signals_.push_back(loop.signal(SIGHUP, loop::to<&Suite::on_signal>(*this)));
}

Suite::~Suite() {
    unlink(places_.ready.c_str());
    unlink(places_.restart_toml.c_str());
}

Suite::Daemon& Suite::daemon_of(const spawn::Ward& ward) noexcept {
    for (Daemon* daemon : daemons_)
        if (&daemon->ward == &ward) return *daemon;
    panic("a ward that belongs to no daemon");
}

int Suite::run() noexcept {
    go_on();
    loop_.run();
    return status_;
}

// --- starting ---

// Asked before every start, also after a death: netd's configuration is another one then (keep_port()).
Result<spawn::Launch> Suite::plan(spawn::Ward& ward) {
    spawn::Launch launch;
    launch.path = fmt::format("{}/virtgate-{}", setup_.programs, ward.name());
    const Daemon& daemon = daemon_of(ward);
    launch.arguments = {"--config", daemon.config};
    launch.environment = {"NOTIFY_SOCKET=" + places_.notify_socket};
    if (&daemon == &lockd_) {
        launch.environment.push_back(fmt::format("FDSTORE={}", FdStore::k_fds_max));
        launch.listen = fds_.list();
    }
    launch.log_lines_per_second = k_log_lines_per_second;
    launch.keeps_capabilities = true;
    return launch;
}

void Suite::on_started(spawn::Ward& ward, UniqueFd) noexcept {
    Daemon& daemon = daemon_of(ward);
    daemon.pid = ward.pid();
    daemon.due = loop_.clock().now() + k_patience;
    if (!impatience_->running()) impatience_->start(k_patience);
}

// Starts the next daemon, or serves when all of them are ready.
void Suite::go_on() noexcept {
    for (Daemon* daemon : daemons_) {
        if (daemon->ready) continue;
        if (daemon->ward.is_idle()) daemon->ward.start();
        return;
    }
    serve();
}

void Suite::on_notice(loop::Want) noexcept {
    while (std::optional<Notice> notice = setup_.notices.receive()) take(std::move(*notice));
}

// A notice of a process that has died meanwhile, or of a stranger, has a pid that is nobody's here.
void Suite::take(Notice notice) {
    if (state_ == State::ending) return;
    for (Daemon* daemon : daemons_) {
        if (notice.pid != daemon->pid) continue;
        if (daemon == &lockd_) take_descriptor(notice);
        if (daemon == &netd_ && notice.tls_port) ports_.tls = *notice.tls_port;
        if (daemon == &netd_ && notice.tcp_port) ports_.tcp = *notice.tcp_port;
        if (!notice.ready || daemon->ready) continue;
        if (daemon == &netd_ && ports_.tls == 0) {
            log_.error("netd is ready, but has not said on which port");
            return end(spawn::k_exit_system);
        }
        daemon->ready = true;
        daemon->due.reset();
        if (state_ == State::starting) return go_on();
        log_.info("{} runs again", daemon->ward.name());
        if (daemon == &netd_) publish_port();
    }
}

// Nobody else than lockd has anything to leave.
void Suite::take_descriptor(Notice& notice) {
    if (notice.removes) fds_.remove(notice.name);
    if (!notice.stores || !notice.fd) return;
    if (!fds_.keep(notice.name, std::move(notice.fd)))
        log_.error("lockd left a descriptor \"{}\" that cannot be kept; {} are", escape(notice.name),
                   fds_.count());
}

// One timer for all daemons: it goes off for the one that has waited longest, and is set again for the others.
void Suite::on_impatient() noexcept {
    const Instant now = loop_.clock().now();
    for (Daemon* daemon : daemons_) {
        if (!daemon->due) continue;
        if (*daemon->due > now) {
            impatience_->start(std::chrono::ceil<Milliseconds>(*daemon->due - now));
            continue;
        }
        daemon->due.reset();
        log_.error("{} is not ready after {} s", daemon->ward.name(), k_patience.count() / 1000);
        if (state_ == State::starting) return end(spawn::k_exit_system);
        daemon->ward.stop(k_grace);  // on_ended() starts it anew
    }
}

// --- serving ---

// From here on a death is no reason to give up: it worked once, so it will again.
void Suite::serve() noexcept {
    state_ = State::serving;
    for (Daemon* daemon : daemons_) daemon->ward.set_restart(spawn::Ward::Restart::always);
    keep_port();
    publish_port();
    if (state_ == State::serving) greet();
}

// A netd that was killed must come back on the port that clients know.
void Suite::keep_port() noexcept {
    if (setup_.netd_edited) return;
    if (Done done = write_restart_configuration(options_, places_, ports_); done)
        netd_.config = places_.restart_toml;
    else
        log_.warning("{}; netd may get another port when it is started again", done.error().text);
}

// Scripts wait for this file: it appears complete, and only while clients are really served.
void Suite::publish_port() noexcept {
    std::string text = fmt::format("tls_port={}\n", ports_.tls);
    if (ports_.tcp != 0) text += fmt::format("tcp_port={}\n", ports_.tcp);
    if (Done done = replace_file(places_.ready, text, 0644); !done) {
        log_.error("{}", done.error().text);
        end(spawn::k_exit_system);
    }
}

void Suite::greet() noexcept {
    std::string text = fmt::format(
        "\nvirtgate runs from {0}: netd, workerd and lockd, with their children.\n"
        "  clients   come over TLS to localhost, port {1}, with the certificate in {2},\n"
        "            or as this user to {6}\n"
        "  locks     on disks are taken at {7}\n"
        "  rules     {3}\n"
        "  settings  {4} and {5}\n",
        places_.directory, ports_.tls, places_.pki_client, places_.policy_file, places_.netd_toml,
        places_.workerd_toml, places_.local_socket, places_.lock_socket);
    for (const Upstream& upstream : options_.upstreams)
        text += fmt::format("  upstream  {} at {}\n", upstream.uri, upstream.socket);
    text += "Try it:\n";
    const auto add = [&](const std::string& uri) {
        text += fmt::format("  virsh -c '{}' list --all\n", tls_uri(uri, ports_.tls, places_.pki_client));
    };
    for (const Upstream& upstream : options_.upstreams) add(upstream.uri);
    if (options_.upstreams.empty()) add("qemu:///system");
    text += "Ctrl-C ends it.\n\n";
    tell(text);
}

// --- ending ---

void Suite::on_signal(loop::Want) noexcept {
    if (state_ == State::ending) {
        log_.warning("a second signal: what still runs is killed");
        return loop_.stop();  // the wards kill and reap in their destructors
    }
    log_.info("ending");
    end(0);
}

void Suite::on_ended(spawn::Ward& ward, const spawn::Exit& exit) noexcept {
    Daemon& daemon = daemon_of(ward);
    // What it said before it died counts: the next one gets what this one left.
    on_notice(loop::Want::read);
    daemon.pid = -1;
    daemon.ready = false;
    daemon.due.reset();
    switch (state_) {
        case State::starting:
            log_.error("{} {} before it was ready; its last lines above say why", ward.name(),
                       spawn::describe(exit));
            return end(exit.is_for_administrator() || exit.is_waiting() ? exit.number : spawn::k_exit_system);
        case State::serving:
            if (&daemon == &netd_) unlink(places_.ready.c_str());
            if (ward.is_idle())  // on_impatient() stopped it
                ward.start();
            return;
        case State::ending: return end_next();
    }
}

// Every way out leads through here; the status is that of the first reason.
void Suite::end(int status) noexcept {
    if (state_ != State::ending) status_ = status;
    state_ = State::ending;
    impatience_->stop();
    unlink(places_.ready.c_str());
    end_next();
}

// Ends netd first: it turns clients away while their sessions still have workers. Locks go last.
void Suite::end_next() noexcept {
    for (auto daemon = daemons_.rbegin(); daemon != daemons_.rend(); ++daemon) {
        (*daemon)->ward.stop(k_grace);
        if (!(*daemon)->ward.is_idle()) return;
    }
    loop_.stop();
}

}  // namespace virtgate::ctl::up
