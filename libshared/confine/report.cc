// SPDX-License-Identifier: LGPL-2.1-or-later
// report - which layers of the confinement are in force, and what the kernel lacks.
#include "libshared/confine/report.h"

#include <algorithm>

namespace virtgate::confine {

std::string_view to_text(Layer layer) noexcept {
    switch (layer) {
        case Layer::descriptors: return "descriptors";
        case Layer::limits: return "limits";
        case Layer::capabilities: return "capabilities";
        case Layer::bounding_set: return "bounding set";
        case Layer::no_new_privileges: return "no new privileges";
        case Layer::dumpable: return "closed memory";
        case Layer::writable_code: return "no writable code";
        case Layer::sealed_memory: return "sealed memory";
        case Layer::files: return "files";
        case Layer::tcp: return "TCP";
        case Layer::scope: return "signals and abstract sockets";
        case Layer::namespaces: return "namespaces";
        case Layer::filter: return "system calls";
    }
    panic("a layer without a name");
}

void Report::note_in_force(Layer layer, std::string detail) {
    findings_.push_back({layer, true, std::move(detail)});
}

void Report::note_unmeant(Layer layer, std::string why) {
    findings_.push_back({layer, false, std::move(why), false});
}

Done Report::note_lack(Layer layer, std::string detail) {
    findings_.push_back({layer, false, std::move(detail)});
    if (demand_ == Demand::best_effort) return {};
    return system_fault(0, fmt::format("cannot be confined as strictly as configured ({}): {}",
                                       to_text(layer), findings_.back().detail));
}

bool Report::complete(Layer layer) const noexcept {
    const auto about = [&](const Finding& finding) { return finding.layer == layer; };
    return std::any_of(findings_.begin(), findings_.end(), about) &&
           std::all_of(findings_.begin(), findings_.end(), [&](const Finding& finding) {
               return !about(finding) || finding.in_force || !finding.meant;
           });
}

void Report::say_lacks(const Log& log) {
    if (std::exchange(said_, true)) return;
    std::string all;
    for (const auto& finding : findings_) {
        if (finding.in_force || !finding.meant) continue;
        fmt::format_to(std::back_inserter(all), "{}{}: {}", all.empty() ? "" : "; ", to_text(finding.layer),
                       finding.detail);
    }
    if (!all.empty()) log.warning("confined as far as possible here; not in force: {}", all);
}

}  // namespace virtgate::confine
