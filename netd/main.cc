// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-netd - the network side of virtgate: reads the configuration, opens the listener, supervises the
// rest.
//
// Trust: runs as root or as the user of the unit; reads no byte of a client.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <ctime>

#include "config.h"
#include "libshared/base/wall_clock.h"
#include "libshared/logging/outputs.h"
#include "libshared/spawn/background.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "libshared/spawn/watchdog.h"
#include "netd/confinement.h"
#include "netd/ground.h"
#include "netd/supervisor.h"

namespace {

using namespace virtgate;

// For "virtgate config".
int show_settings(const std::string& path) {
    const auto list = netd::list_settings(path);
    if (!list) return spawn::complain(list.error(), spawn::k_exit_config);
    fmt::print("{}", *list);
    return 0;
}

// For "virtgate sandbox". What is kept depends on the settings.
int show_sandbox(const std::string& path) {
    const auto settings = netd::read_settings(path);
    if (!settings) return spawn::complain(settings.error(), spawn::k_exit_config);
    const auto directory = spawn::program_directory();
    if (!directory) return spawn::complain(directory.error(), spawn::k_exit_system);
    return confine::show(netd::make_plan(*settings, *directory));
}

constexpr const char* k_pid_file = VIRTGATE_RUNDIR "/netd.pid";

struct Start {
    std::string path;
    bool only_check = false;
    spawn::Background::Options background{};
};

int serve(const Start& start, std::vector<spawn::NamedFd> passed, const std::string& pid_file) {
    const std::string& path = start.path;
    auto settings = netd::read_settings(path);
    if (!settings) return spawn::complain(settings.error(), spawn::k_exit_config);
    set_log_level(settings->log.of("netd"));
    if (start.background.daemon) settings->log.leave_terminal("virtgate-netd");
    if (const std::time_t now = std::time(nullptr); now < k_released) Log{}.warning("{}", judge_clock(now));
    auto pki = netd::read_pki(*settings);
    if (!pki) return spawn::complain(pki.error(), spawn::k_exit_config);
    auto key = netd::open_key(*settings);
    if (!key) return spawn::complain(key.error(), spawn::k_exit_config);
    if (start.only_check) {
        fmt::print("{}: no mistakes found\n", path);
        return 0;
    }
    std::signal(SIGPIPE, SIG_IGN);
    // Every client of a gate needs two descriptors; children inherit the limit.
    spawn::raise_descriptor_limit();
    if (const auto done = spawn::close_to_others(); !done)
        return spawn::complain(done.error(), spawn::k_exit_system);
    auto directory = spawn::program_directory();
    if (!directory) return spawn::complain(directory.error(), spawn::k_exit_system);
    auto ground = netd::open_ground(*settings, std::move(passed));
    if (!ground) return spawn::complain(ground.error(), spawn::k_exit_system);
    ground->directory = std::move(*directory);
    ground->in_background = start.background.daemon;
    const auto loop = loop::make_event_loop();
    if (const auto done = logging::open_outputs(settings->log, "virtgate-netd"); !done)
        return spawn::complain(done.error(), spawn::k_exit_system);
    auto plan = netd::make_plan(*settings, ground->directory);
    plan.paths.add_parents_of(pid_file, confine::PathAccess::create);
    netd::Supervisor supervisor(*loop, path, std::move(*ground));
    if (!confine::confine(std::move(plan), static_cast<confine::Mode>(settings->sandbox)))
        return spawn::k_exit_system;
    const spawn::Watchdog watchdog(*loop);
    return supervisor.run(std::move(*settings), std::move(*pki), std::move(*key));
}

int run(const Start& start) {
    // Before anything else opens a descriptor.
    auto passed = spawn::take_listen_fds();
    if (!passed) return spawn::complain(passed.error(), spawn::k_exit_system);
    if (start.only_check) return serve(start, {}, {});
    auto background = spawn::Background::begin(start.background, k_pid_file);
    if (!background) return spawn::complain(background.error(), spawn::k_exit_system);
    return background->end(serve(start, std::move(*passed), background->pid_path()));
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"The network side of virtgate.", "virtgate-netd"};
    Start start{.path = VIRTGATE_SYSCONFDIR "/netd.toml"};
    bool only_sandbox = false;
    bool only_settings = false;
    app.add_option("--config", start.path, "the configuration file")
        ->type_name("FILE")
        ->capture_default_str();
    app.add_flag("--check", start.only_check, "only check the configuration and the files that it names");
    app.add_flag("--sandbox", only_sandbox, "only show what it takes from itself; see virtgate-sandbox(1)");
    app.add_flag("--settings", only_settings,
                 "only list the settings, with their defaults; see virtgate-config(1)");
    app.add_flag("-d,--daemon", start.background.daemon,
                 "run in the background; the command ends when the daemon serves");
    app.add_option("-p,--pid-file", start.background.pid_file,
                   "its number, and a lock that one instance has (with --daemon: " VIRTGATE_RUNDIR
                   "/netd.pid)")
        ->type_name("FILE");
    app.set_version_flag("--version", "virtgate-netd " VIRTGATE_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {  // the library's way to say it, for --help too
        return app.exit(error) == 0 ? 0 : virtgate::spawn::k_exit_usage;
    }
    // Where nothing is configured, there are the defaults of an empty file.
    if ((only_sandbox || only_settings) && app.count("--config") == 0 &&
        access(start.path.c_str(), F_OK) != 0)
        start.path = "/dev/null";
    if (only_settings) return show_settings(start.path);
    return only_sandbox ? show_sandbox(start.path) : run(start);
}
