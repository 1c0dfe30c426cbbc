// SPDX-License-Identifier: LGPL-2.1-or-later
// crashes - the identities whose workers crash, and for how long nobody is served as one of them.
#include "workerd/broker/crashes.h"

#include <algorithm>

namespace virtgate::workerd::broker {

Milliseconds Crashes::add(const std::string& identity) {
    const Instant now = clock_.now();
    std::erase_if(records_, [&](const auto& each) { return now - each.second.last > k_refusal_max; });
    const auto [at, is_first] = records_.try_emplace(identity);
    Record& record = at->second;
    const bool is_near = !is_first && now - record.last <= k_window;
    record.last = now;
    if (!is_near) return Milliseconds{0};
    const Milliseconds refusal = record.next;
    record.last = record.refused = now + refusal;
    record.next = std::min(2 * refusal, k_refusal_max);
    return refusal;
}

Milliseconds Crashes::refused_for(const std::string& identity) const {
    const auto at = records_.find(identity);
    if (at == records_.end()) return Milliseconds{0};
    return std::max(std::chrono::ceil<Milliseconds>(at->second.refused - clock_.now()), Milliseconds{0});
}

}  // namespace virtgate::workerd::broker
