# SPDX-License-Identifier: LGPL-2.1-or-later
"""manager - a service manager for one daemon: hears its notices, keeps its descriptors, starts it again at once.

What systemd does, and no more. Unlike systemd and `virtgate up` it makes no pause between a death and the next start,
so that a test can kill many times.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import threading
import time

from vgtest import processes, upstream

FDS_START = 3
NOTICE_MAX, DESCRIPTORS_MAX = 4096, 8


class Manager:
    """Runs `command` from start() to stop(). `deaf`: it does not read notices."""

    def __init__(self, directory, command, log_path):
        self.command, self.log_path = [str(word) for word in command], log_path
        self.path = str(directory / "notify.sock")
        self.store, self.history, self.states = {}, [], []
        self.pid, self.starts, self.over, self.deaf = None, 0, False, False
        self._started = 0.0
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._run, daemon=True)

    # --- the daemon ---

    def _start(self):
        """What it left comes first at descriptor 3, under its names. LISTEN_PID has to be its own pid: so fork."""
        kept = [(name, fd) for name, fds in self.store.items() for fd in fds]
        environment = {"NOTIFY_SOCKET": self.path, "PATH": os.environ["PATH"]}
        log = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        null = os.open("/dev/null", os.O_RDWR)
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                above = FDS_START + len(kept) + 64
                sources = [os.open(f"/proc/self/fd/{null}", os.O_RDWR), log, log] + [fd for _, fd in kept]
                copies = [_copy_above(fd, above) for fd in sources]
                for target, fd in enumerate(copies):
                    os.dup2(fd, target)
                os.closerange(len(copies), 65_536)
                if kept:
                    environment |= {
                        "LISTEN_PID": str(os.getpid()),
                        "LISTEN_FDS": str(len(kept)),
                        "LISTEN_FDNAMES": ":".join(name for name, _ in kept),
                    }
                os.execve(self.command[0], self.command, environment)
            except BaseException as why:
                os.write(2, f"<3>cannot start it: {why!r}\n".encode())
            finally:
                os._exit(127)
        os.close(log)
        os.close(null)
        self.pid, self.starts, self._started = pid, self.starts + 1, time.monotonic()
        self._pidfd = os.pidfd_open(pid)

    def _run(self):
        """Notices before deaths, as systemd does it: what a dead process sent still counts."""
        while not self.over:
            watched = [self._pidfd] + ([] if self.deaf else [self._socket.fileno()])
            ready = _ready(watched, 0.05)
            if self._socket.fileno() in ready:
                self._take_notices()
            elif self._pidfd in ready:
                if not self.deaf:
                    self._take_notices()
                with self._lock:
                    os.waitpid(self.pid, 0)
                    os.close(self._pidfd)
                    self.pid = None
                    if not self.over:
                        self._start()

    def _take_notices(self):
        while _ready([self._socket.fileno()], 0):
            data, fds, _, _ = socket.recv_fds(self._socket, NOTICE_MAX, DESCRIPTORS_MAX)
            lines = dict(line.split("=", 1) for line in data.decode().splitlines())
            name = lines.get("FDNAME", "stored")
            if "FDSTORE" in lines:
                assert len(fds) == 1 and lines.get("FDPOLL") == "0", lines
                self.store.setdefault(name, []).append(fds.pop())
                self.history.append("+" + name)
            elif "FDSTOREREMOVE" in lines:
                for fd in self.store.pop(name, []):
                    os.close(fd)
                self.history.append("-" + name)
            else:
                self.states.append(data.decode())
            for fd in fds:
                os.close(fd)

    # --- for tests ---

    def kill(self, number=signal.SIGKILL):
        """Only the daemon itself; it is started again."""
        with self._lock:
            os.kill(self.pid, number)

    def children(self, name):
        """Pids of its children that are the program `name`."""
        pid = self.pid
        return processes.by_name(pid).get(name, []) if pid else []

    def slots(self):
        """How many things are kept here, without listeners."""
        return sum(len(fds) for name, fds in self.store.items() if not name.islower())

    def start(self):
        self._start()
        self._thread.start()

    def stop(self):
        """SIGTERM; fails if the daemon, or anything that it started, stays behind."""
        with self._lock:
            self.over = True
            left = {processes.identity(pid) for pid in processes.family(self.pid)} if self.pid else set()
        self._thread.join()
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            try:
                upstream.poll(self._gone, 10, "the end of the daemon")
            except AssertionError:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise
        for fds in self.store.values():
            for fd in fds:
                os.close(fd)
        self.store.clear()
        self._socket.close()
        os.unlink(self.path)
        left = processes.wait_gone(left)
        assert not left, f"left behind: {left}"

    def _gone(self):
        # Nobody else takes the notices of its end now.
        self._take_notices()
        return os.waitpid(self.pid, os.WNOHANG)[0] != 0


def _ready(fds, patience):
    """Which of `fds` can be read, after at most `patience` seconds. Not select(): there may be thousands of descriptors."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(patience * 1000)]


def _copy_above(fd, above):
    return fcntl.fcntl(fd, fcntl.F_DUPFD, above)
