# SPDX-License-Identifier: LGPL-2.1-or-later
"""volumes - streams beyond one at a time: virtgate's own store beside GnuTLS alone, eight downloads that share, a call
beside them, and memory while 100 GB of holes come down.
"""

import json
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


def raw_rate(current):
    """MB/s of GnuTLS in one direction, with the server's certificate of the same kind."""
    command = [current.bench.virtgate.parent / "virtgate-raw-tls", current.bench.pki["ecdsa"].server, current.plan.stream_bytes]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)["rate"]


def measure_store(current, store):
    """In turns, so that each stream has its yard-stick beside it."""
    members = store.gate.members()
    for turn in range(current.plan.store_turns):
        for mode in MODES if turn % 2 == 0 else MODES[::-1]:
            report = store.stream(mode, store.gate.tls, watch=members)
            current.book.add(f"store {mode} MB/s", "c", report["rate"])
            current.book.add(f"store {mode} MB/s", "raw", raw_rate(current))
            used = sum(report["cpu_ns"].values()) / current.plan.stream_bytes
            current.book.add(f"store {mode} CPU", "c", used)


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
