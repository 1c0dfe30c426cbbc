// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate migrate-config".
#include "ctl/migrate/command.h"

#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include "ctl/files.h"
#include "ctl/migrate/listing.h"
#include "ctl/migrate/plan.h"
#include "ctl/output.h"
#include "libshared/base/bytes.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::migrate {

namespace {

constexpr int k_exit_open = 1;
// libvirt's own places, the daemon with the network sockets of a modular installation first.
constexpr const char* k_usual[] = {"/etc/libvirt/virtproxyd.conf", "/etc/libvirt/libvirtd.conf"};

constexpr char k_footer[] =
    "Example, what becomes of this machine's libvirtd, with files to look at:\n"
    "  virtgate migrate-config /etc/libvirt/libvirtd.conf --output ./virtgate\n"
    "See virtgate-migrate-config(1).";

bool is_there(const std::string& path) noexcept {
    struct stat found {};
    return lstat(path.c_str(), &found) == 0;
}

// True if the file sets anything; what cannot be read or understood does, and is complained about later.
bool says_anything(const char* path) {
    const auto text = read_file(path);
    if (!text) return text.error().number != ENOENT;
    const auto entries = parse(*text, path);
    return !entries || !entries->empty();
}

class MigrateCommand final : public Command {
public:
    explicit MigrateCommand(CLI::App& app);
    [[nodiscard]] bool parsed() const override { return migrate_->parsed(); }
    [[nodiscard]] int run() const override;

private:
    [[nodiscard]] Result<std::string> choose_file() const;
    [[nodiscard]] Result<std::vector<std::string>> write(const Plan& plan) const;

    CLI::App* migrate_ = nullptr;
    std::string file_{};
    std::string output_{};
    bool force_ = false;
    bool without_systemd_ = false;
    bool json_ = false;
};

MigrateCommand::MigrateCommand(CLI::App& app) {
    migrate_ = app.add_subcommand("migrate-config",
                                  "make a configuration and a policy of those of libvirtd or virtproxyd");
    migrate_->footer(k_footer);
    migrate_->add_option(
        "FILE", file_,
        "libvirtd.conf, virtproxyd.conf or virtqemud.conf; else the one of /etc/libvirt that sets anything");
    migrate_->add_option("--output", output_, "write the files into this directory; else they are only shown")
        ->type_name("DIRECTORY");
    migrate_->add_flag("--force", force_, "also in the place of files that exist");
    migrate_->add_flag("--without-systemd", without_systemd_,
                       "the daemons are started without units: no drop-ins, and netd.toml has the key");
    migrate_->add_flag("--json", json_, "the report as JSON");
}

Result<std::string> MigrateCommand::choose_file() const {
    if (!file_.empty()) return file_;
    std::vector<std::string> those;
    for (const char* path : k_usual)
        if (says_anything(path)) those.emplace_back(path);
    if (those.size() == 1) return those.front();
    if (!those.empty())
        return system_fault(0, fmt::format("{} and {} both set something: name one", those[0], those[1]));
    for (const char* path : k_usual)
        if (is_there(path)) return std::string(path);
    return system_fault(0, fmt::format("there is neither {} nor {}: name a file", k_usual[0], k_usual[1]));
}

// All that could be in the way is looked for before the first file is written.
Result<std::vector<std::string>> MigrateCommand::write(const Plan& plan) const {
    std::vector<std::string> written;
    if (output_.empty()) return written;
    for (const File& file : plan.files)
        if (const std::string path = fmt::format("{}/{}", output_, file.path); !force_ && is_there(path))
            return system_fault(0,
                                fmt::format("{} exists, and nothing was written: --force replaces it", path));
    for (const File& file : plan.files) {
        std::string path = fmt::format("{}/{}", output_, file.path);
        for (std::size_t slash = output_.size(); slash != path.npos; slash = path.find('/', slash + 1))
            if (Done done = make_directory(path.substr(0, slash), 0755); !done)
                return tl::unexpected(std::move(done.error()));
        if (Done done = replace_file(path, file.text, 0644); !done)
            return tl::unexpected(std::move(done.error()));
        written.push_back(std::move(path));
    }
    return written;
}

int MigrateCommand::run() const {
    if (force_ && output_.empty()) return say("--force is for --output", spawn::k_exit_usage);
    const auto file = choose_file();
    if (!file)
        return file_.empty() ? say(file.error().text, spawn::k_exit_usage)
                             : say(file.error(), spawn::k_exit_system);
    const auto text = read_file(*file);
    if (!text) return say(text.error(), spawn::k_exit_system);
    const auto plan = make_plan(*text, *file, {.has_units = !without_systemd_, .has_group = nullptr});
    if (!plan) {
        fmt::print(stderr, "{}\n", plan.error().text);
        return spawn::k_exit_config;
    }
    const auto written = write(*plan);
    if (!written) return say(written.error(), spawn::k_exit_system);
    return show(json_ ? plan_to_json(*plan, *written) : list_plan(*plan, *written),
                plan->has_open() ? k_exit_open : 0);
}

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<MigrateCommand>(app); }

}  // namespace virtgate::ctl::migrate
