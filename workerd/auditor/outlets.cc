// SPDX-License-Identifier: LGPL-2.1-or-later
// outlets - all places that records go to, and what they did not take.
#include "workerd/auditor/outlets.h"

#include <algorithm>

namespace virtgate::workerd::auditor {

void Outlets::add(std::unique_ptr<Outlet> outlet) { places_.push_back({.outlet = std::move(outlet)}); }

void Outlets::write(const Record& record) noexcept {
    ++records_;
    for (Place& place : places_) write_to(place, record);
}

void Outlets::write_to(Place& place, const Record& record) noexcept {
    // The gap comes before what follows it.
    if (place.missing != 0 && !recover(place)) {
        ++place.missing;
        ++dropped_;
        return;
    }
    if (const Done done = place.outlet->put(record); !done) fail(place, done.error());
}

void Outlets::fail(Place& place, const Error& error) noexcept {
    if (place.missing == 0) {
        place.telling = place.told.next();
        if (place.telling) log_.error("{} takes no records: {}", place.outlet->name(), error.text);
    }
    ++place.missing;
    ++dropped_;
}

// True if the place works again; then it has the record of its gap.
bool Outlets::recover(Place& place) noexcept {
    const Record gap = make_dropped(clock_(), {}, place.missing, place.outlet->name() + " did not take them");
    if (!place.outlet->put(gap)) return false;
    if (place.telling)
        log_.warning("{} takes records again; {} are missing there", place.outlet->name(), place.missing);
    place.missing = 0;
    return true;
}

void Outlets::renew(Place& place) noexcept {
    const bool was_stale = place.stale;
    const Done done = place.outlet->reopen();
    place.stale = !done.has_value();
    if (!done && !was_stale) log_.error("{} cannot be opened: {}", place.outlet->name(), done.error().text);
    if (done && was_stale) log_.info("{} is open", place.outlet->name());
}

void Outlets::retry() noexcept {
    for (Place& place : places_) {
        if (place.stale) renew(place);
        if (place.missing != 0) static_cast<void>(recover(place));
    }
}

bool Outlets::has_failed() const noexcept {
    return std::any_of(places_.begin(), places_.end(),
                       [](const Place& place) { return place.missing != 0 || place.stale; });
}

void Outlets::reopen() noexcept {
    for (Place& place : places_) renew(place);
}

}  // namespace virtgate::workerd::auditor
