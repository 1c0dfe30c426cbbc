// SPDX-License-Identifier: LGPL-2.1-or-later
// log_desk - what workerd and its processes log, and where to: changed while they run.
#include "workerd/broker/log_desk.h"

#include "libshared/base/log.h"
#include "libshared/logging/outputs.h"

namespace virtgate::workerd::broker {

namespace {

constexpr const char* k_program_name = "virtgate-workerd";

}  // namespace

Done LogDesk::apply(logging::Settings log) {
    if (settings_.in_background) log.leave_terminal(k_program_name);
    if (log.outputs != log_.outputs)
        if (auto done = logging::open_outputs(log, k_program_name); !done) return done;
    log_ = std::move(log);
    set_log_level(log_.of("workerd"));
    crew_.set_log_level(log_.of("worker"));
    audit_.set_log_level(log_.of("auditor"));
    store_.set_log_level(log_.of("store"));
    programs_.set_log_level(log_.of("program"));
    return {};
}

Done LogDesk::reread() {
    auto settings = load_settings(settings_.file);
    if (!settings) return tl::unexpected(std::move(settings.error()));
    return apply(std::move(settings->log));
}

Done LogDesk::change(const proto::sessions::ChangeLogArgs& wanted) {
    if (wanted.reset) return reread();
    logging::Settings log = log_;
    if (wanted.level) log.level = static_cast<Level>(wanted.level->log_level);
    if (wanted.filters) {
        auto filters = logging::parse_filters(wanted.filters->text, k_log_names);
        if (!filters) return tl::unexpected(std::move(filters.error()));
        log.filters = std::move(*filters);
    }
    if (wanted.outputs) {
        auto outputs = logging::parse_outputs(wanted.outputs->text, k_program_name);
        if (!outputs) return tl::unexpected(std::move(outputs.error()));
        log.outputs = std::move(*outputs);
    }
    return apply(std::move(log));
}

proto::sessions::LogRet LogDesk::describe() const {
    return {.log_level = static_cast<std::uint32_t>(log_.level),
            .log_filters = logging::list_filters(log_),
            .log_outputs = logging::list_outputs(log_)};
}

}  // namespace virtgate::workerd::broker
