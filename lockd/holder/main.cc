// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-lockd - the holder of the lock daemon: keeps locks over everything that can happen to who serves them.
//
//   virtgate-lockd --config FILE [--daemon] [--pid-file FILE] [--check | --sandbox]
//
// SIGHUP and SIGUSR1 make it go on as the executable and with the settings that are there now; SIGTERM and SIGINT end it.
// Exit status: 0; 64 wrong command line; 71 the machine is in the way; 78 the configuration is wrong.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>

#include "config.h"
#include "libshared/base/path_fault.h"
#include "libshared/logging/outputs.h"
#include "libshared/spawn/background.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "libshared/spawn/watchdog.h"
#include "lockd/holder/confinement.h"
#include "lockd/holder/holder.h"
#include "lockd/holder/reload_signals.h"

namespace virtgate::lockd::holder {

namespace {

constexpr const char* k_default_config = VIRTGATE_SYSCONFDIR "/lockd.toml";
constexpr const char* k_pid_file = VIRTGATE_RUNDIR "/lockd.pid";
constexpr mode_t k_mask = 0077;
constexpr mode_t k_private = 0700;
constexpr int k_backlog = 1024;

class Signals {
public:
    Signals(loop::Loop& loop, Holder& holder)
        : holder_(holder),
          term_(loop.signal(SIGTERM, loop::to<&Signals::on_stop>(*this))),
          interrupt_(loop.signal(SIGINT, loop::to<&Signals::on_stop>(*this))),
          hangup_(loop.signal(SIGHUP, loop::to<&Signals::on_reload>(*this))),
          upgrade_(loop.signal(SIGUSR1, loop::to<&Signals::on_reload>(*this))) {
        unblock_reload_signals();
    }

private:
    void on_stop(loop::Want) noexcept { holder_.stop(); }
    void on_reload(loop::Want) noexcept { holder_.reload(); }
    Holder& holder_;
    std::unique_ptr<loop::Watch> term_, interrupt_, hangup_, upgrade_;
};

// A holder that was killed while it started a locker lives on for a moment in that child, which has the lock, too, and is
// killed with it.
bool lock_directory(int directory) noexcept {
    constexpr int k_tries = 200;
    constexpr useconds_t k_pause = 10'000;
    for (int i = 0; i < k_tries; ++i) {
        if (flock(directory, LOCK_EX | LOCK_NB) == 0) return true;
        if (errno != EWOULDBLOCK && errno != EINTR) return false;
        usleep(k_pause);
    }
    return false;
}

// The directory of the state, for this process alone: made if it is missing, and locked as long as the result is open.
Result<UniqueFd> occupy(const std::string& directory) {
    if (mkdir(directory.c_str(), k_private) < 0 && errno != EEXIST)
        return path_fault(errno, "cannot make", directory);
    UniqueFd lock{open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    struct stat about {};
    if (!lock || fstat(lock.get(), &about) < 0) return path_fault(errno, "cannot open", directory);
    if (about.st_uid != geteuid() || (about.st_mode & 022) != 0)
        return system_fault(0,
                            fmt::format("{} belongs to uid {} with mode {:04o}: it has to be uid {}'s, and "
                                        "nobody else may write to it",
                                        directory, about.st_uid, about.st_mode & 07777, geteuid()));
    if (!lock_directory(lock.get())) {
        if (errno == EWOULDBLOCK)
            return taken(
                fmt::format("another virtgate-lockd uses {}: stop it, or set state_directory", directory));
        return path_fault(errno, "cannot lock", directory);
    }
    return lock;
}

// What a lock space would be made in. Where that fails, there can be none; the locker says so when it is asked.
void make_lock_spaces(const Settings& settings) {
    for (const std::string& directory : settings.lock_spaces)
        if (mkdir(directory.c_str(), k_private) < 0 && errno != EEXIST)
            Log{}.info("no lock space can be in {}, which is not there", directory);
}

struct Listeners {
    channel::LocalListener own, libvirt;
    bool opened_own = false, opened_libvirt = false;
};

// The listener `name` at `path`: the one that was inherited, if it still is what the settings say, or a new one; `opened`
// says which. Empty for an empty path that nobody passed.
Result<channel::LocalListener> find_listener(Inheritance& inheritance, std::string_view name,
                                             const std::string& path, bool for_others, bool& opened) {
    for (auto& socket : inheritance.sockets) {
        if (socket.name != name) continue;
        const bool fits = socket.path.empty() || socket.path == path;
        auto listener = channel::LocalListener::adopt(std::move(socket.fd), std::move(socket.path));
        if (fits) return listener;
        // The settings have changed: the old name goes with this object.
    }
    opened = !path.empty();
    if (path.empty()) return channel::LocalListener{};
    // Who may connect is judged by the locker; the mode only spares the others the attempt.
    return channel::LocalListener::open(
        path, {.type = SOCK_STREAM, .mode = for_others ? mode_t{0666} : mode_t{0600}, .backlog = k_backlog});
}

Result<Listeners> find_listeners(const Settings& settings, Inheritance& inheritance) {
    const auto is_other = [](uid_t uid) { return uid != 0 && uid != geteuid(); };
    const bool for_others =
        std::any_of(settings.users.begin(), settings.users.end(), is_other) ||
        std::any_of(settings.session_users.begin(), settings.session_users.end(), is_other);
    Listeners listeners;
    auto own = find_listener(inheritance, k_own, settings.socket, for_others, listeners.opened_own);
    if (!own) return tl::unexpected(std::move(own.error()));
    listeners.own = std::move(*own);
    auto libvirt =
        find_listener(inheritance, k_libvirt, settings.libvirt_socket, for_others, listeners.opened_libvirt);
    if (!libvirt) return tl::unexpected(std::move(libvirt.error()));
    listeners.libvirt = std::move(*libvirt);
    return listeners;
}

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
    return confine::show(make_plan(*settings, file, *programs));
}

int serve(const std::string& file, const Settings& settings, const std::string& pid_file,
          Inheritance inheritance, char** argv) {
    const auto fail = [](const Error& error) { return spawn::complain(error, spawn::k_exit_system); };
    const auto program = spawn::program_path();
    if (!program) return fail(program.error());
    const auto programs = program->substr(0, program->rfind('/'));
    const auto occupied = occupy(settings.state_directory);
    if (!occupied) return spawn::complain(occupied.error(), spawn::k_exit_config);
    const auto boot = find_boot_id(settings.state_directory);
    if (!boot) return fail(boot.error());
    auto journal = Journal::open(settings.state_directory + "/journal", *boot);
    if (!journal) return fail(journal.error());
    if (journal->cut != 0) Log{}.info("{} bytes at the end of the journal were not complete", journal->cut);
    make_lock_spaces(settings);
    auto listeners = find_listeners(settings, inheritance);
    if (!listeners) return fail(listeners.error());

    const auto loop = loop::make_event_loop();
    const auto mode = static_cast<confine::Mode>(settings.sandbox);
    const bool confined = inheritance.confined || confine::effective(mode) != confine::Mode::off;
    Holder holder(*loop,
                  {.settings = settings,
                   .settings_file = file,
                   .program = *program,
                   .locker = programs + "/virtgate-locker",
                   .leaser = programs + "/virtgate-leaser",
                   .argv = argv,
                   .own = std::move(listeners->own),
                   .libvirt = std::move(listeners->libvirt),
                   .opened_own = listeners->opened_own,
                   .opened_libvirt = listeners->opened_libvirt,
                   .confined = confined,
                   .reach = inheritance.confined ? inheritance.reach : reach_of(settings)},
                  std::move(journal->journal));
    if (const auto done = holder.recover(std::move(journal->entries), inheritance); !done)
        return fail(done.error());
    const Signals signals(*loop, holder);
    auto plan = make_plan(settings, file, programs);
    plan.paths.add_parents_of(pid_file, confine::PathAccess::create);
    if (!(inheritance.confined ? confine_again() : confine::confine(std::move(plan), mode)))
        return spawn::k_exit_system;
    const spawn::Watchdog watchdog(*loop);
    holder.start();
    loop->run();
    return holder.status();
}

struct Start {
    std::string file;
    bool check_only = false;
    spawn::Background::Options background{};
};

int run(const Start& start, char** argv) {
    // First of all, since these descriptors have numbers that somebody else could take.
    auto inheritance = take_inheritance();
    if (!inheritance) return spawn::complain(inheritance.error(), spawn::k_exit_system);
    if (const auto closed = spawn::close_to_others(); !closed)
        return spawn::complain(closed.error(), spawn::k_exit_system);
    // Lost log readers and lockers are noticed where something is written to them.
    std::signal(SIGPIPE, SIG_IGN);
    umask(k_mask);
    auto settings = load_settings(start.file);
    if (!settings) return spawn::complain(settings.error(), spawn::k_exit_config);
    set_log_level(settings->log.of("lockd"));
    if (start.check_only) return 0;
    auto background = spawn::Background::begin(start.background, k_pid_file);
    if (!background) return spawn::complain(background.error(), spawn::k_exit_system);
    if (start.background.daemon) settings->log.leave_terminal("virtgate-lockd");
    if (const auto done = logging::open_outputs(settings->log, "virtgate-lockd"); !done)
        return background->end(spawn::complain(done.error(), spawn::k_exit_system));
    // A descriptor for each lock and each client.
    spawn::raise_descriptor_limit();
    return background->end(
        serve(start.file, *settings, background->pid_path(), std::move(*inheritance), argv));
}

}  // namespace

}  // namespace virtgate::lockd::holder

int main(int argc, char** argv) {
    using namespace virtgate::lockd::holder;
    block_reload_signals();
    CLI::App app{"virtgate-lockd - keeps locks on disks, and what they need to outlive whoever serves them"};
    Start start{.file = k_default_config};
    bool only_sandbox = false;
    bool only_settings = false;
    app.add_option("--config", start.file, "configuration file")->type_name("FILE")->capture_default_str();
    app.add_flag("--check", start.check_only, "check the configuration, then end");
    app.add_flag("--sandbox", only_sandbox, "only show what it takes from itself; see virtgate-sandbox(1)");
    app.add_flag("--settings", only_settings,
                 "only list the settings, with their defaults; see virtgate-config(1)");
    app.add_flag("-d,--daemon", start.background.daemon,
                 "run in the background; the command ends when the daemon serves");
    app.add_option("-p,--pid-file", start.background.pid_file,
                   "its number, and a lock that one instance has (with --daemon: " VIRTGATE_RUNDIR
                   "/lockd.pid)")
        ->type_name("FILE");
    app.set_version_flag("--version", "virtgate-lockd " VIRTGATE_VERSION);
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
    return only_sandbox ? show_sandbox(start.file) : run(start, argv);
}
