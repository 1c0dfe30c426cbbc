# SPDX-License-Identifier: LGPL-2.1-or-later
"""history - what clients of locks did and when, and a checker that finds a lock that two of them had at a time.

A client writes down each call: when it began, when its answer came, and which. All times are of one monotonic clock. What
follows for certain: who was told that it has a lock has had it from that answer until it began to give it up. Two such
times of the same resource that overlap are a double hold, unless both were shared.
"""

import dataclasses
import json
import threading
import time

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"
TAKE, GIVE = "take", "give"


@dataclasses.dataclass(frozen=True)
class Event:
    client: int
    kind: str
    resource: str
    shared: bool
    begin: float
    end: float
    outcome: str


@dataclasses.dataclass(frozen=True)
class Hold:
    client: int
    resource: str
    shared: bool
    since: float
    until: float


class History:
    """Events of many threads."""

    def __init__(self):
        self.events, self._lock = [], threading.Lock()

    def record(self, client, kind, resource, shared, call):
        """`call()` returns an outcome, or raises: then nobody knows."""
        begin, outcome = time.monotonic(), UNKNOWN
        try:
            outcome = call()
            return outcome
        finally:
            event = Event(client, kind, resource, shared, begin, time.monotonic(), outcome)
            with self._lock:
                self.events.append(event)

    def count(self, kind, outcome):
        return sum(1 for one in self.events if one.kind == kind and one.outcome == outcome)

    def write(self, path):
        path.write_text("".join(json.dumps(dataclasses.asdict(one)) + "\n" for one in self.events))


def certain_holds(events):
    """What each client had for certain. One whose giving up was refused had lost it before: when, nobody knows, so that
    nothing is certain of it; one that never gave it up has it for ever."""
    held, holds = {}, []
    for one in sorted(events, key=lambda event: event.begin):
        key = (one.client, one.resource)
        if one.kind == TAKE and one.outcome == OK:
            assert key not in held, f"client {one.client} takes {one.resource} twice"
            held[key] = one
        elif one.kind == GIVE and key in held:
            took = held.pop(key)
            if one.outcome != REFUSED:
                holds.append(Hold(one.client, one.resource, took.shared, took.end, one.begin))
    holds.extend(Hold(one.client, one.resource, one.shared, one.end, float("inf")) for one in held.values())
    return holds


def double_holds(events):
    """Pairs of holds that must not be."""
    found, active = [], {}
    for hold in sorted(certain_holds(events), key=lambda one: one.since):
        others = [one for one in active.get(hold.resource, ()) if one.until > hold.since]
        found.extend((one, hold) for one in others if not (one.shared and hold.shared))
        active[hold.resource] = [*others, hold]
    return found
