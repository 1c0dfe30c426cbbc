# SPDX-License-Identifier: LGPL-2.1-or-later
"""sandboxes - what the confinement costs: the same virtgate with it and without it, at the same time.

What is looked for is smaller than the machine's moods: each figure is measured in many short turns, with and without and
without and with, and each turn is compared with its neighbour.
"""

import contextlib

from servers import Virtgate

URI, URI_STORAGE = "test:///default", "storage:///session"
MODES = {"confined": "best-effort", "open": "off"}
SHAPES = ("1x1", "1x8", "16x4")
STREAMS = ("upload", "download")


def turns(number, count):
    """`count` pairs of names; each name comes first and last equally often."""
    names = list(MODES) if number % 2 == 0 else list(MODES)[::-1]
    for turn in range(count):
        yield from names if turn % 2 == 0 else names[::-1]


def measure(current):
    """Books, for one round, calls/s, CPU per call and MB/s of a stream with and without."""
    with contextlib.ExitStack() as stack:
        gates = {}
        for name, mode in MODES.items():
            settings = {f"{daemon}.sandbox": f'"{mode}"' for daemon in ("netd", "workerd")}
            upstreams = {URI: current.first.socket, URI_STORAGE: current.first.socket}
            directory = current.directory / f"virtgate-{name}"
            gates[name] = Virtgate(current.bench.virtgate, directory, "ecdsa", upstreams, settings)
            stack.callback(gates[name].stop)
            current.calls(gates[name].tls, "16x4", seconds=0.2)  # workers start
        members = {name: gate.members() for name, gate in gates.items()}
        count = current.plan.sandbox_turns
        for shape in SHAPES:
            for name in turns(current.number, count):
                report = current.calls(gates[name].tls, shape, watch=members[name])
                used = sum(report["cpu_ns"].values()) / 1000 / max(report["count"], 1)
                current.book.add(f"sandbox {shape} calls/s", name, report["rate"])
                current.book.add(f"sandbox {shape} CPU", name, used)
        key = current.volume_key()
        for mode in STREAMS:
            for name in turns(current.number, count):
                current.book.add(f"sandbox {mode} MB/s", name, current.stream(mode, gates[name].tls, key)["rate"])
