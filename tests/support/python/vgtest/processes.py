# SPDX-License-Identifier: LGPL-2.1-or-later
"""processes - find, watch and end the processes that a test started, from /proc and without names given by
guess.
"""

import os
import pathlib
import re
import signal
import time


def _stat(pid):
    """(parent pid, session, start time, state) of a process, or None when it is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), int(fields[3]), int(fields[19]), fields[0]


def name(pid):
    """The program's name. Virtgate's processes call themselves "virtgate: gate-1": that is "virtgate-gate".

    Read from the command line: comm is cut at 15 characters, and exe cannot be read of a protected process.
    """
    try:
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""
    title = re.match(r"virtgate: (\w+)", words)
    return "virtgate-" + title[1] if title else os.path.basename(words.split(" ")[0])


def identity(pid):
    """(pid, start time): differs from that of a later process with the same pid."""
    stat = _stat(pid)
    return (pid, stat[2]) if stat else None


def running(pid):
    stat = _stat(pid)
    return stat is not None and stat[3] not in "ZX"


def family(root):
    """Pids of root and all its descendants that run, also those of its session that lost their parent."""
    parents, members = {}, {root}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(int(entry))) and stat[3] not in "ZX":
            parents[int(entry)] = stat
    members |= {pid for pid, stat in parents.items() if stat[1] == root}
    grown = True
    while grown:
        more = {pid for pid, stat in parents.items() if stat[0] in members} - members
        members |= more
        grown = bool(more)
    return {pid for pid in members if pid in parents}


def by_name(root):
    """{program name: sorted pids} of the family of root."""
    found = {}
    for pid in sorted(family(root)):
        found.setdefault(name(pid), []).append(pid)
    return found


def by_title(root):
    """{what one of virtgate's processes calls itself, such as "gate-1": sorted pids} of the family of root."""
    found = {}
    for pid in sorted(family(root)):
        try:
            line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        title = line.split(b"\0")[0].decode(errors="replace").rstrip(" ")
        if title.startswith("virtgate: "):
            found.setdefault(title.removeprefix("virtgate: "), []).append(pid)
    return found


def wait_gone(identities, patience=10.0):
    """Those of the (pid, start time) that still run after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        left = [who for who in identities if who and identity(who[0]) == who and running(who[0])]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def end(process, patience=10.0):
    """SIGTERM to a subprocess.Popen and, if that does not help in time, SIGKILL; its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
        except Exception:
            process.kill()
    return process.wait()


def resident(pid):
    """Resident memory in bytes."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def descriptors(pid):
    """Number of open descriptors, or None where that may not be read."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


def links(pid):
    """{number: what it leads to} of the open descriptors; without those that are closed while this looks."""
    found = {}
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/{pid}/fd/{entry}")
        except FileNotFoundError:
            pass
    return found
