// SPDX-License-Identifier: LGPL-2.1-or-later
// logging - levels, filters and outputs as they are configured, and what arrives at each kind of output.
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "libshared/base/fd.h"
#include "libshared/config/document.h"
#include "libshared/logging/outputs.h"

using namespace virtgate;
using namespace virtgate::logging;

namespace {

constexpr std::string_view k_processes[] = {"netd", "gate", "keeper"};

std::string complaint(Result<Output> output) { return output ? "" : output.error().text; }

// A directory of the test's own, removed at its end.
class Directory {
public:
    Directory() {
        std::string name = std::filesystem::temp_directory_path() / "virtgate-logging-XXXXXX";
        cr_assert_neq(mkdtemp(name.data()), nullptr);
        path_ = name;
    }
    ~Directory() { std::filesystem::remove_all(path_); }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
    [[nodiscard]] std::string operator/(std::string_view name) const { return path_ / name; }

private:
    std::filesystem::path path_;
};

// In the place of journald or syslogd.
class Logger {
public:
    explicit Logger(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.data(), path.size());
        unlink(path.c_str());
        cr_assert_eq(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    }
    // The next datagram, or nothing.
    std::string next() {
        std::array<char, 4096> buffer;
        const ssize_t size = recv(socket_.get(), buffer.data(), buffer.size(), 0);
        return size < 0 ? "" : std::string(buffer.data(), static_cast<std::size_t>(size));
    }

private:
    UniqueFd socket_;
};

std::string contents(const std::string& path) {
    std::ostringstream all;
    all << std::ifstream(path).rdbuf();
    return all.str();
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

Test(log_settings, outputs_are_libvirts_and_with_names_of_levels) {
    using Kind = Output::Kind;
    const auto is = [](std::string_view text, const Output& wanted) {
        const auto output = parse_output(text, "virtgate-netd");
        return output && *output == wanted;
    };
    cr_assert(is("stderr", {Kind::standard_error, Level::debug, ""}));
    cr_assert(is("2:stderr", {Kind::standard_error, Level::info, ""}));
    cr_assert(is("journald", {Kind::journald, Level::debug, ""}));
    cr_assert(is("error:journald", {Kind::journald, Level::error, ""}));
    cr_assert(is("syslog", {Kind::syslog, Level::debug, "virtgate-netd"}));
    cr_assert(is("3:syslog:my-name", {Kind::syslog, Level::warning, "my-name"}));
    cr_assert(is("1:file:/var/log/a:b", {Kind::file, Level::debug, "/var/log/a:b"}));
    for (const char* bad :
         {"", "5:stderr", "0:stderr", "loud:stderr", "stderr:x", "journald:x", "info:", "tape"})
        cr_assert(has(complaint(parse_output(bad, "p")), "has to be \"stderr\""), "%s", bad);
    for (const char* bad : {"file", "file:", "file:relative", "4:file:"})
        cr_assert(has(complaint(parse_output(bad, "p")), "absolute path"), "%s", bad);
    for (const char* bad : {"syslog:a b", "syslog:a\n", "syslog:[1]"})
        cr_assert(has(complaint(parse_output(bad, "p")), "name for syslog"), "%s", bad);
}

Test(log_settings, a_filter_is_for_a_process_that_there_is) {
    const auto filter = parse_filter("debug:gate", k_processes);
    cr_assert(filter && *filter == (Filter{Level::debug, "gate"}));
    cr_assert(parse_filter("4:keeper", k_processes)->level == Level::error);
    cr_assert(has(parse_filter("debug:gat", k_processes).error().text, "did you mean"));
    for (const char* bad : {"", "gate", "debug", "debug:", "9:gate"})
        cr_assert(has(parse_filter(bad, k_processes).error().text, "LEVEL:PROCESS"), "%s", bad);
}

Test(log_settings, come_from_the_file_and_complain_with_its_lines) {
    auto document = config::Document::parse(
        "log_level = 'warning'\nlog_filters = ['debug:gate', 'error:gate']\nlog_outputs = ['journald']\n",
        "netd.toml");
    auto root = (*document)->root();
    const Settings settings = read_log(root, "virtgate-netd", k_processes);
    cr_assert((*document)->finish().has_value());
    cr_assert(settings.of("gate") == Level::debug, "the first counts");
    cr_assert(settings.of("keeper") == Level::warning);
    cr_assert_eq(settings.outputs.size(), 1);

    auto wrong =
        config::Document::parse("\nlog_filters = ['debug:door']\nlog_outputs = ['x']\n", "netd.toml");
    auto section = (*wrong)->root();
    static_cast<void>(read_log(section, "virtgate-netd", k_processes));
    const auto done = (*wrong)->finish();
    cr_assert(!done && has(done.error().text, "netd.toml:2:") && has(done.error().text, "netd.toml:3:"));
}

Test(log_outputs, a_journal_entry_has_fields_of_its_own) {
    const std::string line = "gate-0[4711]: session 12 alice: opened qemu:///system";
    const std::string entry = to_journal_entry(Level::warning, line, "virtgate-netd");
    for (const char* field :
         {"PRIORITY=4\n", "SYSLOG_IDENTIFIER=virtgate-netd\n", "VIRTGATE_PROCESS=gate-0\n",
          "VIRTGATE_PROCESS_PID=4711\n", "VIRTGATE_SESSION=12\n", "VIRTGATE_IDENTITY=alice\n"})
        cr_assert(has(entry, field), "%s in %s", field, entry.c_str());
    cr_assert(has(entry, "MESSAGE=" + line + "\n"));
    const std::string own = to_journal_entry(Level::info, "session x: not a number", "virtgate-netd");
    cr_assert(!has(own, "VIRTGATE_"), "%s", own.c_str());
    // A line cannot make a field: log.cc leaves no line end in it.
    cr_assert(!has(to_journal_entry(Level::info, "a[b]: session 1: x", "p"), "VIRTGATE_PROCESS"));
}

Test(log_outputs, each_gets_what_is_for_it) {
    const Directory directory;
    Logger journal(directory / "journal"), syslog(directory / "syslog");
    Settings settings;
    settings.outputs = {{Output::Kind::journald, Level::warning, ""},
                        {Output::Kind::syslog, Level::debug, "me"},
                        {Output::Kind::file, Level::info, directory / "log"}};
    const Places places{.journal = directory / "journal", .syslog = directory / "syslog"};
    cr_assert(open_outputs(settings, "virtgate-netd", places).has_value());
    set_log_level(Level::debug);
    const Log log("gate-0[7]");
    log.debug("quiet {}", 1);
    cr_assert_eq(journal.next(), "");
    const std::string quiet = syslog.next();
    cr_assert(quiet.starts_with("<31>") && has(quiet, fmt::format(" me[{}]: gate-0[7]: quiet 1", getpid())),
              "%s", quiet.c_str());
    log.error("loud\nVIRTGATE_IDENTITY=root");
    const std::string loud = journal.next();
    cr_assert(has(loud, "PRIORITY=3\n") && !has(loud, "\nVIRTGATE_IDENTITY=root"), "%s", loud.c_str());
    cr_assert(syslog.next().starts_with("<27>"));
    const std::string text = contents(directory / "log");
    cr_assert(!has(text, "quiet") && has(text, "Z error: gate-0[7]: loud?VIRTGATE_IDENTITY=root\n"), "%s",
              text.c_str());
    struct stat facts {};
    cr_assert_eq(stat((directory / "log").c_str(), &facts), 0);
    cr_assert_eq(facts.st_mode & 0007, 0, "others cannot read it");
}

Test(log_outputs, a_logger_that_was_started_again_is_found) {
    const Directory directory;
    const Places places{.journal = directory / "journal", .syslog = directory / "syslog"};
    Settings settings;
    settings.outputs = {{Output::Kind::journald, Level::debug, ""}};
    cr_assert(open_outputs(settings, "p", places).has_value(), "before there is one, too");
    Log{}.info("nobody hears this");
    Log{}.info("nor this");
    Logger journal(directory / "journal");
    Log{}.info("but this");
    cr_assert(has(journal.next(), "MESSAGE=2 lines of the log were lost here\n"));
    cr_assert(has(journal.next(), "MESSAGE=but this\n"));
    Logger another(directory / "journal");
    Log{}.info("and this");
    cr_assert(has(another.next(), "MESSAGE=and this\n"));
}

Test(log_outputs, a_renamed_file_is_left_when_it_is_told) {
    const Directory directory;
    const std::string path = directory / "log";
    Settings settings;
    settings.outputs = {{Output::Kind::file, Level::debug, path}};
    cr_assert(open_outputs(settings, "p").has_value());
    Log{}.info("one");
    std::filesystem::rename(path, path + ".1");
    Log{}.info("two");
    reopen_outputs();
    Log{}.info("three");
    cr_assert(has(contents(path + ".1"), "one") && has(contents(path + ".1"), "two"));
    cr_assert(has(contents(path), "three") && !has(contents(path), "two"));
    std::filesystem::remove(path);
    std::filesystem::create_directory(path);
    reopen_outputs();  // says so, and goes on
    settings.outputs = {{Output::Kind::file, Level::debug, path}};
    cr_assert(!open_outputs(settings, "p").has_value(), "a directory is no file");
}

Test(logging, lists_are_read_and_written_as_libvirt_does) {
    constexpr std::string_view k_some[] = {"gate", "keeper"};
    logging::Settings settings;
    settings.filters = *logging::parse_filters(" debug:gate  3:keeper ", k_some);
    settings.outputs =
        *logging::parse_outputs("journald warning:syslog:me 4:file:/var/log/x stderr", "virtgate-netd");
    cr_assert_eq(logging::list_filters(settings), "1:gate 3:keeper");
    cr_assert_eq(logging::list_outputs(settings), "1:journald 3:syslog:me 4:file:/var/log/x 1:stderr");
    // What was written is read as the same.
    cr_assert(*logging::parse_filters(logging::list_filters(settings), k_some) == settings.filters);
    cr_assert(*logging::parse_outputs(logging::list_outputs(settings), "virtgate-netd") == settings.outputs);
    const auto wrong = logging::parse_filters("debug:gate debug:nobody", k_some);
    cr_assert(!wrong && wrong.error().text.find("\"debug:nobody\" names no process") == 0, "%s",
              wrong.error().text.c_str());
    cr_assert(!logging::parse_outputs("tape", "virtgate-netd"));
    cr_assert(logging::parse_filters("", k_some)->empty());
    cr_assert_eq(logging::list_outputs({}), "2:stderr");
}
