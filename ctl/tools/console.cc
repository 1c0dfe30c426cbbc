// SPDX-License-Identifier: LGPL-2.1-or-later
// console - a domain's console on this terminal.
//
// The terminal is in raw mode only while RawTerminal lives; signals that would end the process are a stop
// (outcome.h), so its destructor always runs.
#include "ctl/tools/console.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "ctl/tools/asker.h"
#include "ctl/tools/outcome.h"
#include "ctl/tools/table.h"

namespace virtgate::ctl::tools {

namespace {

constexpr int k_no_escape = 256;
constexpr int k_flag_force = 1, k_flag_safe = 2;

class RawTerminal {
public:
    explicit RawTerminal(int fd) : fd_(fd) {
        if (tcgetattr(fd, &before_) != 0) return;
        termios raw = before_;
        cfmakeraw(&raw);
        is_raw_ = tcsetattr(fd, TCSAFLUSH, &raw) == 0;
    }
    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;
    ~RawTerminal() {
        // What the guest has not printed yet is gone, and what was typed for it is not for the shell.
        if (is_raw_) tcsetattr(fd_, TCSAFLUSH, &before_);
    }

private:
    int fd_;
    bool is_raw_ = false;
    termios before_{};
};

// An eventfd that is readable once something has happened.
class Bell {
public:
    Bell() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
    void ring() const noexcept {
        const std::uint64_t one = 1;
        static_cast<void>(!write(fd_.get(), &one, sizeof one));
    }
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

private:
    UniqueFd fd_;
};

bool write_out(ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t size = write(STDOUT_FILENO, bytes.data(), bytes.size());
        if (size < 0 && errno == EAGAIN) {
            pollfd waited{STDOUT_FILENO, POLLOUT, 0};
            static_cast<void>(poll(&waited, 1, -1));
            continue;
        }
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(size));
    }
    return true;
}

enum class End : unsigned char { none, guest, user, input, output };

class Session {
public:
    Session(client::Stream stream, int escape_key, unsigned linger, const Signals& signals)
        : stream_(std::move(stream)), escape_key_(escape_key), linger_(linger), signals_(signals) {}

    // Until one side ends it.
    End run() {
        const std::stop_callback wake(signals_.token(), [this] { bell_.ring(); });
        std::thread reader([this] { show_all(); });
        const End end = pass_input();
        stop_.request_stop();
        reader.join();
        return end == End::none ? end_.load() : end;
    }

    // After run(): ends the stream, and says what was wrong with it.
    client::Done close(End end) {
        if (failure_) return tl::unexpected(*failure_);
        const client::Deadline soon = client::Deadline::in(client::k_goodbye);
        return end == End::guest ? stream_.finish(soon) : stream_.abort(soon);
    }

private:
    // In a thread of its own: what the guest prints.
    void show_all() {
        std::array<std::byte, 16384> buffer;
        End end = End::guest;
        for (;;) {
            const auto piece = stream_.read(buffer, {.at = Instant::max(), .stop = stop_.get_token()});
            if (!piece) {
                if (piece.error().cause != client::Cause::cancelled) failure_ = piece.error();
                break;
            }
            if (piece->kind == client::Stream::Piece::Kind::end) break;
            if (piece->kind != client::Stream::Piece::Kind::data) continue;
            printed_ = true;
            if (write_out(ByteView(buffer).first(static_cast<std::size_t>(piece->size)))) continue;
            end = End::output;
            break;
        }
        end_ = end;
        is_over_ = true;
        bell_.ring();
    }

    // Silence since the last look means that the guest has no more to say.
    [[nodiscard]] bool is_silent() { return !printed_.exchange(false); }

    End pass_input() {
        bool open = true;
        for (;;) {
            std::array<pollfd, 2> waited{{{bell_.fd(), POLLIN, 0}, {open ? STDIN_FILENO : -1, POLLIN, 0}}};
            const int limit = open || linger_ == 0 ? -1 : static_cast<int>(linger_) * 1000;
            const int ready = poll(waited.data(), waited.size(), limit);
            if (signals_.came()) return End::user;
            if (is_over_) return End::none;
            if (ready == 0 && is_silent()) return End::input;
            if (ready <= 0 || waited[1].revents == 0) continue;
            std::array<std::byte, 4096> buffer;
            const ssize_t size = read(STDIN_FILENO, buffer.data(), buffer.size());
            if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
            if (size <= 0) {
                if (isatty(STDIN_FILENO) == 1) return End::user;
                open = false;
                printed_ = true;
                continue;
            }
            const ByteView typed = ByteView(buffer).first(static_cast<std::size_t>(size));
            const auto key = std::find(typed.begin(), typed.end(), static_cast<std::byte>(escape_key_));
            const bool escaped = escape_key_ != k_no_escape && key != typed.end();
            const ByteView wanted =
                escaped ? typed.first(static_cast<std::size_t>(key - typed.begin())) : typed;
            if (!wanted.empty())
                if (const auto done = stream_.write(wanted, {.at = Instant::max(), .stop = signals_.token()});
                    !done) {
                    if (signals_.came()) return End::user;
                    // Why, the reader is told, too.
                    pollfd ended{bell_.fd(), POLLIN, 0};
                    static_cast<void>(poll(&ended, 1, 2000));
                    return is_over_ ? End::none : End::user;
                }
            if (escaped) return End::user;
        }
    }

    client::Stream stream_;
    int escape_key_;
    unsigned linger_;
    const Signals& signals_;
    Bell bell_;
    std::stop_source stop_;
    std::atomic<bool> is_over_ = false, printed_ = false;
    std::atomic<End> end_ = End::none;
    std::optional<client::Failure> failure_;
};

client::Result<Json> find_domain_of(Asker& asker, const std::string& text, const client::Deadline& deadline) {
    auto found = asker.ask("domain_lookup_by_name", {{"name", text}}, deadline);
    if (!found && found.error().cause == client::Cause::remote) {
        int id = 0;
        const char* const end = text.data() + text.size();
        const auto [at, error] = std::from_chars(text.data(), end, id);
        auto other = error == std::errc{} && at == end
                         ? asker.ask("domain_lookup_by_id", {{"id", id}}, deadline)
                         : asker.ask("domain_lookup_by_uuid", {{"uuid", text}}, deadline);
        if (other) found = std::move(other);
    }
    if (!found) return tl::unexpected(found.error());
    return (*found)["domain"];
}

}  // namespace

std::optional<int> parse_escape(std::string_view text) {
    if (text == "none") return k_no_escape;
    if (text.size() == 1) return static_cast<unsigned char>(text[0]);
    if (text.size() != 2 || text[0] != '^') return std::nullopt;
    const char key = to_upper(text.substr(1))[0];
    if (key < '@' || key > '_') return std::nullopt;
    return key - '@';
}

int run_console(const ConsoleOrder& order) {
    const auto escape_key = parse_escape(order.escape);
    if (!escape_key)
        return say("--escape: ^ and a letter or one of @[\\]^_, a single character, or none",
                   spawn::k_exit_usage);
    Signals signals;
    auto connection = open(order.target, signals.token());
    if (!connection) return fail_with(connection.error());
    const reflect::Catalogue catalogue;
    Asker asker(*connection, catalogue);
    const client::Deadline deadline{.at = Instant::max(), .stop = signals.token()};
    const auto domain = find_domain_of(asker, order.domain, deadline);
    if (!domain) return fail_with(domain.error());
    const int flags = (order.force ? k_flag_force : 0) | (order.safe ? k_flag_safe : 0);
    auto opened =
        asker.open_stream("domain_open_console",
                          {{"domain", *domain},
                           {"device_name", order.device.empty() ? Json(nullptr) : Json(order.device)},
                           {"flags", flags}},
                          deadline);
    if (!opened) return fail_with(opened.error());

    // A reader of our output that goes must not end us before the terminal is restored.
    std::signal(SIGPIPE, SIG_IGN);
    const bool on_terminal = isatty(STDIN_FILENO) == 1;
    const std::string name = show((*domain)["name"].get_ref<const std::string&>());
    if (on_terminal)
        fmt::print(stderr, "connected to {}; {} ends\n", name,
                   *escape_key == k_no_escape ? "the end of the console" : order.escape);
    End end = End::none;
    Session session(std::move(opened->stream), on_terminal ? *escape_key : k_no_escape, order.linger,
                    signals);
    {
        std::optional<RawTerminal> raw;
        if (on_terminal) raw.emplace(STDIN_FILENO);
        end = session.run();
    }
    if (on_terminal) fmt::print(stderr, "\n");
    const auto done = session.close(end);
    if (!done && end != End::user && end != End::input) return fail_with(done.error());
    if (signals.came()) return k_exit_interrupted;
    if (end == End::output) return say("nobody reads what the console prints", spawn::k_exit_system);
    if (on_terminal) fmt::print(stderr, "{}\n", end == End::guest ? "the console has ended" : "disconnected");
    return 0;
}

}  // namespace virtgate::ctl::tools
