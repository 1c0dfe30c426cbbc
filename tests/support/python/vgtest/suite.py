# SPDX-License-Identifier: LGPL-2.1-or-later
"""suite - starts, watches and ends all of virtgate by `virtgate up`."""

import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess

from vgtest import processes, upstream, wire

BUILD = pathlib.Path(
    os.environ.get("VIRTGATE_BUILD") or pathlib.Path(__file__).parents[4] / "build"
).resolve()
START_PATIENCE = 30.0
NAMES = (
    "virtgate",
    "virtgate-netd",
    "virtgate-gate",
    "virtgate-keeper",
    "virtgate-doorman",
    "virtgate-announcer",
    "virtgate-steward",
    "virtgate-exporter",
    "virtgate-workerd",
    "virtgate-auditor",
    "virtgate-lockd",
    "virtgate-locker",
    "virtgate-worker",
)


class Suite:
    """A running suite in a directory of its own.

    `upstreams` maps a URI to the path of a socket; `settings` are changes of the configuration,
    such as {"netd.limits.handshake": 1}.
    """

    programs = BUILD  # where virtgate and its daemons are
    prefix = ()  # of the command: a program that executes its arguments

    def __init__(self, directory, upstreams, settings=None, key_type=None):
        self.directory, self.upstreams, self.settings = (
            pathlib.Path(directory),
            dict(upstreams),
            dict(settings or {}),
        )
        self.pki = self.directory / "pki" / "client"
        self.log_path = self.directory.with_name(self.directory.name + ".log")
        self.process, self.port, self.tcp_port, self.seen = None, None, None, set()
        self._context, self.key_type = None, key_type

    @property
    def ready(self):
        return self.directory / "ready"

    @property
    def local_socket(self):
        """The UNIX socket for clients; the one for readers only has "-ro" behind that."""
        return self.directory / "run" / "virtgate-sock"

    @property
    def admin_socket(self):
        """Where administrators connect: virt-admin, and virtgate's own tools."""
        return self.directory / "run" / "admin-sock"

    @property
    def metrics_socket(self):
        """Where what is counted is read, in suites with METRICS among their settings."""
        return self.directory / "run" / "metrics-sock"

    @property
    def lock_socket(self):
        """Where the lock program is served."""
        return self.directory / "run" / "lockd.sock"

    def start(self):
        program = self.programs / "virtgate"
        assert program.exists(), f"{program} is not built; VIRTGATE_BUILD names the directory of the programs"
        command = [*self.prefix, str(program), "up", "--dir", str(self.directory), "--tls-port", "0"]
        for uri, path in self.upstreams.items():
            command += ["--upstream", f"{uri}={path}"]
        sandbox = os.environ.get("VIRTGATE_SANDBOX")  # "report" names the system calls that are not allowed
        usual = {f"{daemon}.sandbox": f'"{sandbox}"' for daemon in ("netd", "workerd", "lockd")} if sandbox else {}
        for name, value in (usual | self.settings).items():
            command += ["--set", f"{name}={value}"]
        if self.key_type:
            command += ["--key-type", self.key_type]
        self.ready.unlink(missing_ok=True)  # of one that was killed
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            upstream.poll(
                lambda: self.ready.exists() or self.process.poll() is not None,
                START_PATIENCE,
                lambda: f"{self.ready}; log:\n{self.log()[-3000:]}",
            )
            assert self.process.poll() is None, f"virtgate up ended:\n{self.log()[-3000:]}"
            ports = dict(re.findall(r"^(tls|tcp)_port=(\d+)$", self.ready.read_text(), re.M))
            self.port, self.tcp_port = int(ports["tls"]), int(ports.get("tcp", 0)) or None
        except AssertionError:
            self.stop()
            raise
        self.remember()
        return self

    def stop(self, patience=15.0):
        """SIGTERM; fails if a process or socket stays behind. The exit status of `virtgate up`."""
        self.remember()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            status = None
        left = processes.wait_gone(self.seen, 5.0)
        names = [(who[0], processes.name(who[0])) for who in left]
        for who in left:
            os.kill(who[0], signal.SIGKILL)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert (
            status is not None and not left
        ), f"still there after SIGTERM: {names}; log:\n{self.log()[-3000:]}"
        sockets = [p for p in self.directory.rglob("*") if stat.S_ISSOCK(p.lstat().st_mode)]
        assert not sockets and not self.ready.exists(), f"files stay behind: {sockets or self.ready}"
        return status

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # --- processes ---

    def remember(self):
        """Note all processes of the suite, so that stop() can prove that they are gone."""
        self.seen |= {processes.identity(pid) for pid in processes.family(self.process.pid)} - {None}

    def pids(self, name):
        """Sorted pids of the program `name` in this suite."""
        self.remember()
        return processes.by_name(self.process.pid).get(name, [])

    def daemons(self):
        """{(name, pid, start time)} of all processes but the workers, which come and go with their
        identities.
        """
        self.remember()
        return {
            (processes.name(pid), *processes.identity(pid))
            for pid in processes.family(self.process.pid)
            if processes.name(pid) in NAMES[:-1]
        }

    # --- clients ---

    def context(self):
        if self._context is None:
            self._context = wire.tls_context(self.pki)
        return self._context

    def connect(self, **options):
        """A raw client behind TLS and the confirmation byte, with the suite's own client certificate."""
        options.setdefault("context", self.context())
        return wire.connect_tls(self.port, **options)

    def open(self, uri, **options):
        return self.connect().open(uri, **options)

    def uri(self, scheme="test", path="/default", host="localhost", pki=None, more=""):
        """The URI for libvirt's own clients."""
        return f"{scheme}+tls://{host}:{self.port}{path}?pkipath={pki or self.pki}{more}"

    def tcp_uri(self, scheme="test", path="/default", more=""):
        """The same without TLS; `more` begins with "?"."""
        return f"{scheme}+tcp://localhost:{self.tcp_port}{path}{more}"

    def local_uri(self, scheme="test", path="/default", more=""):
        """The same over the UNIX socket."""
        return f"{scheme}+unix://{path}?socket={self.local_socket}{more}"

    def lend_certificates(self, directory):
        """Make the directory of another suite, with this one's certificates in it."""
        directory.mkdir()
        shutil.copytree(self.directory / "pki", directory / "pki")

    def sibling(self, directory, settings=None):
        """Another suite, not started, with this one's certificates and upstreams."""
        directory = pathlib.Path(directory)
        self.lend_certificates(directory)
        return Suite(directory, self.upstreams, settings)

    def add_policy(self, name, text):
        """Write a file of the policy; in force from the next start on. Before the first one "10-local.toml"
        replaces the file that `virtgate up` would write.
        """
        policy = self.directory / "etc" / "policy.d"
        policy.mkdir(parents=True, exist_ok=True)
        (policy / name).write_text("version = 1\n" + text)
