// SPDX-License-Identifier: LGPL-2.1-or-later
// command - a program whose standard input and output carry the bytes: ssh, or anything else.
//
// libshared/spawn is for children of daemons, which have neither a terminal nor an environment and die with
// the thread that started them. A library that is called from any thread cannot have that; posix_spawn() is
// safe there.
#include "libshared/client/command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "libshared/base/handle.h"

namespace virtgate::client {

namespace {

// Of what the child says on its standard error, the end of it is kept.
constexpr std::size_t k_said_max = 4096;
constexpr Milliseconds k_end_patience{1000};
constexpr int k_first_other_fd = 3;

// What a child gets of our environment.
constexpr const char* k_variables[] = {"PATH",         "HOME",
                                       "USER",         "LOGNAME",
                                       "SHELL",        "TMPDIR",
                                       "LANG",         "LC_ALL",
                                       "LC_CTYPE",     "XDG_RUNTIME_DIR",
                                       "KRB5CCNAME",   "SSH_AUTH_SOCK",
                                       "SSH_ASKPASS",  "SSH_ASKPASS_REQUIRE",
                                       "GPG_TTY",      "TERM",
                                       "OPENSSL_CONF", "DISPLAY",
                                       "XAUTHORITY"};

class CommandChannel final : public Channel {
public:
    CommandChannel(UniqueFd socket, UniqueFd said, pid_t child, std::string name, bool is_secure)
        : stream_(make_socket_channel(std::move(socket), is_secure, false)),
          said_(std::move(said)),
          child_(child),
          process_(static_cast<int>(syscall(SYS_pidfd_open, child, 0))),
          name_(std::move(name)) {}

    CommandChannel(const CommandChannel&) = delete;
    CommandChannel& operator=(const CommandChannel&) = delete;

    ~CommandChannel() override {
        stream_.reset();
        if (child_ > 0 && !await(Milliseconds{0})) {
            kill(child_, SIGTERM);
            if (!await(k_end_patience)) {
                kill(child_, SIGKILL);
                await(Milliseconds{-1});
            }
        }
    }

    [[nodiscard]] int fd() const noexcept override { return stream_->fd(); }
    [[nodiscard]] bool is_secure() const noexcept override { return stream_->is_secure(); }
    Result<Progress> write(ByteView bytes) override { return stream_->write(bytes); }

    Result<Progress> read(MutableBytes buffer, std::vector<UniqueFd>& fds) override {
        auto progress = stream_->read(buffer, fds);
        // A child that says more than a pipe holds would wait for ever if nobody listened.
        if (!progress || progress->kind != Progress::Kind::moved) listen();
        return progress;
    }

    std::string epitaph() override {
        await(k_end_patience);
        listen();
        while (!heard_.empty() && (heard_.back() == '\n' || heard_.back() == '\r')) heard_.pop_back();
        const std::size_t last = heard_.rfind('\n');
        std::string line = escape(last == std::string::npos ? heard_ : heard_.substr(last + 1));
        std::string end;
        if (child_ <= 0 && WIFEXITED(status_) && WEXITSTATUS(status_) != 0)
            end = fmt::format("exit status {}", WEXITSTATUS(status_));
        else if (child_ <= 0 && WIFSIGNALED(status_))
            end = fmt::format("signal {}", WTERMSIG(status_));
        if (line.empty() && end.empty()) return {};
        return fmt::format("{}: {}{}{}", escape(name_), line, line.empty() || end.empty() ? "" : ", ", end);
    }

private:
    void listen() {
        std::array<char, 1024> buffer;
        ssize_t n = 0;
        while ((n = ::read(said_.get(), buffer.data(), buffer.size())) > 0) {
            heard_.append(buffer.data(), static_cast<std::size_t>(n));
            if (heard_.size() > k_said_max) heard_.erase(0, heard_.size() - k_said_max);
        }
    }

    // True if the child has ended within that time (-1 ms: whatever it takes) and was reaped.
    bool await(Milliseconds limit) {
        if (child_ <= 0) return true;
        pollfd waited{process_.get(), POLLIN, 0};
        if (limit.count() >= 0 && process_ && poll(&waited, 1, static_cast<int>(limit.count())) == 0)
            return false;
        pid_t done = 0;
        do {
            done = waitpid(child_, &status_, limit.count() < 0 ? 0 : WNOHANG);
        } while (done < 0 && errno == EINTR);
        if (done == 0) return false;
        child_ = 0;  // reaped, by us or by the program's own handler
        return true;
    }

    std::unique_ptr<Channel> stream_;
    UniqueFd said_;
    pid_t child_;
    UniqueFd process_;
    std::string name_, heard_;
    int status_ = 0;
};

// What posix_spawn() is told about descriptors and signals.
class Actions {
public:
    Actions() {
        posix_spawn_file_actions_init(&files_);
        posix_spawnattr_init(&attributes_);
    }
    Actions(const Actions&) = delete;
    Actions& operator=(const Actions&) = delete;
    ~Actions() {
        posix_spawn_file_actions_destroy(&files_);
        posix_spawnattr_destroy(&attributes_);
    }

    // 0 and 1 are `socket`, 2 is `said`, and no other descriptor of this process goes along.
    int arrange(int socket, int said) {
        sigset_t none, standard;
        sigemptyset(&none);
        sigemptyset(&standard);
        sigaddset(&standard, SIGPIPE);
        int number = posix_spawn_file_actions_adddup2(&files_, socket, STDIN_FILENO);
        if (number == 0) number = posix_spawn_file_actions_adddup2(&files_, socket, STDOUT_FILENO);
        if (number == 0) number = posix_spawn_file_actions_adddup2(&files_, said, STDERR_FILENO);
        if (number == 0) number = posix_spawn_file_actions_addclosefrom_np(&files_, k_first_other_fd);
        if (number == 0) number = posix_spawnattr_setsigmask(&attributes_, &none);
        if (number == 0) number = posix_spawnattr_setsigdefault(&attributes_, &standard);
        if (number == 0)
            number = posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        return number;
    }

    [[nodiscard]] const posix_spawn_file_actions_t* files() const { return &files_; }
    [[nodiscard]] const posix_spawnattr_t* attributes() const { return &attributes_; }

private:
    posix_spawn_file_actions_t files_;
    posix_spawnattr_t attributes_;
};

std::vector<char*> make_vector(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (std::string& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

// A descriptor above those that the child's are copied to.
UniqueFd lift(UniqueFd fd) { return UniqueFd{fcntl(fd.get(), F_DUPFD_CLOEXEC, k_first_other_fd)}; }

// netcat ends when its input does only if it is told to; not every netcat has the option, and those that do
// say that it lacks its argument.
std::string netcat_script(const Uri& uri, const std::string& socket) {
    const std::string netcat = quote_word(uri.netcat.empty() ? "nc" : uri.netcat);
    return fmt::format("case \"$({0} -q 2>&1)\" in *argument*) q=-q0;; *) q=;; esac; exec {0} $q -U {1}",
                       netcat, quote_word(socket));
}

std::string helper_script(const Uri& uri, bool read_only) {
    return fmt::format("exec virt-ssh-helper {}{}", read_only ? "-r " : "", quote_word(uri.open_name()));
}

}  // namespace

std::string quote_word(std::string_view text) {
    std::string out = "'";
    for (const char c : text) {
        if (c == '\'')
            out += "'\\''";
        else
            out += c;
    }
    return out + "'";
}

Result<std::vector<std::string>> ssh_command(const Uri& uri, bool read_only, bool is_root) {
    Proxy proxy = Proxy::automatic;
    if (uri.proxy)
        proxy = *uri.proxy;
    else if (!uri.netcat.empty() || !uri.socket.empty())
        proxy = Proxy::netcat;
    else if (uri.wants_session(is_root))
        proxy = Proxy::native;

    const auto socket = remote_socket(uri, read_only);
    if (!socket && proxy != Proxy::native) return tl::unexpected(socket.error());
    std::string script;
    if (proxy == Proxy::native)
        script = helper_script(uri, read_only);
    else if (proxy == Proxy::netcat)
        script = netcat_script(uri, *socket);
    else
        script = fmt::format("if command -v virt-ssh-helper >/dev/null 2>&1; then {}; else {}; fi",
                             helper_script(uri, read_only), netcat_script(uri, *socket));

    std::vector<std::string> words{uri.command.empty() ? "ssh" : uri.command};
    const auto add = [&words](std::initializer_list<std::string> more) { words.insert(words.end(), more); };
    if (uri.port != 0) add({"-p", fmt::format("{}", uri.port)});
    if (!uri.user.empty()) add({"-l", uri.user});
    if (!uri.keyfile.empty()) add({"-i", uri.keyfile});
    add({"-T", "-e", "none"});
    if (uri.no_tty) add({"-o", "BatchMode=yes"});
    if (uri.no_verify) add({"-o", "StrictHostKeyChecking=no"});
    // The login shell over there may be any; sh is not, and gets the script as one word of that shell.
    add({"--", uri.effective_host(), "sh -c " + quote_word(script)});
    return words;
}

Result<std::unique_ptr<Channel>> start_command(const std::vector<std::string>& words, bool is_secure) {
    int ends[2], pipes[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return fail_system(errno, "cannot make a socket pair");
    UniqueFd ours{ends[0]}, theirs = lift(UniqueFd{ends[1]});
    if (pipe2(pipes, O_CLOEXEC) < 0) return fail_system(errno, "cannot make a pipe");
    UniqueFd heard{pipes[0]}, said = lift(UniqueFd{pipes[1]});
    if (!theirs || !said) return fail_system(errno, "cannot copy a descriptor");
    if (!set_nonblocking(ours.get(), true) || !set_nonblocking(heard.get(), true))
        return fail_system(errno, "cannot set up a descriptor");

    Actions actions;
    if (const int number = actions.arrange(theirs.get(), said.get()); number != 0)
        return fail_system(number, "cannot prepare a process");
    std::vector<std::string> arguments = words, variables;
    for (const char* name : k_variables)
        if (const char* value = getenv(name)) variables.push_back(fmt::format("{}={}", name, value));
    pid_t child = 0;
    const int number = posix_spawnp(&child, arguments.front().c_str(), actions.files(), actions.attributes(),
                                    make_vector(arguments).data(), make_vector(variables).data());
    if (number != 0) {
        auto failure = fail_system(number, "cannot start " + escape(words.front()));
        failure.value().cause = Cause::unreachable;
        return failure;
    }
    return std::make_unique<CommandChannel>(std::move(ours), std::move(heard), child, words.front(),
                                            is_secure);
}

}  // namespace virtgate::client
