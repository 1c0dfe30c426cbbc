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
from vgtest import sasl, wire

ADDRESS = "127.0.0.1"
DRIP = 0.5  # seconds between two bytes
REDIAL = 1.0  # seconds until somebody who was thrown out comes again
PATIENCE = 30.0  # seconds of somebody who wants in
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
    """One place in the crowd: its connection now, and how far it is with what it sends bit by bit."""

    def __init__(self, source, kind):
        self.source, self.kind = source, kind
        self.sock, self.held, self.sent, self.due = None, False, 0, 0.0


class Kind:
    """What one of the crowd does: a handshake, then `at_once`, then `text` byte by byte, again and again."""

    def __init__(self, tls=False, at_once=b"", text=b""):
        self.tls, self.at_once, self.text = tls, at_once, text


def begun_login():
    """The frames of a login with a password, up to the point where the server waits for a proof of it."""
    first = sasl.start_args("SCRAM-SHA-256", sasl.Scram("nobody", "").first())
    calls = ((wire.AUTH_LIST, b""), (sasl.INIT, b""), (sasl.START, first))
    return b"".join(wire.call(proc, payload, serial).pack() for serial, (proc, payload) in enumerate(calls))


class Crowd(Part):
    """`count` connections from all the sources together, each kind of them in turn. Needs a server that lets
    a handshake without a certificate come to its end.

    The result: how many were open on average, dialled, refused at once, and thrown out later.
    """

    SLOW = (Kind(), Kind(text=client_hello()), Kind(tls=True, text=wire.call(wire.AUTH_LIST).pack()))
    LOGGING_IN = (Kind(tls=True, at_once=begun_login()),)

    def __init__(self, port, sources, count, kinds):
        super().__init__()
        self.port = port
        self.slots = [
            Slot(sources[index % len(sources)], kinds[index // len(sources) % len(kinds)])
            for index in range(count)
        ]
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
            if now >= sample_due:
                samples.append(sum(slot.held for slot in self.slots))
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
            slot.sock.send(slot.kind.text[slot.sent : slot.sent + 1])
            slot.sent = (slot.sent + 1) % len(slot.kind.text)
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
        if slot.kind.tls:
            if not isinstance(slot.sock, ssl.SSLSocket):
                error = slot.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, os.strerror(error))
                slot.sock = self.context.wrap_socket(slot.sock, do_handshake_on_connect=False)
                self.epoll.modify(slot.sock, select.EPOLLIN)
            slot.sock.do_handshake()
        if slot.kind.at_once:
            slot.sock.send(slot.kind.at_once)
        slot.held, slot.due = True, now + DRIP if slot.kind.text else float("inf")
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


def log_in(port, context, source, uri, user=None):
    """A session, as libvirt's client opens it; with a password if `user` is (name, password)."""
    sock = socket.create_connection((ADDRESS, port), PATIENCE, (source, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client = wire.Client(context.wrap_socket(sock, server_hostname="localhost"))
    assert client.receive_byte(PATIENCE) == 1
    if user:
        assert client.ask(wire.AUTH_LIST).status == wire.OK
        refusal = sasl.log_in(client, *user)
        assert refusal is None, refusal.error()
    return client.open(uri)


class Logins(Part):
    """Logs in again and again from one address, with the certificate of directory `pki` or as `user`.

    The result: seconds of each, to the open connection; and how many were refused, and how the first was.
    """

    def __init__(self, port, pki, source, uri, user=None):
        super().__init__()
        self.port, self.source, self.uri, self.user = port, source, uri, user
        self.context = wire.tls_context(pki, False if user else None)

    def work(self):
        took, refused, why = [], 0, ""
        while self.wanted():
            began = time.monotonic()
            try:
                with log_in(self.port, self.context, self.source, self.uri, self.user) as client:
                    took.append(time.monotonic() - began)
                    client.ask(wire.CONNECT_CLOSE)
            except (OSError, AssertionError, wire.Closed, TimeoutError) as error:
                refused, why = refused + 1, why or f"{type(error).__name__}: {error}"
            time.sleep(0.01)
        return took, refused, why


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
