# SPDX-License-Identifier: LGPL-2.1-or-later
"""locks - virtgate-lockd and Debian's virtlockd, side by side: calls of one client and of four, and idle clients.

Both run for the whole of a round, and take turns. The clients are of processes that hold nothing else: each acquires and
releases a file of its own.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

SHAPES = (1, 4)
IDLE = 10000


def load(current, daemon, connections):
    command = [current.bench.lock_load, daemon.socket, daemon.direct, connections, current.plan.seconds]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def resident(pid):
    """VmRSS in bytes."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def measure_idle(current, locks, processes, daemon):
    """Books what registered clients that say nothing cost, all processes of the daemon together."""
    def used():
        return sum(resident(pid) for pid in processes.family(daemon.process.pid))

    before = used()
    with contextlib.ExitStack() as stack:
        for _ in range(current.plan.idle_lock_clients):
            client = stack.enter_context(contextlib.closing(locks.connect(daemon.socket)))
            client.register(os.getppid())
        current.book.add("locks idle MB", "ours", (used() - before) / 1e6 * IDLE / current.plan.idle_lock_clients)


def measure(current):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support" / "python"))
    os.environ["VIRTGATE_BUILD"] = str(current.bench.virtgate.parent)
    from vgtest import locks, processes

    ours = locks.Lockd(current.directory / "lockd", log_level="info")
    theirs = locks.Virtlockd(current.directory / "virtlockd")
    with ours, theirs:
        daemons = {"ours": ours, "virtlockd": theirs}
        for shape in SHAPES:
            for turn in range(current.plan.lock_turns):
                for name in list(daemons) if turn % 2 == 0 else list(daemons)[::-1]:
                    report = load(current, daemons[name], shape)
                    current.book.add(f"locks {shape} calls/s", name, report["rate"])
                    current.book.add(f"locks {shape} p99", name, report["p99_us"])
        measure_idle(current, locks, processes, ours)
