# SPDX-License-Identifier: LGPL-2.1-or-later
"""policies - what rules cost: the calls of an identity that may do everything, of one whose rights depend on objects, and
of everybody else while one identity floods.

libvirtd has 1,000 domains. The client with object rules may use all of them by a pattern that begins with a wildcard, so
that each call is judged by its object; what is judged is the name that libvirt has for the uuid in the call.
"""

import contextlib
import json
import pathlib
import subprocess
import threading

from servers import BenchError, Virtgate, issue
from vgtest import wire

URI = "test:///default"
DOMAINS = 1000
ONE = "machine-500"
SHAPES = ("1x1", "16x4")
NUM_OF_DOMAINS = 51
POLICY = """version = 1
[role.web]
allow = ["@read-only", "@lifecycle", "@events"]
[role.throttled]
include = ["web"]
limits = { calls_per_second = 100 }

[identity.free]
x509 = { CN = "free" }
[identity.rules]
x509 = { CN = "rules" }
[identity.flood]
x509 = { CN = "flood" }

[[binding]]
identity = "free"
role = "admin"
[[binding]]
identity = "rules"
role = "web"
objects = { domain = ["glob:*machine*"] }
[[binding]]
identity = "flood"
role = "throttled"
objects = { domain = ["glob:*machine*"] }
"""


class House:
    """virtgate with three identities, in front of `libvirtd`, which gets its domains here."""

    def __init__(self, stack, program, directory, libvirtd):
        self.directory, self.libvirtd = pathlib.Path(directory), libvirtd
        # The test driver forgets everything with its last connection.
        keep = stack.enter_context(wire.connect_unix(libvirtd.socket))
        keep.open(URI)
        self._define()
        policies = self.directory / "etc" / "policy.d"
        policies.mkdir(parents=True)
        for part in (self.directory, self.directory / "etc", policies):
            part.chmod(0o755)
        (policies / "20-bench.toml").write_text(POLICY)
        self.gate = Virtgate(program, self.directory, "ecdsa", {URI: libvirtd.socket})
        stack.callback(self.gate.stop)
        self.pki = {name: self._issue(name) for name in ("free", "rules", "flood")}

    def _define(self):
        place = self.directory.with_name("domains")
        place.mkdir()
        lines = []
        for number in range(DOMAINS):
            path = place / f"{number}.xml"
            path.write_text(
                f"<domain type='test'><name>machine-{number}</name><memory>8192</memory><vcpu>1</vcpu>"
                "<os><type>hvm</type></os></domain>"
            )
            lines.append(f"define {path}")
        command = ["virsh", "-q", "-c", f"test+unix:///default?socket={self.libvirtd.socket}"]
        run = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=120,
                             check=False)
        if run.returncode != 0:
            raise BenchError(f"virsh define: {run.stderr.strip()}")

    def _issue(self, name):
        """A directory for virtgate-load with a certificate for `name`."""
        to = self.directory.with_name(f"pki-{name}")
        to.mkdir()
        authority = self.directory / "pki" / "ca"
        (to / "cacert.pem").write_bytes((authority / "cacert.pem").read_bytes())
        issue(authority, "client", "ecdsa", to / "clientcert.pem", to / "clientkey.pem", name)
        return to

    def target(self, name):
        return f"tls:127.0.0.1:{self.gate.port}:{self.pki[name]}"

    @contextlib.contextmanager
    def flood(self, connections=4):
        """The identity "flood" calls as fast as it can, far above its limit, and takes what comes back."""
        clients = [wire.connect_tls(self.gate.port, wire.tls_context(self.pki["flood"])) for _ in range(connections)]
        burst = b"".join(wire.call(NUM_OF_DOMAINS, serial=100 + n).pack() for n in range(50))
        over = threading.Event()

        def pour(sock):
            # What comes back for a burst is less than one recv() takes, so that this never stops for want of reading.
            with contextlib.suppress(OSError, ValueError):
                while not over.is_set():
                    sock.sendall(burst)
                    sock.recv(1 << 16)

        threads = [threading.Thread(target=pour, args=(client.sock,), daemon=True) for client in clients]
        try:
            for client, thread in zip(clients, threads):
                client.open(URI)
                client.sock.settimeout(5.0)
                thread.start()
            yield
        finally:
            over.set()
            for thread in threads:
                if thread.ident:
                    thread.join(10)
            for client in clients:
                client.close()


def decide(current):
    """Books what virtgate-decisions says of a policy with 10,000 bindings."""
    program = current.bench.load.with_name("virtgate-decisions")
    run = subprocess.run([program], capture_output=True, text=True, timeout=120, check=False)
    if run.returncode != 0:
        raise BenchError(f"{program}: status {run.returncode}")
    said = json.loads(run.stdout)
    for figure in ("compile_ms", "decide_ns", "need_ns"):
        current.book.add(f"policy {figure}", "c", said[figure])


def measure(current):
    """Books, for one round, calls/s by kind of rights and the p99 of others during a flood."""
    decide(current)
    with contextlib.ExitStack() as stack:
        house = House(stack, current.bench.virtgate, current.directory / "policies" / "virtgate", current.first)
        targets = {"direct": current.first.direct, "free": house.target("free"), "rules": house.target("rules")}
        for target in targets.values():
            current.calls(target, "16x4", "--domain", ONE, seconds=0.2)  # workers start, names get known
        names = list(targets)
        for shape in SHAPES:
            turn = current.number % len(names)
            for name in names[turn:] + names[:turn]:
                report = current.calls(targets[name], shape, "--domain", ONE)
                current.book.add(f"policy {shape} calls/s", name, report["rate"])
                current.book.add(f"policy {shape} p50", name, report["p50_us"])
        for name in ("free", "rules"):
            current.book.add("policy p99, calm", name, current.calls(targets[name], "1x1", "--domain", ONE)["p99_us"])
        with house.flood():
            for name in ("free", "rules"):
                during = current.calls(targets[name], "1x1", "--domain", ONE)["p99_us"]
                current.book.add("policy p99, flood", name, during)
