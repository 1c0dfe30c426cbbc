// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-workerd - the broker: admits clients and starts the workers that serve them.
//
//   virtgate-workerd --config FILE [--daemon] [--pid-file FILE] [--check | --sandbox]
//
// SIGHUP reads the policy and the log's settings again, SIGTERM and SIGINT end it. Exit status: virtgate-workerd(8).
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>

#include "config.h"
#include "libshared/logging/outputs.h"
#include "libshared/spawn/background.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "libshared/spawn/watchdog.h"
#include "workerd/broker/broker.h"
#include "workerd/broker/confinement.h"

namespace virtgate::workerd::broker {

namespace {

constexpr const char* k_default_config = VIRTGATE_SYSCONFDIR "/workerd.toml";
constexpr const char* k_pid_file = VIRTGATE_RUNDIR "/workerd.pid";
constexpr mode_t k_mask = 0077;

class Signals {
public:
    Signals(loop::Loop& loop, Broker& broker)
        : broker_(broker),
          term_(loop.signal(SIGTERM, loop::to<&Signals::on_stop>(*this))),
          interrupt_(loop.signal(SIGINT, loop::to<&Signals::on_stop>(*this))),
          hangup_(loop.signal(SIGHUP, loop::to<&Signals::on_reload>(*this))) {}

private:
    void on_stop(loop::Want) noexcept { broker_.stop(); }
    void on_reload(loop::Want) noexcept {
        logging::reopen_outputs();
        broker_.reload();
    }
    Broker& broker_;
    std::unique_ptr<loop::Watch> term_, interrupt_, hangup_;
};

// For "virtgate config".
int show_settings(const std::string& file) {
    const auto list = list_settings(file);
    if (!list) return spawn::complain(list.error(), spawn::k_exit_config);
    fmt::print("{}", *list);
    return 0;
}

// For "virtgate sandbox". What is kept depends on the settings.
int show_sandbox(const std::string& file) {
    const auto settings = load_settings(file);
    if (!settings) return spawn::complain(settings.error(), spawn::k_exit_config);
    const auto programs = spawn::program_directory();
    if (!programs) return spawn::complain(programs.error(), spawn::k_exit_system);
    return confine::show(make_plan(*settings, *programs));
}

struct Start {
    std::string file;
    bool check_only = false;
    spawn::Background::Options background{};
};

int serve(const Start& start, std::vector<spawn::NamedFd> passed, const std::string& pid_file) {
    const auto& [file, check_only, background] = start;
    if (const auto closed = spawn::close_to_others(); !closed)
        return spawn::complain(closed.error(), spawn::k_exit_system);
    // Lost log readers and doormen are noticed where something is written to them.
    std::signal(SIGPIPE, SIG_IGN);
    umask(k_mask);
    auto settings = load_settings(file);
    if (!settings) return spawn::complain(settings.error(), spawn::k_exit_config);
    const auto programs = spawn::program_directory();
    if (!programs) return spawn::complain(programs.error(), spawn::k_exit_system);
    set_log_level(settings->log.of("workerd"));
    settings->in_background = background.daemon;
    if (background.daemon) settings->log.leave_terminal("virtgate-workerd");
    const auto loop = loop::make_event_loop();
    if (!check_only) make_store_directories(settings->store, settings->store_user);
    if (!check_only)
        if (const auto done = logging::open_outputs(settings->log, "virtgate-workerd"); !done)
            return spawn::complain(done.error(), spawn::k_exit_system);
    auto plan = make_plan(*settings, *programs);
    plan.paths.add_parents_of(pid_file, confine::PathAccess::create);
    const auto mode = static_cast<confine::Mode>(settings->sandbox);
    Broker broker(*loop, std::move(*settings), *programs, check_only);
    const Signals signals(*loop, broker);
    if (!check_only)
        if (const auto listening = broker.listen(std::move(passed)); !listening)
            return spawn::complain(listening.error(), spawn::k_exit_system);
    if (!confine::confine(std::move(plan), mode)) return spawn::k_exit_system;
    const spawn::Watchdog watchdog(*loop);
    broker.start();
    loop->run();
    return broker.status();
}

int run(const Start& start) {
    // Before anything else opens a descriptor.
    auto passed = spawn::take_listen_fds();
    if (!passed) return spawn::complain(passed.error(), spawn::k_exit_system);
    if (start.check_only) return serve(start, {}, {});
    auto background = spawn::Background::begin(start.background, k_pid_file);
    if (!background) return spawn::complain(background.error(), spawn::k_exit_system);
    return background->end(serve(start, std::move(*passed), background->pid_path()));
}

}  // namespace

}  // namespace virtgate::workerd::broker

int main(int argc, char** argv) {
    using namespace virtgate::workerd::broker;
    CLI::App app{
        "virtgate-workerd - admits clients by policy and carries their calls to local libvirt daemons"};
    Start start{.file = k_default_config};
    bool only_sandbox = false;
    bool only_settings = false;
    app.add_option("--config", start.file, "configuration file")->type_name("FILE")->capture_default_str();
    app.add_flag("--check", start.check_only, "check configuration and policy, then end");
    app.add_flag("--sandbox", only_sandbox, "only show what it takes from itself; see virtgate-sandbox(1)");
    app.add_flag("--settings", only_settings,
                 "only list the settings, with their defaults; see virtgate-config(1)");
    app.add_flag("-d,--daemon", start.background.daemon,
                 "run in the background; the command ends when the daemon serves");
    app.add_option("-p,--pid-file", start.background.pid_file,
                   "its number, and a lock that one instance has (with --daemon: " VIRTGATE_RUNDIR
                   "/workerd.pid)")
        ->type_name("FILE");
    app.set_version_flag("--version", "virtgate-workerd " VIRTGATE_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : virtgate::spawn::k_exit_usage;
    }
    // Where nothing is configured, there are the defaults of an empty file.
    if ((only_sandbox || only_settings) && app.count("--config") == 0 &&
        access(start.file.c_str(), F_OK) != 0)
        start.file = "/dev/null";
    if (only_settings) return show_settings(start.file);
    return only_sandbox ? show_sandbox(start.file) : run(start);
}
