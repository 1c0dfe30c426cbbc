# SPDX-License-Identifier: LGPL-2.1-or-later
"""locks - a client of libvirt's lock program, and the two daemons that serve it: ours and Debian's virtlockd.

Both run in a directory of their own. Nothing here is shared with the programs under test.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess

from vgtest import processes, suite, upstream, wire
from vgtest.libvirtd import NOBODY
from vgtest.wire import string, u32

LOCK = 0x0EA7BEEF
REGISTER, RESTRICT, NEW, CREATE_RESOURCE, DELETE_RESOURCE, ACQUIRE, RELEASE, CREATE_LOCKSPACE = range(1, 9)
SHARED, AUTOCREATE = 1, 2
VIRTLOCKD = "/usr/sbin/virtlockd"
UUID = bytes(range(16))

# Codes and domains of the answers that matter here.
INTERNAL, INVALID_ARGUMENT, DENIED, SYSTEM, RPC, INVALID, BUSY = 1, 8, 29, 38, 39, 55, 87
FROM_RPC, FROM_LOCK_SPACE = 7, 51


class Locks(wire.Client):
    """One connection. Each call returns None for success, or (code, domain, text)."""

    def lock(self, proc, payload=b"", patience=wire.PATIENCE):
        reply = self.ask(proc, payload, prog=LOCK, patience=patience)
        if reply.status == wire.ERROR:
            return reply.error()
        assert reply.payload == b"", reply
        return None

    def register(self, pid=None, number=1, name="guest", uuid=UUID, flags=0):
        pid = os.getpid() if pid is None else pid
        return self.lock(REGISTER, uuid + string(name) + u32(number) + u32(pid) + u32(flags))

    def restrict(self, flags=0):
        return self.lock(RESTRICT, u32(flags))

    def new(self, path, flags=0):
        return self.lock(NEW, string(str(path)) + u32(flags))

    def open_space(self, path):
        return self.lock(CREATE_LOCKSPACE, string(str(path)))

    def _resource(self, proc, path, name, flags):
        path = path if isinstance(path, bytes) else str(path)
        name = name if isinstance(name, bytes) else str(name)
        return self.lock(proc, string(path) + string(name) + u32(flags))

    def create(self, path, name, flags=0):
        return self._resource(CREATE_RESOURCE, path, name, flags)

    def delete(self, path, name, flags=0):
        return self._resource(DELETE_RESOURCE, path, name, flags)

    def acquire(self, path, name, flags=0):
        return self._resource(ACQUIRE, path, name, flags)

    def release(self, path, name, flags=0):
        return self._resource(RELEASE, path, name, flags)


def connect(path):
    return Locks(wire.connect_unix(path).sock)


def is_free(path, shared=False):
    """True if a third process could have the lock that virtlockd would take, or if the file is not there."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        # A lock of the process: it excludes ours and virtlockd's alike.
        fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB, 1, 0)
        return True
    except OSError:
        return False
    finally:
        os.close(file)


@contextlib.contextmanager
def guest(ready, deaf=False, leaves=False):
    """The pid of a process that has run `ready()`, as the fork of a daemon that is about to become a guest; the connection
    that it returns stays open unless it `leaves`. A `deaf` one does not end by SIGTERM.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            if deaf:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            connection = ready()
            os.write(write, b"1")
            if leaves:
                connection.close()
            while True:
                signal.pause()
        finally:
            os._exit(3)
    try:
        os.close(write)
        assert os.read(read, 1) == b"1", "the guest could not be made ready"
        os.close(read)
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def ended(pid, patience):
    """How the child `pid` ended: its wait status; None if it still runs after `patience` seconds."""
    found = []

    def gone():
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            found.append(status)
        return bool(done)

    with contextlib.suppress(AssertionError):
        upstream.poll(gone, patience)
    return found[0] if found else None


class Daemon:
    """What both daemons have: a directory with `spaces` for lock spaces and `direct` for files, and a socket."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.spaces, self.direct = self.directory / "spaces", self.directory / "direct"
        for part in (self.spaces, self.direct, self.directory / "run"):
            part.mkdir(parents=True, exist_ok=True)
        self.process, self.log_path = None, self.directory / "log"

    def launch(self, command):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        upstream.poll(
            lambda: self.process.poll() is not None or self.answers(), what=lambda: f"an answer; log:\n{self.log()}"
        )
        assert self.process.poll() is None, f"it ended:\n{self.log()}"
        return self

    def answers(self):
        try:
            with connect(self.socket) as client:
                return client.alive(1.0)
        except (OSError, wire.Closed, TimeoutError):
            return False

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def connect(self):
        return connect(self.socket)

    def owner(self, pid=424242, **facts):
        """A connection that speaks for the process `pid`."""
        client = self.connect()
        assert client.register(pid, **facts) is None
        return client

    def stop(self):
        if self.process is not None:
            started = {processes.identity(pid) for pid in processes.family(self.process.pid)}
            processes.end(self.process)
            left = processes.wait_gone(started)
            assert not left, f"left behind: {left}"

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class Lockd(Daemon):
    """virtgate-lockd, with the holder as its only keeper."""

    programs = suite.BUILD
    prefix = ()  # of the command: a program that executes its arguments

    def __init__(self, directory, **settings):
        super().__init__(directory)
        self.socket = self.directory / "run" / "lockd.sock"
        self.settings_path = self.directory / "run" / "lockd.toml"  # a confined holder reads it again
        self.settings = {
            "log_level": "debug",
            "sandbox": os.environ.get("VIRTGATE_SANDBOX", "best-effort"),
            "socket": self.socket,
            "lock_spaces": [self.spaces],
            "direct": [self.direct],
            "state_directory": self.directory / "state",
        } | settings

    def write_settings(self):
        def text(value):
            if isinstance(value, bool):
                return str(value).lower()
            if isinstance(value, list):
                return "[" + ", ".join(map(text, value)) + "]"
            return str(value) if isinstance(value, int) else f'"{value}"'

        lines = [f"{key} = {text(value)}\n" for key, value in self.settings.items()]
        self.settings_path.write_text("".join(lines))

    def start(self):
        self.write_settings()
        return self.launch([*self.prefix, str(self.programs / "virtgate-lockd"), "--config", str(self.settings_path)])

    @property
    def lockers(self):
        return processes.by_name(self.process.pid).get("virtgate-locker", [])

    def kill_locker(self):
        """End the locker as if it had crashed, and wait until the next one serves."""
        (locker,) = self.lockers
        os.kill(locker, signal.SIGKILL)
        self.wait_for_locker(locker)

    def reload(self):
        (locker,) = self.lockers
        self.process.send_signal(signal.SIGUSR1)
        self.wait_for_locker(locker)

    def wait_for_locker(self, before):
        upstream.poll(
            lambda: self.lockers not in ([], [before]) and self.answers(), what=lambda: f"a new locker:\n{self.log()}"
        )


class UnprivilegedLockd(Lockd):
    """Runs as nobody when the tests run as root, with none of root's capabilities but those named ("kill")."""

    def __init__(self, directory, capabilities=(), **settings):
        super().__init__(directory, **settings)
        if os.geteuid() != 0:
            return
        kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
        self.prefix = (
            *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
            *(f"--inh-caps={kept}", f"--ambient-caps={kept}", f"--bounding-set={kept}"),
        )
        # Where the tests are built, another user may not be able to look.
        self.programs = self.directory / "programs"
        self.programs.mkdir()
        for name in ("virtgate-lockd", "virtgate-locker"):
            shutil.copy(Lockd.programs / name, self.programs / name)
        for path in [self.directory, *self.directory.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)


class Virtlockd(Daemon):
    """Debian's virtlockd. As root it would use /run/libvirt of the machine: it gets a mount namespace in which that is a
    directory of ours.
    """

    def start(self):
        if os.geteuid() == 0:
            self.socket = self.directory / "run" / "virtlockd-sock"
            pathlib.Path("/run/libvirt").mkdir(exist_ok=True)
            inside = (
                'mount --make-rprivate / && mount --bind "$1" /run/libvirt && exec "$2" -f /dev/null -p "$1/pid"'
            )
            command = ["unshare", "-m", "sh", "-c", inside, "sh", str(self.directory / "run"), VIRTLOCKD]
            return self.launch(command)
        self.socket = self.directory / "run" / "libvirt" / "virtlockd-sock"
        environment = [f"XDG_RUNTIME_DIR={self.directory}/run", f"HOME={self.directory}"]
        return self.launch(["env", *environment, VIRTLOCKD, "-f", "/dev/null", "-p", f"{self.directory}/run/pid"])


def virtlockd_available():
    return os.access(VIRTLOCKD, os.X_OK) and (os.geteuid() != 0 or shutil.which("unshare") is not None)
