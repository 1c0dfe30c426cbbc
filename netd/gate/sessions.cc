// SPDX-License-Identifier: LGPL-2.1-or-later
// sessions - the loop of the clients that were let in.
#include "netd/gate/sessions.h"

#include <algorithm>
#include <vector>

namespace virtgate::netd::gate {

Sessions::Sessions(loop::Loop& loop, const Settings& settings, std::atomic<std::size_t>& live)
    : loop_(loop),
      settings_(settings),
      live_(live),
      arrivals_(loop, loop::to<&Sessions::on_arrivals>(*this)),
      closings_(loop, loop::to<&Sessions::on_closings>(*this)) {}

void Sessions::on_arrivals() noexcept {
    for (Admitted& admitted : arrivals_.take()) {
        auto session = std::make_unique<Session>(loop_, settings_, std::move(admitted),
                                                 loop::to<&Sessions::on_ended>(*this));
        Session* key = session.get();
        sessions_.emplace(key, std::move(session));
    }
}

void Sessions::on_closings() noexcept {
    on_arrivals();  // it may be among those
    for (const Closing& closing : closings_.take()) {
        if (closing.id == k_all) {
            dismiss_all(closing.why);
            continue;
        }
        const auto found = std::find_if(sessions_.begin(), sessions_.end(), [&](const auto& one) {
            return one.first->connection() == closing.id;
        });
        if (found != sessions_.end()) found->first->close(closing.why);
    }
}

// Each may be gone when it is told.
void Sessions::dismiss_all(std::string_view why) noexcept {
    std::vector<Session*> all;
    for (const auto& [session, owner] : sessions_) all.push_back(session);
    for (Session* session : all) session->dismiss(why);
}

void Sessions::on_ended(Session& session) noexcept {
    sessions_.erase(&session);
    --live_;
}

}  // namespace virtgate::netd::gate
