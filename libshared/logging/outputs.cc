// SPDX-License-Identifier: LGPL-2.1-or-later
// outputs - where the lines of a daemon and of its children go.
#include "libshared/logging/outputs.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>

#include "libshared/base/fd.h"
#include "libshared/base/path_fault.h"

namespace virtgate::logging {

namespace {

using Kind = Output::Kind;

constexpr mode_t k_file_mode = 0640;
constexpr int k_facility_daemon = 3 << 3;

int severity(Level level) noexcept {
    switch (level) {
        case Level::debug: return 7;
        case Level::info: return 6;
        case Level::warning: return 4;
        case Level::error: return 3;
    }
    return 3;
}

std::string_view name_of(Level level) noexcept {
    constexpr std::string_view k_names[] = {"debug", "info", "warning", "error"};
    return k_names[static_cast<unsigned>(level) & 3];
}

// Takes "WORD: " off the front of a line; empty if it does not begin so.
std::string_view take_subject(std::string_view& line) noexcept {
    const std::size_t end = line.find(": ");
    if (end == line.npos) return {};
    const std::string_view subject = line.substr(0, end);
    line.remove_prefix(end + 2);
    return subject;
}

bool is_number(std::string_view text) noexcept {
    return !text.empty() &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

void add_field(std::string& entry, std::string_view name, std::string_view value) {
    entry += name;
    entry += '=';
    entry += value;
    entry += '\n';
}

std::string timestamp() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    std::tm parts{};
    gmtime_r(&now.tv_sec, &parts);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    return fmt::format("{}.{:03}Z", text.data(), now.tv_nsec / 1'000'000);
}

// One output and what it has lost.
class Outlet {
public:
    Outlet(Output output, std::string program) : output_(std::move(output)), program_(std::move(program)) {}

    Done open(const Places& places) {
        switch (output_.kind) {
            case Kind::standard_error: return {};
            case Kind::file: return open_file();
            case Kind::journald: return open_socket(places.journal);
            case Kind::syslog: return open_socket(places.syslog);
        }
        return {};
    }
    Done reopen() { return output_.kind == Kind::file ? open_file() : Done{}; }

    // False if it did not take the line.
    bool put(Level level, std::string_view line) {
        if (level < output_.level) return true;
        if (lost_ > 0 && send(Level::warning, fmt::format("{} lines of the log were lost here", lost_)))
            lost_ = 0;
        if (lost_ == 0 && send(level, line)) return true;
        ++lost_;
        return false;
    }

private:
    Done open_file() {
        UniqueFd file{::open(output_.target.c_str(),
                             O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
                             k_file_mode)};
        struct stat facts {};
        if (!file || fstat(file.get(), &facts) < 0)
            return path_fault(errno, "cannot open the log file", output_.target);
        if (!S_ISREG(facts.st_mode)) return system_fault(0, fmt::format("{} is no file", output_.target));
        fd_ = std::move(file);
        return {};
    }
    Done open_socket(const std::string& path) {
        address_.sun_family = AF_UNIX;
        if (path.size() >= sizeof address_.sun_path) return system_fault(ENAMETOOLONG, path);
        std::memcpy(address_.sun_path, path.data(), path.size());
        fd_ = UniqueFd{socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        return fd_ ? Done{} : system_fault(errno, "cannot make a socket for the log");
    }

    bool send(Level level, std::string_view line) {
        switch (output_.kind) {
            case Kind::standard_error:
                return write_all(STDERR_FILENO, fmt::format("<{}>{}\n", severity(level), line));
            case Kind::file:
                return write_all(fd_.get(), fmt::format("{} {}: {}\n", timestamp(), name_of(level), line));
            case Kind::journald: return send_packet(to_journal_entry(level, line, program_));
            case Kind::syslog: return send_packet(to_syslog_line(level, line, output_.target));
        }
        return false;
    }
    // A line is there as a whole or, on a disk that is full, lost.
    static bool write_all(int fd, const std::string& text) noexcept {
        return ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    }
    bool send_packet(std::string packet) noexcept {
        iovec part{packet.data(), packet.size()};
        msghdr message{};
        message.msg_name = &address_;
        message.msg_namelen = sizeof address_;
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        return sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
    }

    Output output_;
    std::string program_;
    UniqueFd fd_;
    sockaddr_un address_{};
    std::uint64_t lost_ = 0;
};

std::vector<std::unique_ptr<Outlet>>& outlets() {
    static std::vector<std::unique_ptr<Outlet>> all;
    return all;
}

void put_line(Level level, std::string_view line) noexcept {
    bool taken = false;
    try {
        for (const auto& outlet : outlets()) taken |= outlet->put(level, line);
        if (!taken) {
            const std::string text = fmt::format("<{}>{}\n", severity(level), line);
            static_cast<void>(!write(STDERR_FILENO, text.data(), text.size()));
        }
    } catch (...) {
        static constexpr std::string_view k_lost = "<3>out of memory while logging\n";
        static_cast<void>(!write(STDERR_FILENO, k_lost.data(), k_lost.size()));
    }
}

// sd-daemon(3) and systemd.exec(5), JOURNAL_STREAM: device and inode of what standard error was when it was connected.
bool is_stderr_the_journal() {
    const char* const stream = std::getenv("JOURNAL_STREAM");
    struct stat facts {};
    if (stream == nullptr || fstat(STDERR_FILENO, &facts) < 0) return false;
    return fmt::format("{}:{}", facts.st_dev, facts.st_ino) == stream;
}

}  // namespace

Done open_outputs(const Settings& settings, const std::string& program, const Places& places) {
    std::vector<Output> wanted = settings.outputs;
    if (wanted.empty() && is_stderr_the_journal() && access(places.journal.c_str(), W_OK) == 0)
        wanted.push_back({.kind = Kind::journald});
    std::vector<std::unique_ptr<Outlet>> opened;
    for (Output& output : wanted) {
        opened.push_back(std::make_unique<Outlet>(std::move(output), program));
        if (auto done = opened.back()->open(places); !done) return done;
    }
    tzset();  // reads a file, which is out of reach later
    outlets() = std::move(opened);
    set_log_sink(outlets().empty() ? nullptr : put_line);
    return {};
}

void reopen_outputs() noexcept {
    for (const auto& outlet : outlets())
        if (const auto done = outlet->reopen(); !done) Log{}.error("{}", done.error().text);
}

std::string to_journal_entry(Level level, std::string_view line, std::string_view program) {
    std::string entry;
    add_field(entry, "PRIORITY", std::to_string(severity(level)));
    add_field(entry, "SYSLOG_FACILITY", "3");
    add_field(entry, "SYSLOG_IDENTIFIER", program);
    std::string_view rest = line;
    std::string_view subject = take_subject(rest);
    // "gate-0[4711]", from a child.
    if (const std::size_t bracket = subject.find('['); bracket != subject.npos && subject.ends_with(']')) {
        const std::string_view pid = subject.substr(bracket + 1, subject.size() - bracket - 2);
        if (is_number(pid)) {
            add_field(entry, "VIRTGATE_PROCESS", subject.substr(0, bracket));
            add_field(entry, "VIRTGATE_PROCESS_PID", pid);
            subject = take_subject(rest);
        }
    }
    // "session 12 alice"
    constexpr std::string_view k_session = "session ";
    if (subject.starts_with(k_session)) {
        subject.remove_prefix(k_session.size());
        const std::size_t blank = subject.find(' ');
        if (is_number(subject.substr(0, blank))) {
            add_field(entry, "VIRTGATE_SESSION", subject.substr(0, blank));
            if (blank != subject.npos) add_field(entry, "VIRTGATE_IDENTITY", subject.substr(blank + 1));
        }
    }
    // A line has no control characters, so nothing in it ends a field (write_log_line).
    add_field(entry, "MESSAGE", line);
    return entry;
}

std::string to_syslog_line(Level level, std::string_view line, std::string_view name) {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    localtime_r(&now, &parts);
    // The C locale's names of months: a daemon sets no other.
    std::array<char, 32> when{};
    std::strftime(when.data(), when.size(), "%b %e %H:%M:%S", &parts);
    return fmt::format("<{}>{} {}[{}]: {}", k_facility_daemon | severity(level), when.data(), name, getpid(),
                       line);
}

}  // namespace virtgate::logging
