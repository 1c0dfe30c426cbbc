// SPDX-License-Identifier: LGPL-2.1-or-later
// log - "virtgate log": what netd and workerd log and where to, shown and changed while they run.
#include "ctl/admin/log.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "ctl/admin/daemon.h"
#include "ctl/output.h"
#include "libshared/base/bytes.h"
#include "libshared/base/log.h"
#include "libshared/base/suggest.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::admin {

namespace {

namespace control = proto::control;
namespace sessions = proto::sessions;

constexpr int k_exit_refused = 1;
constexpr std::array<std::string_view, 4> k_levels{"debug", "info", "warning", "error"};

int say_why(const Error& error) {
    return error.fault == Fault::peer ? say(error.text, k_exit_refused) : say(error, spawn::k_exit_system);
}

std::string name_of_level(std::uint32_t level) {
    return level < k_levels.size() ? std::string(k_levels.at(level)) : fmt::format("{}", level);
}

Result<LogState> look_at_netd(Daemon& netd) {
    const auto state = netd.ask<control::StateRet>(control::Procedure::state);
    if (!state) return tl::unexpected(state.error());
    return LogState{"netd", name_of_level(state->log_level), to_words(state->log_filters),
                    to_words(state->log_outputs)};
}

Result<LogState> look_at_workerd(Daemon& workerd) {
    const auto state = workerd.ask<sessions::LogRet>(sessions::Procedure::log);
    if (!state) return tl::unexpected(state.error());
    return LogState{"workerd", name_of_level(state->log_level), to_words(state->log_filters),
                    to_words(state->log_outputs)};
}

Done change_netd(Daemon& netd, const LogOrder& order, std::optional<Level> level) {
    if (order.reset) return netd.tell(control::Procedure::reload);
    control::ChangeArgs change;
    if (level) change.verbosity = control::Verbosity{.log_level = static_cast<std::uint32_t>(*level)};
    if (order.filters) change.filters = control::FilterList{.text = *order.filters};
    if (order.outputs) change.outputs = control::FilterList{.text = *order.outputs};
    const auto payload = proto::encode(change);
    if (!payload) return peer_fault("that is too long for virtgate-netd");
    return netd.tell(control::Procedure::change, *payload);
}

Done change_workerd(Daemon& workerd, const LogOrder& order, std::optional<Level> level) {
    sessions::ChangeLogArgs change;
    change.reset = order.reset;
    if (level) change.level = sessions::LogLevel{.log_level = static_cast<std::uint32_t>(*level)};
    if (order.filters) change.filters = sessions::LogList{.text = *order.filters};
    if (order.outputs) change.outputs = sessions::LogList{.text = *order.outputs};
    const auto payload = proto::encode(change);
    if (!payload) return peer_fault("that is too long for virtgate-workerd");
    return workerd.tell(sessions::Procedure::change_log, *payload);
}

std::string to_text(const std::vector<LogState>& all) {
    const auto list = [](const std::vector<std::string>& words) {
        return words.empty() ? std::string("none") : escape(fmt::format("{}", fmt::join(words, " ")), 8192);
    };
    std::string text;
    for (const LogState& one : all)
        text += fmt::format("{}\n  level    {}\n  filters  {}\n  outputs  {}\n", one.daemon, one.level,
                            list(one.filters), list(one.outputs));
    return text;
}

std::string to_json(const std::vector<LogState>& all) {
    using Json = nlohmann::ordered_json;
    Json document = Json::object();
    for (const LogState& one : all)
        document[one.daemon] = {{"level", one.level}, {"filters", one.filters}, {"outputs", one.outputs}};
    return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// Changes what is to be changed, and says what is in force then.
Result<LogState> serve_order(const Sockets& sockets, const LogOrder& order, std::optional<Level> level,
                             bool is_netd) {
    auto daemon = is_netd ? Daemon::open(sockets.admin, SOCK_STREAM, "virtgate-netd")
                          : Daemon::open(sockets.broker, SOCK_SEQPACKET, "virtgate-workerd");
    if (!daemon) return tl::unexpected(std::move(daemon.error()));
    if (order.changes()) {
        const auto done =
            is_netd ? change_netd(*daemon, order, level) : change_workerd(*daemon, order, level);
        if (!done) return wrap(done.error(), is_netd ? "netd" : "workerd");
    }
    return is_netd ? look_at_netd(*daemon) : look_at_workerd(*daemon);
}

}  // namespace

std::vector<std::string> to_words(const std::string& list) {
    std::vector<std::string> words;
    for (std::size_t at = 0; at < list.size();) {
        const std::size_t end = std::min(list.find(' ', at), list.size());
        std::string word = list.substr(at, end - at);
        if (word.size() > 1 && word[0] >= '1' && word[0] <= '4' && word[1] == ':')
            word.replace(0, 1, k_levels.at(static_cast<std::size_t>(word[0] - '1')));
        if (!word.empty()) words.push_back(std::move(word));
        at = end + 1;
    }
    return words;
}

int run_log(const Sockets& sockets, const LogOrder& order) {
    const std::vector<std::string_view> known{"netd", "workerd"};
    for (const std::string& name : order.daemons) {
        if (name == "lockd")
            return say(
                "lockd takes its log from lockd.toml: change that, and have it go on with \"systemctl reload "
                "virtgate-lockd\" (SIGHUP), which releases no lock",
                spawn::k_exit_usage);
        if (std::find(known.begin(), known.end(), name) == known.end())
            return say(fmt::format("there is no daemon \"{}\"{}", escape(name), did_you_mean(name, known)),
                       spawn::k_exit_usage);
    }
    std::optional<Level> level;
    if (order.level && !parse_level(*order.level, level.emplace()))
        return say("--level has to be debug, info, warning or error", spawn::k_exit_usage);
    // What names processes or places is about one daemon.
    if ((order.filters || order.outputs) && order.daemons.size() != 1)
        return say("--filters and --outputs are for one daemon: name it", spawn::k_exit_usage);
    std::vector<LogState> all;
    int status = 0;
    for (const std::string_view name : known) {
        if (!order.daemons.empty() &&
            std::find(order.daemons.begin(), order.daemons.end(), name) == order.daemons.end())
            continue;
        auto state = serve_order(sockets, order, level, name == "netd");
        if (state)
            all.push_back(std::move(*state));
        else
            status = say_why(state.error());
    }
    return all.empty() ? status : show(order.json ? to_json(all) : to_text(all), status);
}

}  // namespace virtgate::ctl::admin
