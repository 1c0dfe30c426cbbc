# SPDX-License-Identifier: LGPL-2.1-or-later
"""crowd - clients that come in numbers and never get in, and the ones beside them whose time is taken.

Each runs in a process of its own, so that it waits for nobody but the server: Crowd (a few hundred
connections that are held open by little), Horde (thousands that do nothing), Logins (one client after the
other), Caller (one session).
"""

import array
import errno
import multiprocessing
import os
import select
import signal
import socket
import ssl
import time

from servers import BenchError
from vgtest import wire

ADDRESS = "127.0.0.1"
DRIP = 0.5  # seconds between two bytes
REDIAL = 1.0  # seconds until somebody who was thrown out comes again
AT_ONCE = 200  # connections of the horde that are being made at a time
_FORK = multiprocessing.get_context("fork")


def client_hello():
    """The first bytes of a TLS 1.3 client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def dial(port, source):
    """A socket that connects from the address `source`, without waiting."""
    sock = socket.socket()
    sock.setblocking(False)
    try:
        sock.bind((source, 0))
        error = sock.connect_ex((ADDRESS, port))
    except OSError:
        sock.close()
        raise
    if error not in (0, errno.EINPROGRESS):
        sock.close()
        raise OSError(error, os.strerror(error))
    return sock


class Part:
    """A process of its own that runs work() until stop(); `result` is what work() returned."""

    niceness = 0

    def __init__(self):
        self.ours, self.theirs = _FORK.Pipe()
        self.process, self.result = None, None

    def start(self):
        self.process = _FORK.Process(target=self._main, daemon=True)
        self.process.start()
        self.theirs.close()
        return self

    def _main(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.nice(self.niceness)
        self.ours.close()
        try:
            self.theirs.send((self.work(), None))
        except (OSError, AssertionError, wire.Closed, TimeoutError) as error:
            self.theirs.send((None, f"{type(self).__name__}: {type(error).__name__}: {error}"))

    def wanted(self):
        """False when it is to end; for work()."""
        return not self.theirs.poll()

    def stop(self, patience=60.0):
        """Ends it; its result."""
        try:
            self.ours.send("stop")
        except OSError:
            pass
        error = "it does not end"
        try:
            if self.ours.poll(patience):
                self.result, error = self.ours.recv()
        except EOFError:
            error = "it died"
        self.kill()
        if error:
            raise BenchError(f"{type(self).__name__}: {error}")
        return self.result

    def kill(self):
        self.process.kill()
        self.process.join()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.is_alive():
            self.kill()


class Slot:
    """One place in the crowd: its connection now, and what it sends bit by bit."""

    def __init__(self, source, kind, text):
        self.source, self.kind, self.text = source, kind, text
        self.sock, self.held, self.sent, self.due = None, False, 0, 0.0


class Crowd(Part):
    """`count` connections from all the sources together. A third says nothing, a third sends a ClientHello
    byte by byte, a third finishes the handshake without a certificate and sends a frame byte by byte then.

    The result: how many were open on average, dialled, refused at once, and thrown out later.
    """

    KINDS = ("silent", "hello", "login")

    def __init__(self, port, sources, count):
        super().__init__()
        self.port, self.held = port, _FORK.Value("i", 0)
        hello, frame = client_hello(), wire.call(wire.AUTH_LIST).pack()
        texts = {"silent": b"", "hello": hello, "login": frame}
        self.slots = []
        for index in range(count):
            kind = self.KINDS[index // len(sources) % 3]
            self.slots.append(Slot(sources[index % len(sources)], kind, texts[kind]))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def work(self):
        self.epoll, self.by_fd = select.epoll(), {}
        self.counts = {"dialled": 0, "refused": 0, "thrown_out": 0}
        samples, sample_due = [], 0.0
        while self.wanted():
            now = time.monotonic()
            for slot in self.slots:
                if slot.due <= now:
                    self._act(slot, now)
            for fd, _ in self.epoll.poll(0.02, 1024):
                self._hear(self.by_fd[fd], time.monotonic())
            open_now = sum(slot.held for slot in self.slots)
            self.held.value = open_now
            if now >= sample_due:
                samples.append(open_now)
                sample_due = now + 0.25
        return {"held": sum(samples) / len(samples), **self.counts}

    def _act(self, slot, now):
        if slot.sock is None:
            slot.sock = dial(self.port, slot.source)
            self.counts["dialled"] += 1
            slot.held, slot.sent, slot.began, slot.due = False, 0, now, float("inf")
            self.by_fd[slot.sock.fileno()] = slot
            self.epoll.register(slot.sock, select.EPOLLIN | select.EPOLLOUT)
            return
        try:
            slot.sock.send(slot.text[slot.sent : slot.sent + 1])
            slot.sent = (slot.sent + 1) % len(slot.text)
            slot.due = now + DRIP
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            slot.due = now + DRIP
        except OSError:
            self._lose(slot, now)

    def _hear(self, slot, now):
        try:
            if not slot.held and not self._settle(slot, now):
                return
            if not slot.sock.recv(1 << 16):
                self._lose(slot, now)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self._lose(slot, now)

    def _settle(self, slot, now):
        """Goes on until the connection is where it will be held; true if it is."""
        if slot.kind == "login":
            if not isinstance(slot.sock, ssl.SSLSocket):
                error = slot.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, os.strerror(error))
                slot.sock = self.context.wrap_socket(slot.sock, do_handshake_on_connect=False)
                self.epoll.modify(slot.sock, select.EPOLLIN)
            slot.sock.do_handshake()
        slot.held, slot.due = True, now + DRIP if slot.text else float("inf")
        self.epoll.modify(slot.sock, select.EPOLLIN)
        return True

    def _lose(self, slot, now):
        # A source that has too many is told by a close: whoever was not open for long was refused.
        self.counts["refused" if now - slot.began < DRIP else "thrown_out"] += 1
        del self.by_fd[slot.sock.fileno()]
        self.epoll.unregister(slot.sock)
        slot.sock.close()
        slot.sock, slot.held, slot.due = None, False, now + REDIAL


class Horde(Part):
    """`count` connections that send `text` and nothing else; `opened` and `closed` count meanwhile.

    The result: seconds that opening all took, and seconds from the last opening to the last end.
    """

    niceness = 19  # it is not there to take the server's CPU

    def __init__(self, port, sources, count, text=b""):
        super().__init__()
        self.port, self.sources, self.count, self.text = port, sources, count, text
        self.opened, self.closed = _FORK.Value("i", 0), _FORK.Value("i", 0)

    def work(self):
        epoll, socks, open_now = select.epoll(), {}, set()
        began, last_opened, last_closed = time.monotonic(), None, None
        dialled = 0
        while self.wanted():
            while dialled < self.count and len(socks) - len(open_now) < AT_ONCE:
                sock = dial(self.port, self.sources[dialled % len(self.sources)])
                socks[sock.fileno()] = sock
                epoll.register(sock, select.EPOLLOUT)
                dialled += 1
            for fd, _ in epoll.poll(0.1, 1024):
                sock = socks[fd]
                try:
                    if fd in open_now:
                        if sock.recv(1 << 16):
                            continue
                        raise ConnectionResetError
                    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                        raise ConnectionRefusedError(f"after {self.opened.value} connections")
                    if self.text:
                        sock.send(self.text)
                    epoll.modify(fd, select.EPOLLIN)
                    open_now.add(fd)
                    self.opened.value += 1
                    last_opened = time.monotonic()
                except BlockingIOError:
                    continue
                except (ConnectionResetError, BrokenPipeError):
                    epoll.unregister(fd)
                    sock.close()
                    del socks[fd]
                    open_now.discard(fd)
                    self.closed.value += 1
                    last_closed = time.monotonic()
        return {"opening": (last_opened or began) - began,
                "gone": last_closed - last_opened if last_closed and last_opened else None}


def log_in(port, context, source, uri):
    """A session, as libvirt's client opens it."""
    sock = socket.create_connection((ADDRESS, port), 30.0, (source, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client = wire.Client(context.wrap_socket(sock, server_hostname="localhost"))
    assert client.receive_byte(30.0) == 1
    return client.open(uri)


class Logins(Part):
    """Logs in again and again from one address. The result: seconds of each, to the open connection."""

    def __init__(self, port, pki, source, uri):
        super().__init__()
        self.port, self.source, self.uri = port, source, uri
        self.context = wire.tls_context(pki)

    def work(self):
        took = []
        while self.wanted():
            began = time.monotonic()
            with log_in(self.port, self.context, self.source, self.uri) as client:
                took.append(time.monotonic() - began)
                client.ask(wire.CONNECT_CLOSE)
            time.sleep(0.01)
        return took


class Caller(Part):
    """One session with one call after the other. The result: when each began, and how long it took."""

    def __init__(self, port, pki, source, uri):
        super().__init__()
        self.port, self.source, self.uri = port, source, uri
        self.context, self.calls = wire.tls_context(pki), _FORK.Value("i", 0)

    def work(self):
        began, took = array.array("d"), array.array("d")
        with log_in(self.port, self.context, self.source, self.uri) as client:
            while self.wanted():
                now = time.monotonic()
                assert client.ask(wire.GET_LIB_VERSION).status == wire.OK
                began.append(now)
                took.append(time.monotonic() - now)
                client.log.clear()
                self.calls.value += 1
        return list(began), list(took)
