// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate trace".
#include "ctl/trace/command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "ctl/output.h"
#include "ctl/trace/decoder.h"
#include "ctl/trace/line.h"
#include "ctl/trace/relay.h"
#include "libshared/base/handle.h"
#include "libshared/base/path_fault.h"
#include "libshared/client/environment.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::trace {

namespace {

constexpr int k_exit_not_run = 127;  // as shells have it
constexpr int k_exit_signal = 128;   // and the signal's number
// For what a command that has ended has left in its sockets.
constexpr Milliseconds k_linger{1'000};

constexpr char k_footer[] =
    "Example, what virsh says to libvirt:\n"
    "  virtgate trace qemu:///system -- virsh list --all\n"
    "  virtgate trace qemu+tls://host/system -- virsh list --all\n"
    "See virtgate-trace(1).";

struct Order {
    std::string target, listen, output;
    std::vector<std::string> command;
    bool read_only = false, json = false, full = false;
};

constexpr std::string_view k_login = "auth_sasl_init";

// How to come to the server, and what a client has to be told to come by.
struct Route {
    Relay::Connect connect{};
    client::Uri uri{};
    bool is_plain = false;  // over TCP, without TLS
};

Relay::Connect by_socket(std::string path) {
    return [path = std::move(path)](const client::Deadline&) { return connect_to_socket(path); };
}

// The transport is ours: the client speaks at a UNIX socket what it would speak below TLS.
Relay::Connect by_uri(const client::Uri& uri, bool read_only) {
    return [uri, read_only, environment = client::Environment::of_process()](
               const client::Deadline& deadline) -> client::Result<std::unique_ptr<End>> {
        auto channel = client::connect(uri, read_only, environment, deadline);
        if (!channel) return tl::unexpected(channel.error());
        return make_channel_end(std::move(*channel));
    };
}

Result<Route> find_route(const Order& order) {
    Route route;
    if (order.target.starts_with('/')) {
        route.connect = by_socket(order.target);
        route.uri.driver = "remote";
        route.uri.path = "/";
    } else {
        auto uri = client::Uri::parse(order.target);
        if (!uri) return system_fault(0, uri.error().text);
        if (uri->how() == client::Transport::unix_socket) {
            auto path = client::find_socket(*uri, order.read_only, client::Environment::of_process());
            if (!path) return system_fault(0, path.error().text);
            route.connect = by_socket(std::move(*path));
            route.uri = std::move(*uri);
        } else {
            if (order.read_only && uri->how() != client::Transport::ssh)
                return system_fault(
                    0, "--readonly chooses between UNIX sockets; that server is reached otherwise");
            route.connect = by_uri(*uri, order.read_only);
            route.is_plain = uri->how() == client::Transport::tcp;
            // What is for the client and the server, and not for the way between them.
            route.uri.driver = uri->driver;
            route.uri.path = uri->path;
            route.uri.name = uri->name;
            route.uri.auth = uri->auth;
            route.uri.authfile = uri->authfile;
            route.uri.rest = uri->rest;
        }
    }
    route.uri.transport = client::Transport::unix_socket;
    route.uri.mode = client::Mode::automatic;
    return route;
}

// A directory of one's own, in which nobody else can put anything, and its socket; removed at the end.
class PrivatePlace {
public:
    static Result<std::unique_ptr<PrivatePlace>> make() {
        const char* base = std::getenv("XDG_RUNTIME_DIR");
        std::string path =
            fmt::format("{}/virtgate-trace-XXXXXX", base != nullptr && *base == '/' ? base : "/tmp");
        if (mkdtemp(path.data()) == nullptr) return path_fault(errno, "cannot make", path);
        return std::unique_ptr<PrivatePlace>(new PrivatePlace(std::move(path)));
    }
    PrivatePlace(const PrivatePlace&) = delete;
    PrivatePlace& operator=(const PrivatePlace&) = delete;
    ~PrivatePlace() { rmdir(path_.c_str()); }
    [[nodiscard]] std::string socket() const { return path_ + "/sock"; }

private:
    explicit PrivatePlace(std::string path) : path_(std::move(path)) {}
    std::string path_;
};

class Session final : private RelayOwner {
public:
    Session(const Order& order, const Route& route, FILE* output)
        : order_(order),
          is_plain_(route.is_plain),
          output_(output),
          loop_(loop::make_event_loop()),
          over_(loop_->timer(loop::to<&Session::on_over>(*this))),
          relay_(*loop_, *this, route.connect) {
        for (const int number : {SIGINT, SIGTERM, SIGHUP})
            signals_.push_back(loop_->signal(number, loop::to<&Session::on_signal>(*this)));
    }

    Done listen(const std::string& path) { return relay_.listen(path); }

    // Runs the command of the order with `uri` in its environment. Error: system's fault.
    Done start(const std::string& uri) {
        setenv("LIBVIRT_DEFAULT_URI", uri.c_str(), 1);
        setenv("VIRTGATE_URI", uri.c_str(), 1);
        std::vector<char*> words;
        for (const std::string& word : order_.command) words.push_back(const_cast<char*>(word.c_str()));
        words.push_back(nullptr);
        if (const int error = posix_spawnp(&pid_, words.front(), nullptr, nullptr, words.data(), environ);
            error != 0) {
            pid_ = -1;
            return system_fault(error, fmt::format("cannot run {}", order_.command.front()));
        }
        process_ = UniqueFd{static_cast<int>(syscall(SYS_pidfd_open, pid_, 0))};
        if (!process_) return system_fault(errno, "cannot wait for a process");
        ended_ = loop_->watch(process_.get(), loop::Want::read, loop::to<&Session::on_ended>(*this));
        return {};
    }

    // Returns the exit status.
    int run() {
        loop_->run();
        return status_;
    }

private:
    void on_over() noexcept { loop_->stop(); }
    // The terminal tells the command as well, and that says when it is over.
    void on_signal(loop::Want) noexcept {
        if (pid_ < 0) loop_->stop();
    }
    void on_ended(loop::Want) noexcept {
        int status = 0;
        if (waitpid(pid_, &status, 0) == pid_)
            status_ = WIFSIGNALED(status) ? k_exit_signal + WTERMSIG(status) : WEXITSTATUS(status);
        ended_.reset();
        pid_ = -1;
        over_->start(relay_.is_idle() ? Milliseconds{0} : k_linger);
    }
    void on_connected(unsigned number) noexcept override {
        decoders_.emplace(number, catalogue_);
        note(number, "connected");
    }
    void on_refused(unsigned number, std::string_view why) noexcept override {
        note(number, why);
        decoders_.erase(number);
        if (status_ >= 0 && decoders_.empty()) over_->start(Milliseconds{0});
    }
    void on_closed(unsigned number, std::string_view why) noexcept override {
        note(number, why.empty() ? "closed" : fmt::format("closed: {}", why));
        decoders_.erase(number);
        if (status_ >= 0 && decoders_.empty()) over_->start(Milliseconds{0});
    }
    void on_bytes(unsigned number, From from, ByteView bytes) noexcept override {
        const auto decoder = decoders_.find(number);
        if (decoder == decoders_.end()) return;
        const auto now = std::chrono::system_clock::now();
        for (const Record& record : decoder->second.take(from, bytes, loop_->clock().now())) {
            write(order_.json ? line_json(record, number, now) : line_text(record, number, now, order_.full));
            if (is_plain_ && record.kind == Record::Kind::call && record.procedure == k_login)
                note(number,
                     "a login over plain TCP has to encrypt all that follows, which nobody can look at: the "
                     "server will refuse it here. Use its TLS or UNIX socket");
        }
    }
    void note(unsigned number, std::string_view what) noexcept {
        const auto now = std::chrono::system_clock::now();
        write(order_.json ? note_json(what, number, now) : note_text(what, number, now));
    }
    void write(const std::string& line) noexcept {
        fmt::print(output_, "{}", line);
        // Whoever reads it has gone. A command goes on without.
        if (std::fflush(output_) != 0 && pid_ < 0) loop_->stop();
    }

    const Order& order_;
    const bool is_plain_;
    FILE* output_;
    reflect::Catalogue catalogue_;
    std::map<unsigned, Decoder> decoders_;
    std::unique_ptr<loop::Loop> loop_;
    std::unique_ptr<loop::Timer> over_;
    std::vector<std::unique_ptr<loop::Watch>> signals_;
    std::unique_ptr<loop::Watch> ended_;
    Relay relay_;
    UniqueFd process_;
    pid_t pid_ = -1;
    int status_ = -1;
};

int trace(const Order& order) {
    auto route = find_route(order);
    if (!route) return say(route.error().text, spawn::k_exit_usage);
    std::unique_ptr<FILE, FreeWith<std::fclose>> file;
    if (!order.output.empty()) {
        file.reset(std::fopen(order.output.c_str(), "we"));
        if (!file)
            return say(fmt::format("cannot open {}: {}", order.output, std::strerror(errno)),
                       spawn::k_exit_system);
    }
    std::signal(SIGPIPE, SIG_IGN);
    std::unique_ptr<PrivatePlace> place;
    std::string path = order.listen;
    if (path.empty()) {
        auto made = PrivatePlace::make();
        if (!made) return say(made.error(), spawn::k_exit_system);
        place = std::move(*made);
        path = place->socket();
    }
    FILE* usual = order.command.empty() ? stdout : stderr;
    Session session(order, *route, file ? file.get() : usual);
    if (const auto done = session.listen(path); !done) return say(done.error(), spawn::k_exit_system);
    route->uri.socket = path;
    const std::string uri = route->uri.print();
    if (order.command.empty()) {
        fmt::print(stderr, "virtgate: connect to {}\n", uri);
        return std::max(session.run(), 0);
    }
    if (const auto done = session.start(uri); !done) return say(done.error().text, k_exit_not_run);
    return session.run();
}

class TraceCommand final : public Command {
public:
    explicit TraceCommand(CLI::App& app)
        : trace_(app.add_subcommand("trace", "what a client and a server say to each other, call by call")) {
        trace_->footer(k_footer);
        trace_->add_option("SERVER", order_.target, "URI of the server, or the path of its UNIX socket")
            ->required();
        trace_->add_option("COMMAND", order_.command, "a client to run, with its arguments, behind --");
        trace_
            ->add_option("--listen", order_.listen,
                         "where clients connect (default: in a directory of one's own)")
            ->type_name("PATH");
        trace_
            ->add_option("--output", order_.output,
                         "where the lines go (default: standard output, or error of a client)")
            ->type_name("FILE");
        trace_->add_flag("-r,--readonly", order_.read_only, "the server's socket for clients that only read");
        trace_->add_flag("--full", order_.full, "arguments and results however long they are");
        trace_->add_flag("--json", order_.json, "as lines of JSON");
    }
    [[nodiscard]] bool parsed() const override { return trace_->parsed(); }
    [[nodiscard]] int run() const override { return trace(order_); }

private:
    CLI::App* trace_;
    Order order_;
};

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<TraceCommand>(app); }

}  // namespace virtgate::ctl::trace
