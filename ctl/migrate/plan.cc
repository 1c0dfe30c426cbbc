// SPDX-License-Identifier: LGPL-2.1-or-later
// plan - what of a libvirt daemon's configuration becomes which file of virtgate, and what does not.
#include "ctl/migrate/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <tuple>

#include "ctl/migrate/draft.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::migrate {

namespace {

constexpr std::int64_t k_hour = 3600;
constexpr std::int64_t k_count_max = 1'000'000;

// The last part of the name, without what is behind its first dot: "libvirtd". Other names are those of copies.
std::string daemon_of(const std::string& file) {
    std::string name = file.substr(file.rfind('/') + 1);
    name.resize(std::min(name.find('.'), name.size()));
    const bool is_driver = name.starts_with("virt") && name.ends_with("d") && name != "virtd";
    return is_driver || name == "libvirtd" ? name : "libvirtd";
}

std::vector<std::string> words_of(const std::string& text) {
    std::vector<std::string> words;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find(' ', at), text.size());
        if (end != at) words.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return words;
}

std::string list_of(const std::vector<std::string>& texts) {
    return texts.empty() ? "[]" : fmt::format("[\"{}\"]", fmt::join(texts, "\", \""));
}

// "3:journald": whether the level is one of libvirt's, with what is behind it.
bool take_level(std::string_view word, std::string_view& rest) noexcept {
    if (word.size() < 3 || word[0] < '1' || word[0] > '4' || word[1] != ':') return false;
    rest = word.substr(2);
    return true;
}

// The journal, syslog and standard error are everybody's. A file is libvirt's daemon's, which goes on writing to it.
void plan_log_outputs(Draft& draft) {
    if (draft.find("log_outputs") == nullptr) return;
    std::vector<std::string> netd, workerd, left;
    for (const std::string& word : words_of(draft.text("log_outputs"))) {
        std::string_view place;
        if (!take_level(word, place) ||
            (place != "journald" && place != "stderr" && !place.starts_with("syslog:"))) {
            left.push_back(word);
            continue;
        }
        const bool is_syslog = place.starts_with("syslog:");
        netd.push_back(is_syslog ? fmt::format("{}:syslog:virtgate-netd", word[0]) : word);
        workerd.push_back(is_syslog ? fmt::format("{}:syslog:virtgate-workerd", word[0]) : word);
    }
    if (!netd.empty()) {
        draft.netd.set("", "log_outputs", list_of(netd));
        draft.workerd.set("", "log_outputs", list_of(workerd));
        draft.take("log_outputs", "netd.toml log_outputs, workerd.toml log_outputs");
    }
    for (const std::string& word : left)
        draft.leave("log_outputs",
                    fmt::format("\"{}\": a file has to be one that the daemon's own user can write, and each "
                                "daemon has its own: log_outputs of netd.toml and workerd.toml",
                                escape(word, 128)));
    if (netd.empty() && left.empty())
        draft.note("log_outputs", Outcome::unneeded, {}, "virtgate logs to the journal, where there is one");
}

// libvirt's filters name parts of its source. What those parts do that virtgate does now is done by these processes.
void plan_log_filters(Draft& draft) {
    if (draft.find("log_filters") == nullptr) return;
    std::vector<std::string> netd, workerd, left;
    for (const std::string& word : words_of(draft.text("log_filters"))) {
        std::string_view part;
        const bool is_good = take_level(word, part);
        if (part.starts_with('+')) part.remove_prefix(1);  // with a trace of the stack
        const auto is = [&](std::string_view name) {
            return part == name || part.starts_with(fmt::format("{}.", name));
        };
        if (is_good && (is("rpc") || is("remote") || is("daemon.remote")))
            for (const char* process : {"gate", "doorman"})
                netd.push_back(fmt::format("{}:{}", word[0], process));
        else if (is_good && is("access"))
            workerd.push_back(fmt::format("{}:worker", word[0]));
        else
            left.push_back(word);
    }
    std::string where;
    for (const auto& [file, filters, settings] : {std::tuple{"netd.toml", &netd, &draft.netd},
                                                  std::tuple{"workerd.toml", &workerd, &draft.workerd}}) {
        if (filters->empty()) continue;
        settings->set("", "log_filters", list_of(*filters));
        where += fmt::format("{}{} log_filters", where.empty() ? "" : ", ", file);
    }
    const std::string stays = left.empty() ? (where.empty() ? "it is empty" : "")
                                           : fmt::format("{} {} what libvirt's daemon goes on doing",
                                                         escape(fmt::format("{}", fmt::join(left, " ")), 256),
                                                         left.size() == 1 ? "is about" : "are about");
    if (where.empty())
        draft.note("log_filters", Outcome::stays, {}, stays);
    else
        draft.take("log_filters", where, stays);
}

void plan_logging(Draft& draft) {
    constexpr std::array<std::string_view, 5> k_levels{"", "debug", "info", "warning", "error"};
    if (const auto level = draft.number("log_level"); level && (*level < 1 || *level > 4)) {
        draft.leave("log_level", "libvirt knows 1 to 4");
    } else if (level) {
        draft.netd.set_text("", "log_level", k_levels[static_cast<std::size_t>(*level)]);
        draft.workerd.set_text("", "log_level", k_levels[static_cast<std::size_t>(*level)]);
        draft.take("log_level", "netd.toml log_level, workerd.toml log_level");
    }
    plan_log_outputs(draft);
    plan_log_filters(draft);
}

void plan_keepalive(Draft& draft) {
    if (const auto interval = draft.number("keepalive_interval"); interval && *interval > k_hour) {
        draft.leave("keepalive_interval",
                    "virtgate asks once in an hour at least; it is the default now, 5 seconds");
    } else if (interval) {
        draft.netd.set("keepalive", "interval", fmt::format("{}", std::max<std::int64_t>(*interval, 0)));
        draft.take("keepalive_interval", "netd.toml [keepalive] interval");
    }
    if (const auto count = draft.number("keepalive_count"); count && *count > 1000) {
        draft.leave("keepalive_count", "virtgate takes up to 1000; it is the default now, 5");
    } else if (count) {
        draft.netd.set("keepalive", "count", fmt::format("{}", *count));
        draft.take("keepalive_count", "netd.toml [keepalive] count");
    }
}

void plan_limits(Draft& draft) {
    const auto clients = draft.number("max_clients");
    if (draft.number("max_anonymous_clients").value_or(0) > clients.value_or(5000))
        draft.refuse(
            "max_anonymous_clients",
            "\"max_anonymous_clients\" is more than \"max_clients\": libvirt does not start with that");
    if (const auto anonymous = draft.number("max_anonymous_clients"); anonymous && *anonymous > k_count_max) {
        draft.leave("max_anonymous_clients", "virtgate takes up to 1000000");
    } else if (anonymous && *anonymous == 0) {
        draft.note("max_anonymous_clients", Outcome::unneeded, {},
                   "0 is no bound; virtgate always has one: arrivals in [limits] of netd.toml");
    } else if (anonymous) {
        draft.netd.set("limits", "arrivals", fmt::format("{}", *anonymous));
        draft.take("max_anonymous_clients", "netd.toml [limits] arrivals",
                   "of each gate, of which there is one per core; arrivals_per_source is a bound of its own");
    }
    if (clients && (*clients < 1 || *clients > k_count_max)) {
        draft.leave("max_clients", "virtgate takes 1 to 1000000");
    } else if (clients) {
        for (const char* key : {"sessions", "sessions_per_identity"})
            draft.workerd.set("limits", key, fmt::format("{}", *clients));
        draft.take("max_clients", "workerd.toml [limits] sessions, sessions_per_identity",
                   "it stays in libvirt's file, too: each session has a connection to libvirt's daemon");
    }
    if (const auto calls = draft.number("max_client_requests"); calls && (*calls < 1 || *calls > 65536)) {
        draft.leave("max_client_requests", "virtgate takes 1 to 65536");
    } else if (calls) {
        draft.netd.set("limits", "calls_in_flight", fmt::format("{}", *calls));
        draft.take("max_client_requests", "netd.toml [limits] calls_in_flight",
                   "it stays in libvirt's file, too, for the connection behind each session");
    }
}

// What clients ask for that this daemon serves.
std::vector<std::string> uris_of(const std::string& daemon) {
    constexpr std::array k_drivers{"qemu",    "lxc",     "ch",      "xen",       "vbox",     "vz",
                                   "network", "storage", "nodedev", "interface", "nwfilter", "secret"};
    std::vector<std::string> uris;
    for (const std::string_view driver : k_drivers)
        if (daemon == "libvirtd" || daemon == fmt::format("virt{}d", driver))
            uris.push_back(fmt::format("{}:///system", driver));
    return uris;
}

void plan_upstream(Draft& draft) {
    if (draft.find("unix_sock_dir") == nullptr) return;
    const std::string directory = draft.text("unix_sock_dir");
    if (directory == "/run/libvirt" || directory == "/var/run/libvirt")
        return draft.note("unix_sock_dir", Outcome::unneeded, {},
                          "virtgate looks for libvirt's sockets there");
    if (draft.daemon() == "virtproxyd")
        return draft.note("unix_sock_dir", Outcome::unneeded, {},
                          "virtgate connects to the daemons behind virtproxyd");
    const std::vector<std::string> uris = uris_of(draft.daemon());
    if (uris.empty())
        return draft.leave(
            "unix_sock_dir",
            "virtgate does not know which URI this daemon serves: [[upstream]] of workerd.toml");
    if (!directory.starts_with('/')) return draft.leave("unix_sock_dir", "the path has to be absolute");
    const std::string name = draft.daemon() == "libvirtd" ? "libvirt" : draft.daemon();
    for (const std::string& uri : uris) {
        // Each is a table of its own.
        Settings row;
        row.set_text("", "uri", uri);
        row.set_text("", "socket", fmt::format("{}/{}-sock", directory, name));
        row.set_text("", "read_only_socket", fmt::format("{}/{}-sock-ro", directory, name));
        draft.workerd.append("[upstream]", row);
    }
    draft.take(
        "unix_sock_dir", "workerd.toml [[upstream]]",
        fmt::format("these rows are the whole table, other daemons are not in it{}",
                    draft.circumstances().has_units
                        ? fmt::format("; the unit sees the directory with BindReadOnlyPaths={} in a drop-in",
                                      directory)
                        : ""));
}

void plan_access(Draft& draft) {
    const auto* drivers = draft.texts("access_drivers");
    if (drivers == nullptr) return;
    const bool has_rules =
        std::any_of(drivers->begin(), drivers->end(), [](const Text& each) { return each.text != "nop"; });
    if (has_rules)
        draft.leave(
            "access_drivers",
            "rules of polkit about single calls become roles and bindings of the policy. They go on to hold "
            "for what "
            "virtgate asks of libvirt, and then have to let the user of virtgate-workerd do everything");
    else
        draft.note("access_drivers", Outcome::unneeded, {}, "it allows everything");
}

void write_files(const Draft& draft, Plan& plan) {
    const std::string by = fmt::format("Written by virtgate migrate-config, of {}.", escape(draft.file()));
    plan.files.push_back(
        {"netd.toml", draft.netd.to_text({by, "What is not here has its default, see netd.toml(5)."})});
    plan.files.push_back(
        {"workerd.toml",
         draft.workerd.to_text({by, "What is not here has its default, see workerd.toml(5)."})});
    plan.files.push_back({"policy.d/50-libvirt.toml", draft.policy()});
    for (const auto& [unit, lines] : draft.units)
        plan.files.push_back(
            {fmt::format("systemd/{}.d/50-libvirt.conf", unit), fmt::format("# {}\n{}", by, lines)});
}

}  // namespace

bool Plan::has_open() const noexcept {
    return std::any_of(findings.begin(), findings.end(),
                       [](const Finding& one) { return one.outcome == Outcome::open; });
}

Result<Plan> make_plan(std::string_view text, const std::string& file, const Circumstances& circumstances) {
    auto entries = parse(text, file);
    if (!entries) return tl::unexpected(std::move(entries.error()));
    Draft draft(file, daemon_of(file), circumstances, *entries);
    plan_logging(draft);
    plan_admission(draft);
    plan_keepalive(draft);
    plan_limits(draft);
    plan_upstream(draft);
    plan_access(draft);
    if (!draft.complaints.empty())
        return system_fault(0, fmt::format("{}", fmt::join(draft.complaints, "\n")));
    Plan plan{.file = file, .daemon = draft.daemon(), .findings = std::move(draft.findings), .files = {}};
    // As in the file; what it does not have comes last.
    std::stable_sort(plan.findings.begin(), plan.findings.end(), [](const Finding& a, const Finding& b) {
        return a.at.line != 0 && (b.at.line == 0 || a.at.line < b.at.line);
    });
    write_files(draft, plan);
    return plan;
}

}  // namespace virtgate::ctl::migrate
