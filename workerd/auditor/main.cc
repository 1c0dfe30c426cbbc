// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-auditor - writes down who came, what was asked and what was decided.
//
// Started by virtgate-workerd alone, with the descriptors of libshared/fdmap.h. It ends on SIGTERM, or when the broker's
// channel closes, and writes what it still holds.
//
// Trust:  no byte of a client reaches this process but inside names in records. Its descriptors are channels, one file
//         and the journal's socket.
#include <sys/prctl.h>

#include <csignal>

#include "libshared/fdmap.h"
#include "libshared/programs/schemas.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "proto/config.h"
#include "workerd/auditor/auditor.h"
#include "workerd/auditor/confinement.h"
#include "workerd/auditor/journal.h"
#include "workerd/auditor/record_file.h"

namespace virtgate::workerd::auditor {

namespace {

Moment now() noexcept {
    return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
}

// A parent that dies would take this process with it at once, and what it holds. The end of the parent's channel does the
// same, a moment later. And nothing that is written to may end it: a log that nobody reads, a file that is too large.
void outlive_parent() noexcept {
    static_cast<void>(prctl(PR_SET_PDEATHSIG, 0));
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);
}

void add_outlets(Outlets& outlets, const proto::config::AuditorConfig& config) {
    if (config.journal)
        outlets.add(std::make_unique<Journal>(config.journal_socket.empty() ? Journal::k_default_path
                                                                            : config.journal_socket));
    if (!config.file.empty()) outlets.add(std::make_unique<RecordFile>(config.file));
    if (!config.journal && config.file.empty()) Log{}.warning("neither journal nor file: records go nowhere");
    // A file that cannot be opened is said now, not with the first record.
    outlets.reopen();
}

class Terminator {
public:
    Terminator(loop::Loop& loop, Auditor& auditor)
        : auditor_(auditor), watch_(loop.signal(SIGTERM, loop::to<&Terminator::on_signal>(*this))) {}

private:
    void on_signal(loop::Want) noexcept { auditor_.finish(); }
    Auditor& auditor_;
    std::unique_ptr<loop::Watch> watch_;
};

}  // namespace

}  // namespace virtgate::workerd::auditor

int main(int argc, char** argv) {
    using namespace virtgate;
    using namespace virtgate::workerd::auditor;
    if (confine::is_asked_to_show(argc, argv)) return confine::show(make_plan({}));
    if (const auto closed = spawn::close_to_others(); !closed)
        return spawn::complain(closed.error(), spawn::k_exit_system);
    outlive_parent();
    // One descriptor for each worker, and there are as many of those as identities are here.
    spawn::raise_descriptor_limit();
    const auto config = spawn::read_config<proto::config::AuditorConfig>(fdmap::k_config);
    if (!config) return spawn::complain(config.error(), spawn::k_exit_system);
    set_log_level(static_cast<Level>(config->log_level));
    if (const auto added = programs::add_schemas(config->schemas); !added)
        return spawn::complain(added.error(), spawn::k_exit_system);

    const auto loop = loop::make_event_loop();
    Outlets outlets(now);
    add_outlets(outlets, *config);
    Ledger ledger(outlets, now);
    Auditor auditor(*loop, UniqueFd{fdmap::k_control}, ledger, outlets, now);
    const Terminator terminator(*loop, auditor);
    if (!confine::confine(make_plan(config->file), static_cast<confine::Mode>(config->sandbox)))
        return spawn::k_exit_system;
    if (const auto done = auditor.report_ready(); !done)
        return spawn::complain(done.error(), spawn::k_exit_system);
    loop->run();
    return 0;
}
