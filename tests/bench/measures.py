# SPDX-License-Identifier: LGPL-2.1-or-later
"""measures - one round of measurements on freshly started servers, and the book in which all rounds are kept.

The columns: "a" the upstream's UNIX socket, "b" libvirtd over its own TLS, "c" virtgate over TLS in front of
it, "d" virtproxyd over TLS.
"""

import collections
import contextlib
import json
import statistics
import subprocess
import time

import locks
import policies
import sandboxes
import volumes
from servers import BenchError, Libvirtd, Virtgate, processes

SHAPES = {"1x1": (1, 1), "1x8": (1, 8), "16x4": (16, 4)}  # connections x calls in flight on each
CALLS = {"lib_version": [], "domain_xml": ["--domain", "test"]}
URI = "test:///default"
URI_ELSEWHERE = "qemu:///session"  # served by the second libvirtd
URI_STORAGE = "storage:///session"
POOL, VOLUME = "bench", "volume"
UPSTREAM = "upstream libvirtd"


class Plan:
    """How long and how often."""

    def __init__(self, quick):
        self.rounds = 2 if quick else 5
        self.seconds = 0.25 if quick else 0.5
        self.connect_seconds = 0.3 if quick else 0.6
        self.idle_clients = 100 if quick else 1000
        self.idle_seconds = 1.0 if quick else 5.0
        self.keepalive_seconds = 6.0 if quick else 11.0
        self.stream_bytes = (32 if quick else 256) << 20
        self.store_turns = 1 if quick else 3
        self.sparse_bytes = (1 if quick else 100) * 10**9
        self.sandbox_turns = 2 if quick else 6
        self.lock_turns = 2 if quick else 6
        self.idle_lock_clients = 500 if quick else 10000


class Book:
    """Values by (figure, column), one for each round in which it was measured."""

    def __init__(self):
        self.values = collections.defaultdict(list)

    def add(self, figure, column, value):
        self.values[figure, column].append(value)

    def get(self, figure, column):
        return self.values.get((figure, column), [])

    def median(self, figure, column):
        values = self.get(figure, column)
        return statistics.median(values) if values else None

    def ratios(self, figure, column, base_figure, base_column):
        """Round by round, so that a slow minute of the machine hits both sides."""
        return [x / y for x, y in zip(self.get(figure, column), self.get(base_figure, base_column)) if y]

    def to_json(self):
        return [{"figure": figure, "column": column, "values": values}
                for (figure, column), values in sorted(self.values.items())]


class Round:
    """Starts fresh servers, measures everything once, and stops them."""

    def __init__(self, bench, number):
        self.bench, self.plan, self.book, self.number = bench, bench.plan, bench.book, number
        self.stack = contextlib.ExitStack()
        self.directory = bench.directory / f"round{number}"
        self.first = None   # libvirtd with RSA keys, the upstream of virtgate
        self.second = None  # libvirtd with ECDSA keys
        self.gates = {}     # virtgate by its kind of keys
        self.volume = None  # key of the volume for streams, when there is one

    def __enter__(self):
        self.directory.mkdir()
        self.directory.chmod(0o755)
        try:
            self._start_servers()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        self.stack.close()

    def _keep(self, server):
        self.stack.callback(server.stop)
        return server

    def _start_servers(self):
        pki = self.bench.pki
        self.first = self._keep(Libvirtd(self.directory / "libvirtd", pki["rsa"]))
        self.second = self._keep(Libvirtd(self.directory / "libvirtd2", pki["ecdsa"]))
        self.calls(self.second.tls, "16x4", seconds=0.1)  # the first sessions fill caches
        if not self.bench.virtgate:
            return
        upstreams = {URI: self.first.socket, URI_STORAGE: self.first.socket,
                     URI_ELSEWHERE: self.second.socket}
        for kind in ("rsa", "ecdsa"):
            directory = self.directory / f"virtgate-{kind}"
            self.gates[kind] = self._keep(Virtgate(self.bench.virtgate, directory, kind, upstreams))
            self.calls(self.gates[kind].tls, "16x4", seconds=0.1)  # and start a worker

    # --- running loads ---

    def load(self, mode, target, *options, watch=()):
        """Runs virtgate-load to its end; its report."""
        command = [str(word) for word in (self.bench.load, mode, target, *options)]
        for pid in watch:
            command += ["--watch", str(pid)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if run.returncode != 0:
            raise BenchError(f"{' '.join(command)}: {run.stderr.strip()}")
        return json.loads(run.stdout)

    def calls(self, target, shape, *options, watch=(), seconds=None, uri=URI):
        connections, depth = SHAPES[shape]
        return self.load("calls", target, "--uri", uri, "--connections", connections, "--depth", depth,
                         "--seconds", seconds or self.plan.seconds, *options, watch=watch)

    @contextlib.contextmanager
    def background(self, mode, target, *options, wait_ready=False, nice=0):
        """virtgate-load beside other measurements; it ends by itself or with this block. Its report."""
        command = [str(word) for word in ("nice", "-n", nice, self.bench.load, mode, target, *options)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                if wait_ready and "ready" not in process.stdout.readline():
                    raise BenchError(f"{' '.join(command)}: not connected")
                report = {}
                yield report
                process.stdin.close()
                text = process.stdout.read()
                if process.wait(60) != 0:
                    raise BenchError(f"{' '.join(command)}: failed")
                report.update(json.loads(text))
            finally:
                if process.poll() is None:
                    process.kill()

    @contextlib.contextmanager
    def idle_clients(self, targets, *options, uri=URI):
        with contextlib.ExitStack() as stack:
            for target in targets:
                stack.enter_context(self.background("idle", target, "--uri", uri, "--connections",
                                                    self.plan.idle_clients, *options, wait_ready=True))
            yield

    def targets(self, proxy_too=False):
        """{column: (target, {pid: name})}, in another order each round: no column always goes first."""
        found = {"a": (self.first.direct, self.first.members()), "b": (self.first.tls, self.first.members())}
        if self.gates:
            gate = self.gates["ecdsa"]
            found["c"] = (gate.tls, {**gate.members(), **self.first.members()})
        if self.bench.proxy and proxy_too:
            found["d"] = (self.bench.proxy, {})
        names = list(found)
        turn = self.number % len(names)
        return {name: found[name] for name in names[turn:] + names[:turn]}

    # --- idle clients ---

    def measure_idle(self):
        """Memory, CPU and the speed of calls with idle clients. First: memory needs fresh processes."""
        plan, gate = self.plan, self.gates.get("ecdsa")
        idle_targets = [server.tls for server in (self.second, gate) if server]
        # (a) shows what libvirtd itself loses by the sessions that virtgate holds there for its idle clients.
        callers = {"b": self.second.tls} | ({"c": gate.tls, "a": self.first.direct} if gate else {})
        before = self._resident()
        with self.idle_clients(idle_targets):
            self._book_memory(before)
            self._book_idle_cpu("idle CPU", plan.idle_seconds)
            self._book_calls(callers, "idle")
        self._book_calls(callers, "alone")
        if gate:
            with self.idle_clients([gate.tls], uri=URI_ELSEWHERE):
                self._book_calls({"c": gate.tls}, "idle elsewhere")
        if self.number == 0:  # one round only, since it takes two periods of the keepalive
            with self.idle_clients(idle_targets, "--keepalive"):
                self._book_idle_cpu("idle CPU, keepalive", plan.keepalive_seconds)

    def _book_calls(self, callers, text):
        for shape in ("1x1", "16x4"):
            for column, target in callers.items():
                self.book.add(f"calls {shape}, {text}", column, self.calls(target, shape)["rate"])

    def _sum_members(self, read):
        """{(column, process name): sum of read(pid)} of what serves the idle clients."""
        sums = collections.Counter()
        for pid in self.second.members():
            sums["b", "libvirtd"] += read(pid)
        if self.gates:
            for pid, name in self.gates["ecdsa"].members().items():
                sums["c", name] += read(pid)
                sums["c", "ours"] += read(pid)
            for pid in self.first.members():
                sums["c", UPSTREAM] += read(pid)
        return sums

    def _resident(self):
        return self._sum_members(processes.resident)

    def _book_memory(self, before):
        for key, after in self._resident().items():
            self.book.add(f"memory {key[1]}", key[0], (after - before[key]) / self.plan.idle_clients / 1024)

    def _book_idle_cpu(self, figure, seconds):
        time.sleep(1.0)  # for what the last connections left to do
        began, before = time.monotonic(), self._sum_members(cpu_seconds)
        time.sleep(seconds)
        after, passed = self._sum_members(cpu_seconds), time.monotonic() - began
        for key, value in after.items():
            self.book.add(f"{figure} {key[1]}", key[0], (value - before[key]) / passed * 100)

    # --- calls, new sessions, streams ---

    def measure_calls(self):
        for call, options in CALLS.items():
            for shape in SHAPES:
                for column, (target, members) in self.targets(proxy_too=not options).items():
                    uri = self.bench.proxy_uri if column == "d" else URI
                    report = self.calls(target, shape, *options, watch=members, uri=uri)
                    figure = f"{call} {shape}"
                    self.book.add(f"{figure} calls/s", column, report["rate"])
                    self.book.add(f"{figure} p50", column, report["p50_us"])
                    self.book.add(f"{figure} p99", column, report["p99_us"])
                    self._book_cpu(figure, column, report, members)

    def _book_cpu(self, figure, column, report, members):
        """CPU microseconds by process name for each thing counted in the report."""
        sums = collections.Counter()
        for pid, name in members.items():
            used = report["cpu_ns"].get(str(pid), 0) / 1000 / max(report["count"], 1)
            sums[name] += used
            if column == "c" and name != "libvirtd":
                sums["ours"] += used
        sums["load"] = report["self_cpu_ns"] / 1000 / max(report["count"], 1)
        for name, used in sums.items():
            self.book.add(f"{figure} CPU {name}", column, used)

    def measure_connects(self):
        servers = {("b", "rsa"): self.first, ("b", "ecdsa"): self.second}
        servers |= {("c", kind): gate for kind, gate in self.gates.items()}
        for parallel, options in ((1, ()), (8, ("--threads", 2, "--connections", 4))):
            options = ("--uri", URI, "--seconds", self.plan.connect_seconds, *options)
            for (column, kind), server in servers.items():
                self.calls(server.tls, "1x1", seconds=0.05)  # a worker ends some time after its last session
                members = server.members() | (self.first.members() if column == "c" else {})
                report = self.load("connects", server.tls, *options, watch=members)
                figure = f"connections {kind} {parallel}"
                self.book.add(f"{figure} /s", column, report["rate"])
                self.book.add(f"{figure} p50", column, report["p50_us"] / 1000)
                self._book_cpu(figure, column, report, members)
            self.book.add(f"connections unix {parallel} /s", "a",
                          self.load("connects", self.first.direct, *options)["rate"])

    def measure_storm(self):
        """One client's calls while eight threads make sessions as fast as they get them."""
        calls = {"b": (self.first, self.first.tls)}
        if self.gates:
            # (a) shows what every client of the upstream loses when something else keeps all CPUs busy.
            gate = self.gates["rsa"]
            calls |= {"c": (gate, gate.tls), "a": (gate, self.first.direct)}
        options = ("--uri", URI, "--threads", 8, "--seconds", self.plan.seconds + 0.7)
        for column, (stormed, target) in calls.items():
            self.book.add("calls 1x1, calm", column, self.calls(target, "1x1")["rate"])
            for nice in (0, 19):
                with self.background("connects", stormed.tls, *options, nice=nice) as storm:
                    time.sleep(0.4)
                    rate = self.calls(target, "1x1")["rate"]
                self.book.add(f"calls 1x1, storm nice {nice}", column, rate)
                self.book.add(f"storm nice {nice} sessions/s", column, storm["rate"])

    def measure_policy(self):
        if self.bench.virtgate:
            (self.directory / "policies").mkdir()
            (self.directory / "policies").chmod(0o755)
            policies.measure(self)

    def measure_sandbox(self):
        if self.bench.virtgate:
            sandboxes.measure(self)

    def measure_volumes(self):
        if self.bench.virtgate:
            volumes.measure(self)

    def measure_locks(self):
        if self.bench.virtgate:
            locks.measure(self)

    def volume_key(self):
        """Of the volume that streams go to and come from, behind the first libvirtd."""
        if self.volume is None:
            self.volume = self.first.make_volume(POOL, VOLUME, self.plan.stream_bytes)
            self.stream("upload", self.first.direct, self.volume)  # once for nothing: it allocates the file
        return self.volume

    def measure_streams(self):
        size = self.plan.stream_bytes
        key = self.volume_key()
        for mode in ("upload", "download"):
            for column, (target, members) in self.targets().items():
                report = self.stream(mode, target, key, members)
                self.book.add(f"{mode} MB/s", column, report["rate"])
                sums = collections.Counter()
                for pid, name in members.items():
                    sums[name] += report["cpu_ns"].get(str(pid), 0) / size
                for name, used in sums.items():
                    self.book.add(f"{mode} CPU {name}", column, used)

    def stream(self, mode, target, key, watch=()):
        return self.load(mode, target, "--uri", URI_STORAGE, "--pool", POOL, "--volume", VOLUME, "--key", key,
                         "--bytes", self.plan.stream_bytes, watch=watch)


def cpu_seconds(pid):
    """CPU time of a process with its ended threads, to the nanosecond; 0 if it is gone."""
    try:
        return time.clock_gettime(((~pid) << 3) | 2)  # the kernel's name of that process' CPU clock
    except OSError:
        return 0.0
