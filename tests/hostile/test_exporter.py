# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_exporter - who reads what is counted tries to keep others from it, and an exporter that was taken over to do more than read."""

import socket
import struct
import time

import pytest

from vgtest import metrics
from vgtest.metrics import Numbers

BROKER, SESSIONS, METRICS = 0x56470004, 0x56470010, 0x56470011
OPEN, READ = 1, 2
CALL, REPLY, MESSAGE = 0, 1, 2


@pytest.fixture(scope="module")
def suite(scratch, running_suite):
    directory = scratch / "exporter"
    with running_suite.sibling(directory, {"netd.gates": 1, **metrics.at(directory)}) as started:
        yield started


def connect(suite):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(suite.metrics_socket))
    return client


def ends(client):
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_nothing_but_get_and_head(suite):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get"):
        answer = metrics.ask(suite.metrics_socket, f"{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n".encode())
        assert b" 200 " not in answer.split(b"\r\n")[0], (method, answer[:100])
    assert Numbers(suite)("virtgate_processes", process="exporter") == 1


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
        b"\0" * 100_000,
        b"GET http://[::/metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: -1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    ],
    ids=["header", "line", "headers", "tls", "zeros", "uri", "length"],
)
def test_what_is_no_request_harms_nobody(suite, request_):
    (before,) = suite.pids("virtgate-exporter")
    with connect(suite) as client:
        try:
            client.sendall(request_)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        assert ends(client)
    assert Numbers(suite)
    assert suite.pids("virtgate-exporter") == [before]


def test_pipelined_requests_are_not_answered(suite):
    answer = metrics.ask(suite.metrics_socket, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
    assert answer.count(b"HTTP/1.1 200") <= 1
    assert Numbers(suite)("virtgate_exporter_source_up", source="netd") == 1


def test_the_slow_are_closed_and_others_wait_for_them_no_longer(suite):
    crowd = [connect(suite) for _ in range(20)]
    began = time.monotonic()
    try:
        for client in crowd:
            client.setblocking(False)
        answer = b""
        # Each says a little again and again; places come free all the same.
        while b"200 OK" not in answer and time.monotonic() < began + 60:
            for client in crowd:
                try:
                    client.send(b"G")
                except OSError:
                    pass
            with connect(suite) as honest:
                honest.settimeout(1)
                try:
                    honest.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    answer = honest.recv(100)
                except OSError:
                    pass
        assert b"200 OK" in answer
    finally:
        for client in crowd:
            client.close()


def frame(program, procedure, kind, serial=1, payload=b""):
    return struct.pack(">7I", 28 + len(payload), program, 1, procedure, kind, serial, 0) + payload


def reader(suite):
    """What netd's supervisor makes for the exporter, made here: a connection of somebody who may administer, and no longer may."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(10)
    client.connect(str(suite.directory / "run" / "broker.sock"))
    client.send(frame(METRICS, OPEN, MESSAGE, serial=0))
    return client


def test_a_reader_reads(suite):
    with reader(suite) as client:
        client.send(frame(METRICS, READ, CALL, payload=struct.pack(">I", 0)))
        answer = client.recv(65536)
        assert struct.unpack(">7I", answer[:28])[1:] == (METRICS, 1, READ, REPLY, 1, 0) and len(answer) > 100


@pytest.mark.parametrize(
    "attack",
    [
        frame(SESSIONS, 1, CALL, payload=struct.pack(">Q", 0)),
        frame(SESSIONS, 3, CALL),
        frame(SESSIONS, 4, CALL, payload=struct.pack(">I", 0) + struct.pack(">I", 5) + b"alice\0\0\0" + struct.pack(">I", 0)),
        frame(BROKER, 1, CALL, payload=b"\0" * 64),
        frame(BROKER, 2, CALL, payload=struct.pack(">I", 0)),
        frame(METRICS, OPEN, MESSAGE, serial=0),
        frame(METRICS, READ, CALL, payload=b""),
        frame(METRICS, READ, CALL, payload=b"\0" * 400),
        frame(METRICS, 9, CALL),
    ],
    ids=["list", "state", "finish", "open-session", "revoke", "open-again", "no-arguments", "too-many", "unknown"],
)
def test_a_reader_may_do_nothing_else(suite, attack):
    """The connection is root's, or the broker's own user's, who could do all of it: OPEN has taken that away."""
    with reader(suite) as client:
        client.send(attack)
        try:
            answer = client.recv(65536)
        except ConnectionResetError:
            answer = b""
        assert answer == b"", answer[:60]


def test_without_open_it_is_as_before(suite):
    """The attack is one: the same words on a connection that did not say OPEN are answered."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(10)
        client.connect(str(suite.directory / "run" / "broker.sock"))
        client.send(frame(SESSIONS, 3, CALL))
        assert struct.unpack(">7I", client.recv(65536)[:28])[1:] == (SESSIONS, 1, 3, REPLY, 1, 0)
