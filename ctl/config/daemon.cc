// SPDX-License-Identifier: LGPL-2.1-or-later
// daemon - the daemons that have a configuration file, and what each says of its own.
#include "ctl/config/daemon.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>

#include "config.h"
#include "ctl/inquiry.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::config {

namespace {

constexpr Daemon k_daemons[] = {
    {"netd", "virtgate-netd", VIRTGATE_SYSCONFDIR "/netd.toml"},
    {"workerd", "virtgate-workerd", VIRTGATE_SYSCONFDIR "/workerd.toml"},
    {"lockd", "virtgate-lockd", VIRTGATE_SYSCONFDIR "/lockd.toml"},
};

bool is_there(const std::string& file) noexcept { return access(file.c_str(), F_OK) == 0; }

// Where there is no such file the daemon has the defaults of an empty one, if it is the usual file.
std::string file_to_read(const Daemon& daemon, const std::string& file) {
    return file == daemon.file && !is_there(file) ? "/dev/null" : file;
}

Result<Reply> ask(const Daemon& daemon, const std::string& programs, std::string_view option,
                  const std::string& file) {
    auto reply = ask_program({.path = fmt::format("{}/{}", programs, daemon.program),
                              .name = std::string(daemon.name),
                              .arguments = {std::string(option), "--config", file_to_read(daemon, file)},
                              .keeps_capabilities = true});
    if (!reply) return wrap(reply.error(), daemon.program);
    return reply;
}

// The fields of a line; false if there are more or fewer.
bool split(std::string_view line, std::array<std::string_view, 6>& fields) noexcept {
    for (auto& field : fields) {
        const bool is_last = &field == &fields.back();
        const std::size_t tab = line.find('\t');
        if ((tab == line.npos) != is_last) return false;
        field = line.substr(0, tab);
        if (!is_last) line.remove_prefix(tab + 1);
    }
    return true;
}

}  // namespace

std::span<const Daemon> daemons() noexcept { return k_daemons; }

bool is_installed(const Daemon& daemon, const std::string& programs) {
    return access(fmt::format("{}/{}", programs, daemon.program).c_str(), X_OK) == 0;
}

Result<std::vector<Setting>> parse_settings(std::string_view text) {
    std::vector<Setting> settings;
    for (const std::string_view line : lines_of(text)) {
        std::array<std::string_view, 6> fields;
        std::uint32_t at = 0;
        const bool is_good =
            split(line, fields) && fields[0] == "setting" &&
            std::from_chars(fields[5].data(), fields[5].data() + fields[5].size(), at).ec == std::errc{};
        if (!is_good)
            return system_fault(
                0, fmt::format("it says \"{}\", which no program of this version does", escape(line)));
        settings.push_back({.header = escape(fields[1]),
                            .key = escape(fields[2]),
                            .value = std::string(fields[3]),
                            .fallback = std::string(fields[4]),
                            .line = at});
    }
    return settings;
}

namespace {

// What stands for the daemon's exit status in an error: this command ends with the same.
int number_of(const spawn::Exit& exit) noexcept {
    if (exit.by_signal) return 0;
    if (exit.number == spawn::k_exit_no_input) return ENOENT;
    return exit.number == spawn::k_exit_no_permission ? EACCES : 0;
}

}  // namespace

Result<Settings> ask_settings(const Daemon& daemon, const std::string& programs, const std::string& file) {
    auto reply = ask(daemon, programs, "--settings", file);
    if (!reply) return tl::unexpected(std::move(reply.error()));
    if (!reply->exit.success()) {
        std::string complaints;
        for (const std::string_view line : lines_of(reply->text))
            complaints.append(complaints.empty() ? "" : "\n").append(line);
        return tl::unexpected<Error>(
            {.fault = Fault::system,
             .number = number_of(reply->exit),
             .text = complaints.empty() ? fmt::format("{} {}", daemon.program, spawn::describe(reply->exit))
                                        : complaints});
    }
    auto settings = parse_settings(reply->text);
    if (!settings) return wrap(settings.error(), daemon.program);
    return Settings{&daemon, file, is_there(file), std::move(*settings)};
}

Result<Verdict> ask_verdict(const Daemon& daemon, const std::string& programs, const std::string& file) {
    auto reply = ask(daemon, programs, "--check", file);
    if (!reply) return tl::unexpected(std::move(reply.error()));
    Verdict verdict{
        .daemon = &daemon, .file = file, .is_good = reply->exit.success(), .status = 0, .lines = {}};
    if (!verdict.is_good)
        verdict.status = reply->exit.is_for_administrator() ? reply->exit.number : spawn::k_exit_config;
    for (const std::string_view line : lines_of(reply->text)) verdict.lines.emplace_back(line);
    if (!verdict.is_good && verdict.lines.empty())
        verdict.lines.push_back(fmt::format("{} {}", daemon.program, spawn::describe(reply->exit)));
    return verdict;
}

}  // namespace virtgate::ctl::config
