# SPDX-License-Identifier: LGPL-2.1-or-later
"""volumes - streams beyond one at a time: virtgate's own store beside GnuTLS alone, eight downloads that share, a call
beside them, and memory while 100 GB of holes come down.
"""

import collections
import json
import os
import pathlib
import subprocess
import time

from servers import BenchError, processes

URI_STORE, POOL, PARALLEL = "virtgate:///", "default", 8
MODES = ("upload", "download")


class Store:
    """The store behind the gate with ECDSA keys, with one volume."""

    def __init__(self, current):
        self.current, self.gate = current, current.gates["ecdsa"]
        self.pki = self.gate.directory / "pki" / "client"
        self.uri = f"virtgate+tls://localhost:{self.gate.port}/?pkipath={self.pki}"
        self.virsh("vol-create-as", POOL, "volume", current.plan.stream_bytes, "--allocation", 0)
        self.key = self.virsh("vol-key", "--pool", POOL, "volume").strip()
        self.stream("upload", self.gate.tls)

    def virsh(self, *words):
        command = ["virsh", "-q", "-c", self.uri, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise BenchError(f"virsh {words[0]}: {done.stderr.strip()}")
        return done.stdout

    def stream(self, mode, target, *options, watch=()):
        return self.current.load(mode, target, "--uri", URI_STORE, "--pool", POOL, "--volume", "volume", "--key", self.key,
                                 "--bytes", self.current.plan.stream_bytes, *options, watch=watch)


def raw_tls(current):
    """GnuTLS in one direction, with the server's certificate of the same kind: its report."""
    command = [current.bench.virtgate.parent / "virtgate-raw-tls", current.bench.pki["ecdsa"].server, current.plan.stream_bytes]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


def plain_write(current, directory):
    """Seconds and CPU seconds of writing as many bytes to a new file beside the volume, and bringing them to the disk."""
    path, piece, size = directory / ".bench", memoryview(bytes([0x5a]) * (256 << 10)), current.plan.stream_bytes
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        began, used = time.monotonic(), time.thread_time()
        for at in range(0, size, len(piece)):
            os.pwrite(descriptor, piece, at)
        os.fsync(descriptor)
        return time.monotonic() - began, time.thread_time() - used
    finally:
        os.close(descriptor)
        path.unlink()


def measure_store(current, store):
    """In turns, so that each stream has its yard-sticks beside it."""
    size, pool = current.plan.stream_bytes, store.gate.directory / "pools" / POOL
    members = store.gate.members()
    for turn in range(current.plan.store_turns):
        for mode in MODES if turn % 2 == 0 else MODES[::-1]:
            report, raw = store.stream(mode, store.gate.tls, watch=members), raw_tls(current)
            current.book.add(f"store {mode} MB/s", "c", report["rate"])
            current.book.add(f"store {mode} MB/s", "raw", raw["rate"])
            used = collections.Counter({"load": report["self_cpu_ns"] / size})
            for pid, name in members.items():
                used[name] += report["cpu_ns"].get(str(pid), 0) / size
            alone = {f"GnuTLS alone, {side}": raw[f"{side}_cpu_ns"] / size for side in ("sender", "receiver")}
            total = sum(used.values())
            # Seconds that a GB takes at least: as the slowest process, or all of them on these CPUs.
            least = max(total / os.cpu_count(), *used.values())
            current.book.add(f"store {mode} most", "c", max(alone.values()) / least)
            for name, value in (used | alone | {"all, load too": total}).items():
                current.book.add(f"store {mode} CPU {name}", "c", value)
        seconds, used = plain_write(current, pool)
        current.book.add("plain write MB/s", "c", size / 1e6 / seconds)
        current.book.add("plain write CPU", "c", used / size * 1e9)


def measure_sharing(current, store):
    """Eight downloads on eight connections: who has how much when the first one ends; and calls meanwhile."""
    key = current.volume_key()
    relay = {"--uri": "storage:///session", "--pool": "bench", "--volume": "volume", "--key": key}
    own = {"--uri": URI_STORE, "--pool": POOL, "--volume": "volume", "--key": store.key}
    for name, words in (("relay", relay), ("store", own)):
        options = [word for pair in words.items() for word in pair]
        options += ["--bytes", current.plan.stream_bytes, "--connections", PARALLEL]
        current.book.add(f"share {name}", "c", current.load("download", store.gate.tls, *options)["share"])
        with current.background("download", store.gate.tls, *options):
            time.sleep(0.1)
            current.book.add(f"call beside {name} p99", "c", current.calls(store.gate.tls, "1x1", seconds=0.3)["p99_us"] / 1000)


def peak(pid):
    """VmHWM in MB; 0 if it is gone."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return 0.0


def measure_memory(current, store):
    """Books how the peak of each process grows by a sparse download of very many holes, with a little data between."""
    store.virsh("vol-create-as", POOL, "sparse", current.plan.sparse_bytes, "--allocation", 0)
    path = store.gate.directory / "pools" / POOL / "sparse"
    with path.open("r+b") as file:
        for part in range(16):
            file.seek(current.plan.sparse_bytes // 16 * part)
            file.write(b"x" * (1 << 20))
    store.virsh("pool-refresh", POOL)
    copy = current.directory / "sparse"
    command = [current.bench.virtgate, "download", "-c", store.uri, "--sparse", f"{POOL}/sparse", copy]
    members = store.gate.members()
    before = {pid: peak(pid) for pid in members}
    own = 0.0
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL) as client:
        while client.poll() is None:
            own = max(own, peak(client.pid))
            time.sleep(0.005)
    if client.returncode != 0 or copy.stat().st_size != current.plan.sparse_bytes:
        raise BenchError("virtgate download: not all came")
    copy.unlink()
    current.book.add("sparse MB", "client", own)
    for pid, name in store.gate.members().items():
        if processes.identity(pid) and pid in before:
            current.book.add(f"sparse growth {name}", "c", peak(pid) - before[pid])


def measure(current):
    store = Store(current)
    measure_store(current, store)
    measure_sharing(current, store)
    measure_memory(current, store)
