# SPDX-License-Identifier: LGPL-2.1-or-later
"""wire - libvirt's RPC frames as bytes, and a raw client that sends whatever a test wants.

Nothing here is shared with the programs under test: the tests would otherwise believe what they should check.
"""

import select
import socket
import ssl
import struct
import time
from typing import NamedTuple

REMOTE, QEMU, LXC = 0x20008086, 0x20008087, 0x00068000
KEEPALIVE = 0x6B656570
PROGRAMS = {"remote": REMOTE, "qemu": QEMU, "lxc": LXC}

CALL, REPLY, MESSAGE, STREAM, CALL_WITH_FDS, REPLY_WITH_FDS, HOLE = range(7)
OK, ERROR, CONTINUE = range(3)

# Procedures that tests name; all others come from the table by name (table.number).
CONNECT_OPEN, CONNECT_CLOSE, GET_TYPE, GET_VERSION, GET_LIB_VERSION = 1, 2, 3, 4, 157
GET_HOSTNAME, SUPPORTS_FEATURE, AUTH_LIST, GET_URI = 59, 60, 66, 110
LOOKUP_BY_NAME, VOL_UPLOAD, VOL_DOWNLOAD, DOMAIN_OPEN_CONSOLE = 23, 208, 209, 201
GET_CPU_STATS, GET_FREE_PAGES, GET_VCPUS, SET_IDENTITY = 227, 340, 20, 419
EVENT_LIFECYCLE, EVENT_REGISTER_ANY, EVENT_CALLBACK_LIFECYCLE = 107, 316, 318

PING, PONG = 1, 2
FEATURE_KEEPALIVE = 10
MAX_LENGTH_WORD = 32 * 1024 * 1024 + 4
MAX_STRING = 4 * 1024 * 1024

PATIENCE = 10.0  # seconds a test waits for something that must happen, unless it says otherwise


class Frame(NamedTuple):
    """One frame: six header words and the payload; the length word is made while packing."""

    prog: int
    vers: int
    proc: int
    type: int
    serial: int
    status: int
    payload: bytes = b""

    def pack(self):
        words = struct.pack(">6I", *(word & 0xFFFFFFFF for word in self[:6]))
        return struct.pack(">I", 28 + len(self.payload)) + words + self.payload

    def error(self):
        """(code, domain, message) of a frame with status ERROR; fails the test if it does not decode to the
        last byte.
        """
        assert self.status == ERROR, f"not an error: {self}"
        return unpack_error(self.payload)

    def __repr__(self):
        return (
            f"Frame(prog={self.prog:#x} vers={self.vers} proc={self.proc} type={self.type} "
            f"serial={self.serial} "
            f"status={self.status} payload={len(self.payload)} bytes {self.payload[:48].hex()})"
        )


def signed(word):
    return word - (1 << 32) if word & 0x80000000 else word


def unpack(data):
    """The frame in data, which is a length word and exactly that many bytes."""
    length, *words = struct.unpack(">I6I", data[:28])
    assert length == len(data), f"length word {length} of {len(data)} bytes"
    words[2] = signed(words[2])
    return Frame(*words, bytes(data[28:]))


def call(proc, payload=b"", serial=0, prog=REMOTE, vers=1):
    return Frame(prog, vers, proc, CALL, serial, OK, payload)


def reply(to, payload=b"", status=OK):
    return Frame(to.prog, to.vers, to.proc, REPLY, to.serial, status, payload)


def stream(opener, payload=b"", status=CONTINUE, kind=STREAM):
    """A packet of the stream that the call or reply `opener` opened."""
    return Frame(opener.prog, opener.vers, opener.proc, kind, opener.serial, status, payload)


def hole(opener, length, flags=0):
    return stream(opener, struct.pack(">QI", length & (2**64 - 1), flags), CONTINUE, HOLE)


def keepalive(proc=PING):
    return Frame(KEEPALIVE, 1, proc, MESSAGE, 0, OK)


# --- XDR by hand, for the payloads that tests spell out ---


def u32(value):
    return struct.pack(">I", value & 0xFFFFFFFF)


def u64(value):
    return struct.pack(">Q", value & (2**64 - 1))


def string(text, pad=b"\0\0\0"):
    raw = text if isinstance(text, bytes) else text.encode()
    return u32(len(raw)) + raw + pad[: -len(raw) % 4]


def optional(encoded, flag=1):
    return u32(0) if encoded is None else u32(flag) + encoded


def domain(name="test", uuid=b"\x11" * 16, number=1):
    return string(name) + uuid + u32(number)


def volume(pool, name, key):
    return string(pool) + string(name) + string(key)


def open_args(uri, flags=0):
    return optional(None if uri is None else string(uri)) + u32(flags)


class Reader:
    """Reads XDR strictly: padding must be zero and flags 0 or 1."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert self.at + count <= len(self.data), f"{count} bytes wanted at {self.at} of {len(self.data)}"
        piece = self.data[self.at : self.at + count]
        self.at += count
        return piece

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def i32(self):
        return signed(self.u32())

    def u64(self):
        return struct.unpack(">Q", self.take(8))[0]

    def flag(self):
        value = self.u32()
        assert value in (0, 1), f"flag {value:#x} at {self.at - 4}"
        return bool(value)

    def opaque(self):
        size = self.u32()
        raw = self.take(size)
        assert not any(self.take(-size % 4)), "padding is not zero"
        return raw

    def text(self):
        raw = self.opaque()
        assert b"\0" not in raw, f"NUL in a string: {raw!r}"
        return raw.decode("utf-8", "surrogateescape")

    def maybe(self, read):
        return read() if self.flag() else None

    def finish(self):
        assert self.at == len(self.data), f"{len(self.data) - self.at} bytes left over"


def unpack_error(payload):
    r = Reader(payload)

    def skip_domain():
        return r.text(), r.take(16), r.i32()

    def skip_network():
        return r.text(), r.take(16)

    code, where, message = r.i32(), r.i32(), r.maybe(r.text)
    r.i32()
    r.maybe(skip_domain)
    for _ in range(3):
        r.maybe(r.text)
    r.i32(), r.i32()
    r.maybe(skip_network)
    r.finish()
    return code, where, message


def error_payload(code, where, message):
    """An error structure as a server sends it."""
    return (
        u32(code)
        + u32(where)
        + optional(string(message))
        + u32(2)
        + u32(0)
        + optional(string("%s"))
        + optional(string(message))
        + u32(0)
        + u32(-1)
        + u32(-1)
        + u32(0)
    )


# --- the raw client ---


class Closed(Exception):
    """The peer closed or reset the connection."""


class Client:
    """One connection that sends raw bytes and cuts what comes back into frames. Blocking, each wait with a
    deadline.
    """

    def __init__(self, sock):
        self.sock, self.buffer, self.serial, self.log = sock, bytearray(), 0, []
        self.sock.setblocking(False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Close so that the peer sees a reset and not an orderly end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _wait(self, readable, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the peer did nothing in time")
        ready = select.poll()  # which knows descriptors of any number
        ready.register(self.sock, select.POLLIN if readable else select.POLLOUT)
        ready.poll(left * 1000)

    def send(self, data, patience=PATIENCE):
        """Send all bytes, or raise Closed when the peer is gone, TimeoutError when it does not read."""
        if isinstance(data, Frame):
            data = data.pack()
        view, deadline = memoryview(data), time.monotonic() + patience
        while view:
            try:
                view = view[self.sock.send(view[: 1 << 18]) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(False, deadline)
            except ssl.SSLWantReadError:
                self._wait(True, deadline)
            except (ConnectionError, ssl.SSLError, OSError) as error:
                raise Closed(str(error)) from error

    def fill(self, deadline):
        """Read at least one byte into the buffer."""
        while True:
            try:
                piece = self.sock.recv(1 << 18)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(True, deadline)
                continue
            except ssl.SSLWantWriteError:
                self._wait(False, deadline)
                continue
            except (ConnectionError, ssl.SSLError, OSError) as error:
                raise Closed(str(error)) from error
            if not piece:
                raise Closed("end of file")
            self.buffer += piece
            return

    def receive(self, patience=PATIENCE):
        """The next frame. A frame that breaks the rules of framing fails the test."""
        deadline = time.monotonic() + patience
        while len(self.buffer) < 4:
            self.fill(deadline)
        length = struct.unpack(">I", self.buffer[:4])[0]
        assert 28 <= length <= MAX_LENGTH_WORD, f"malformed frame from the peer: length word {length:#x}"
        while len(self.buffer) < length:
            self.fill(deadline)
        frame = unpack(self.buffer[:length])
        del self.buffer[:length]
        self.log.append(frame)
        return frame

    def receive_byte(self, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while not self.buffer:
            self.fill(deadline)
        byte = self.buffer[0]
        del self.buffer[0]
        return byte

    def until(self, wanted, patience=PATIENCE):
        """Frames up to the first that satisfies wanted(frame); that one is returned, the others are in
        self.log.
        """
        deadline = time.monotonic() + patience
        while True:
            frame = self.receive(deadline - time.monotonic())
            if wanted(frame):
                return frame

    def rest(self, patience=PATIENCE):
        """All frames until the peer closes. TimeoutError if it does not close."""
        frames, deadline = [], time.monotonic() + patience
        try:
            while True:
                frames.append(self.receive(deadline - time.monotonic()))
        except Closed:
            assert not self.buffer, f"the peer closed inside a frame: {bytes(self.buffer[:64]).hex()}"
            return frames

    def start(self, proc, payload=b"", prog=REMOTE):
        """Send a call and return it; its serial is the next of this connection."""
        frame = call(proc, payload, self.serial, prog)
        self.serial += 1
        self.send(frame)
        return frame

    def answer(self, request, patience=PATIENCE):
        """The reply to a call; other frames that arrive before it stay in self.log."""
        return self.until(
            lambda f: f.type in (REPLY, REPLY_WITH_FDS)
            and f.serial == request.serial
            and f.proc == request.proc
            and f.prog == request.prog,
            patience,
        )

    def ask(self, proc, payload=b"", prog=REMOTE, patience=PATIENCE):
        return self.answer(self.start(proc, payload, prog), patience)

    def open(self, uri, flags=0, keepalive_too=False):
        """The prologue of libvirt's own client, up to the open connection."""
        assert self.ask(AUTH_LIST).status == OK
        if keepalive_too:
            assert self.ask(SUPPORTS_FEATURE, u32(FEATURE_KEEPALIVE)).payload == u32(1)
        opened = self.ask(CONNECT_OPEN, open_args(uri, flags))
        assert opened.status == OK, opened.error()
        return self

    def alive(self, patience=PATIENCE):
        """True if the peer answers a ping."""
        self.send(keepalive(PING))
        self.until(lambda f: f.prog == KEEPALIVE and f.proc == PONG, patience)
        return True


def connect_unix(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(path))
    return Client(sock)


def connect_tcp(port, host="127.0.0.1", source=None):
    """A TCP connection, from the address `source` of this machine if that is given."""
    sock = socket.create_connection((host, port), PATIENCE, (source, 0) if source else None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def tls_context(pki, certificate=None, newest=ssl.TLSVersion.TLSv1_3):
    """A client context with the CA of directory pki and the given (certificate, key), by default the ones of
    libvirt's pkipath.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(pki / "cacert.pem"))
    context.maximum_version = newest
    if certificate is None:
        certificate = (pki / "clientcert.pem", pki / "clientkey.pem")
    if certificate:
        context.load_cert_chain(*map(str, certificate))
    return context


def connect_tls(
    port, context, host="127.0.0.1", name="localhost", confirm=True, patience=PATIENCE, source=None
):
    """A client behind a finished handshake; with confirm also behind the byte 0x01 that says the server
    accepts it.

    Raises Closed when the server closes instead of confirming. In TLS 1.3 the handshake itself can succeed
    for a client that the server refuses.
    """
    sock = connect_tcp(port, host, source)
    sock.settimeout(patience)
    try:
        wrapped = context.wrap_socket(sock, server_hostname=name)
    except (ConnectionError, ssl.SSLError, OSError) as error:
        sock.close()
        if isinstance(error, (socket.timeout, ssl.SSLCertVerificationError)):
            raise
        raise Closed(str(error)) from error
    client = Client(wrapped)
    if confirm:
        try:
            assert client.receive_byte(patience) == 1
        except (Closed, TimeoutError, AssertionError):
            client.close()
            raise
    return client
