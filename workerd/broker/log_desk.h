// SPDX-License-Identifier: LGPL-2.1-or-later
// log_desk - what workerd and its processes log, and where to: changed while they run.
//
// A change of an administrator holds until the file is read anew (SIGHUP), which takes the log's settings from there and
// nothing else.
//
// Trust:  administrators and the file are the machine's owner's.
// Owns:   the settings of the log that are in force.
#pragma once

#include <string>

#include "libshared/logging/settings.h"
#include "proto/sessions.h"
#include "workerd/broker/audit_post.h"
#include "workerd/broker/crew.h"
#include "workerd/broker/program_posts.h"
#include "workerd/broker/settings.h"
#include "workerd/broker/store_post.h"

namespace virtgate::workerd::broker {

class LogDesk {
public:
    // All outlive this. What `settings` say is in force already.
    LogDesk(const Settings& settings, Crew& crew, AuditPost& audit, StorePost& store, ProgramPosts& programs)
        : settings_(settings),
          log_(settings.log),
          crew_(crew),
          audit_(audit),
          store_(store),
          programs_(programs) {}

    // Reads the file anew. Error: system's fault; everything stays as it was.
    Done reread();
    // Error: peer's fault if what is asked for makes no sense, system's if it cannot be; everything stays then.
    Done change(const proto::sessions::ChangeLogArgs& wanted);
    [[nodiscard]] proto::sessions::LogRet describe() const;

private:
    Done apply(logging::Settings log);

    const Settings& settings_;
    logging::Settings log_;
    Crew& crew_;
    AuditPost& audit_;
    StorePost& store_;
    ProgramPosts& programs_;
};

}  // namespace virtgate::workerd::broker
