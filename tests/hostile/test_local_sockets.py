# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_local_sockets - the sockets between the daemons, met by somebody else on the same machine."""

import os
import random
import socket
import stat
import struct
import subprocess
import sys

import pytest

from vgtest import wire
from vgtest.session import Session

NOBODY = 65534

# Run by another user: connects, says nothing, and tells what it got.
STRANGER = """
import socket, sys
sock = socket.socket(socket.AF_UNIX, int(sys.argv[2]))
sock.settimeout(5)
try:
    sock.connect(sys.argv[1])
    print("closed" if not sock.recv(4096) else "served")
except TimeoutError:
    print("kept")
except OSError as error:
    print("refused", error)
"""


def sockets(gate):
    """(path, type) of the sockets that the suite listens on, besides that of its TLS port."""
    found = {}
    for line in open("/proc/net/unix", encoding="ascii", errors="replace").readlines()[1:]:
        fields = line.split()
        if len(fields) == 8 and fields[7].startswith(str(gate.directory) + "/"):
            found[fields[7]] = int(fields[4], 16)
    assert any("broker" in path for path in found), found
    return sorted(found.items())


def connect(path, kind):
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.settimeout(2.0)
    if kind == socket.SOCK_DGRAM:
        sock.connect(path)
        return sock
    sock.connect(path)
    return sock


GARBAGE = {
    "nothing": b"",
    "one byte": b"\0",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "a header of an unknown program": wire.call(1, b"", prog=0x12345678).pack(),
    "a call of the remote program": wire.call(wire.AUTH_LIST).pack(),
    "length word 2^32-1": b"\xff" * 28,
    "64 KiB of zeros": bytes(65_536),
    "random bytes": random.Random(11).randbytes(5000),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_on_a_local_socket_hurts_nobody(gate, back, data):
    for path, kind in sockets(gate):
        with connect(path, kind) as sock:
            try:
                if data:
                    sock.send(data)
                answer = b"" if kind == socket.SOCK_DGRAM else sock.recv(65_536)
            except (TimeoutError, ConnectionError):
                answer = b""
            assert len(answer) <= 1024
    with Session(gate, back) as session:
        assert session.passed() == []


def test_call_of_every_procedure_number_without_a_greeting_gives_no_descriptor(gate, back):
    """Holding a session's descriptor is the right to use it: nobody gets one by guessing calls."""
    for path, kind in sockets(gate):
        if kind != socket.SOCK_SEQPACKET:
            continue
        for proc in range(8):
            with connect(path, kind) as sock:
                sock.settimeout(0.3)
                try:
                    sock.send(wire.call(proc, bytes(64)).pack())
                    _, ancillary, _, _ = sock.recvmsg(65_536, socket.CMSG_SPACE(struct.calcsize("i") * 8))
                    assert ancillary == []
                except (TimeoutError, ConnectionError):
                    pass
    with Session(gate, back) as session:
        assert session.passed() == []


def test_sockets_are_not_open_to_every_user(gate):
    for path, _ in sockets(gate):
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o002 == 0, f"everybody may write to {path}"


def test_another_user_is_not_served(gate):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    for path, kind in sockets(gate):
        if kind == socket.SOCK_DGRAM:
            continue
        out = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            + [sys.executable, "-c", STRANGER, path, str(kind)],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
        assert out.startswith(("closed", "refused")), f"{path}: {out}"


def test_many_connections_to_the_broker_do_not_stop_sessions(gate, back):
    """As many as it and the queue of its socket take."""
    held = []
    try:
        for path, kind in sockets(gate):
            for _ in range(30 if kind != socket.SOCK_DGRAM else 0):
                held.append(connect(path, kind))
    except BlockingIOError:
        assert len(held) >= 8
    try:
        with Session(gate, back) as session:
            assert session.passed() == []
    finally:
        for sock in held:
            sock.close()
