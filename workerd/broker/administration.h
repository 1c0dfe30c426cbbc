// SPDX-License-Identifier: LGPL-2.1-or-later
// administration - who has sessions, told to an administrator; what one changes: sessions, the policy, the log.
//
// Twin: ctl/admin (proto/sessions.x).
//
// Trust:  the entrance lets only administrators ask here. What clients proved of themselves is passed on as it is.
// Limits: an answer has at most k_rows_max rows and some k_page bytes; a list goes on where the last answer ended.
// Owns:   nothing but a few dates and counts.
#pragma once

#include <string>

#include "libshared/rpc/control.h"
#include "proto/sessions.h"
#include "workerd/broker/crew.h"
#include "workerd/broker/log_desk.h"
#include "workerd/broker/policy_source.h"
#include "workerd/broker/settings.h"

namespace virtgate::workerd::broker {

class Administration {
public:
    static constexpr std::size_t k_page = 40'960;

    // All outlive this.
    Administration(Crew& crew, PolicySource& policy, LogDesk& log_desk, const Settings& settings);

    // Answers one call of this program, which came over `control` from the administrator `who` ("user 0 (process 12)").
    void serve(rpc::Control& control, const rpc::Control::Message& message, const std::string& who);

    // What the broker has done.
    void note_opened() noexcept { ++opened_; }
    void note_refused() noexcept { ++refused_; }
    void note_policy(bool accepted) noexcept;

private:
    [[nodiscard]] proto::sessions::SessionsRet list(std::uint64_t after) const;
    [[nodiscard]] proto::sessions::WorkersRet list_workers(const std::string& after) const;
    [[nodiscard]] proto::sessions::BrokerRet describe() const;

    Crew& crew_;
    PolicySource& policy_;
    LogDesk& log_desk_;
    const Settings& settings_;
    const std::int64_t since_;
    std::int64_t policy_since_ = 0;
    bool policy_refused_ = false;
    std::uint64_t opened_ = 0, refused_ = 0;
};

}  // namespace virtgate::workerd::broker
