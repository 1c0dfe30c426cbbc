# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_limits - one client cannot use up the memory, the time or the descriptors of the others."""

import os
import signal
import threading
import time

import pytest

from vgtest import processes, upstream, wire
from vgtest.session import Session

LENGTHY = True


def test_client_that_never_reads_its_replies(gate, back):
    """5000 calls with 64 KiB replies: the gate stops reading the client instead of keeping the replies."""
    big = wire.string("x" * 65_000)
    back.on(wire.GET_HOSTNAME, lambda connection, frame: connection.send(wire.reply(frame, big)))
    gates, workers = gate.pids("virtgate-gate"), gate.pids("virtgate-worker")
    with Session(gate, back) as greedy, Session(gate, back) as other:
        before = sum(map(processes.resident, gates + workers))
        calls = b"".join(wire.call(wire.GET_HOSTNAME, b"", n).pack() for n in range(5000))
        try:
            greedy.client.send(calls, patience=1.5)
        except TimeoutError:
            pass
        for _ in range(20):
            assert other.client.ask(wire.GET_LIB_VERSION, patience=2.0).status == wire.OK
        grown = sum(map(processes.resident, gates + workers)) - before
        assert grown < 32 << 20, f"gates and workers grew by {grown >> 20} MiB"
        served = len(back.frames(wire.GET_HOSTNAME))
        assert served < 5000, "the upstream was asked for all replies although nobody read any"
        first = greedy.client.answer(wire.call(wire.GET_HOSTNAME, b"", 0))
        assert first.payload == big


FLOODS = {
    "pings": wire.keepalive(),
    "calls that are refused": wire.call(99999),
    "calls that the gate answers": wire.call(wire.AUTH_LIST),
    "calls before CONNECT_OPEN": wire.call(wire.GET_HOSTNAME),
}


def test_floods_by_clients_that_never_read(gate, back):
    """Each frame makes an answer of our own, up to ten times as long: they must not pile up anywhere."""
    pids = gate.pids("virtgate-gate") + gate.pids("virtgate-worker")
    taken = {}

    def flood(name, client):
        piece, taken[name] = FLOODS[name].pack() * 10_000, 0
        try:
            while taken[name] < 100:
                client.send(piece, patience=1.0)
                taken[name] += 1
        except TimeoutError:
            pass

    flooders = {name: gate.connect() for name in FLOODS}
    with Session(gate, back) as other:
        before = sum(map(processes.resident, pids))
        threads = [threading.Thread(target=flood, args=item) for item in flooders.items()]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert other.client.ask(wire.GET_LIB_VERSION, patience=3.0).status == wire.OK
        assert all(count < 100 for count in taken.values()), f"a million frames without a reader: {taken}"
        grown = sum(map(processes.resident, pids)) - before
    for client in flooders.values():
        client.close()
    assert grown < 32 << 20, f"gates and workers grew by {grown >> 20} MiB"


def test_thousand_pipelined_calls_are_all_answered_to_a_slow_reader(gate, back):
    text = wire.string("y" * 5000)
    back.on(wire.GET_HOSTNAME, lambda connection, frame: connection.send(wire.reply(frame, text)))
    with Session(gate, back) as session:
        calls = [wire.call(wire.GET_HOSTNAME, b"", n) for n in range(1000)]
        pending, got = b"".join(c.pack() for c in calls), []
        while pending or len(got) < 1000:
            part, pending = pending[:2800], pending[2800:]
            if part:
                session.client.send(part)
            if len(got) < 1000:
                got.append(session.client.receive())
        assert sorted(f.serial for f in got) == list(range(1000))
        assert all(f.payload == text for f in got)


def test_hundred_idle_connections_stop_nobody(gate, back):
    """libvirtd stops accepting at 20 unauthenticated connections. Here each source has its own limit."""
    silent = [wire.connect_tcp(gate.port, source="127.0.0.9") for _ in range(100)]
    try:
        with Session(gate, back) as session:
            assert session.passed() == []
    finally:
        for sock in silent:
            sock.close()


def test_half_sent_frames_of_32_mib_cost_what_was_sent(gate, back):
    """Twenty authenticated clients of libvirtd can hold 640 MiB with frames that lack one byte."""
    gates = gate.pids("virtgate-gate")
    before = sum(map(processes.resident, gates))
    clients = [gate.connect() for _ in range(20)]
    head = wire.u32(32 << 20) + wire.call(wire.LOOKUP_BY_NAME).pack()[4:] + wire.u32(wire.MAX_STRING)
    for client in clients:
        try:
            client.send(head + bytes(4096))
        except wire.Closed:
            pass
    assert back.bytes() == b""
    grown = sum(map(processes.resident, gates)) - before
    for client in clients:
        client.close()
    assert grown < 16 << 20, f"the gates grew by {grown >> 20} MiB"


def test_silent_connection_is_closed_at_the_handshake_deadline(impatient):
    with wire.connect_tcp(impatient.port) as sock:
        begin = time.monotonic()
        sock.settimeout(6.0)
        assert ended(sock)
        assert 0.5 < time.monotonic() - begin < 4.0


def ended(sock):
    """True when the peer closes or resets before the socket's timeout; whatever it sends first is read."""
    try:
        while sock.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


def test_handshake_in_single_bytes_does_not_extend_the_deadline(impatient):
    """A byte each 200 ms keeps the connection busy; the deadline is for the whole handshake."""
    with wire.connect_tcp(impatient.port) as sock:
        begin = time.monotonic()
        sock.settimeout(0.2)
        hello = bytes.fromhex("16030102000100 01fc0303".replace(" ", "")) + bytes(500)
        for at in range(30):
            try:
                sock.send(hello[at : at + 1])
                if not sock.recv(1):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert 0.5 < time.monotonic() - begin < 4.0


def test_partial_frames_are_closed_at_their_deadline(impatient, recording):
    """Cut inside the length word, behind it, inside the header, and inside the payload: five clients at
    once.
    """
    recording.forget()
    data = wire.call(wire.LOOKUP_BY_NAME, wire.string("hello"), 7).pack()
    clients = [impatient.open("qemu:///system") for _ in range(5)]
    begin = time.monotonic()
    for client, size in zip(clients, (1, 3, 4, 27, 30)):
        client.send(data[:size])
    for client in clients:
        assert client.rest(6.0) == []
        assert 0.5 < time.monotonic() - begin < 4.0
    assert recording.frames(wire.LOOKUP_BY_NAME) == []


def test_drip_of_bytes_does_not_extend_the_deadline_of_a_frame(impatient, recording):
    data = wire.call(wire.LOOKUP_BY_NAME, wire.string("h" * 100), 7).pack()
    with impatient.open("qemu:///system") as client:
        begin = time.monotonic()
        with pytest.raises((wire.Closed, TimeoutError)) as caught:
            for byte in data:
                client.send(bytes([byte]))
                try:
                    client.receive(0.1)
                except TimeoutError:
                    assert time.monotonic() - begin < 5.0, "still open"
        assert caught.type is wire.Closed
        assert 0.5 < time.monotonic() - begin < 4.0


def test_client_that_the_doorman_does_not_answer_for_is_closed(impatient):
    """The deadline of authentication also holds when the judge hangs."""
    (doorman,) = impatient.pids("virtgate-doorman")
    os.kill(doorman, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        with pytest.raises(wire.Closed):
            impatient.connect()
        assert 1.5 < time.monotonic() - begin < 5.0
    finally:
        os.kill(doorman, signal.SIGCONT)
    impatient.connect().close()


def test_shipped_deadlines_are_10_20_and_30_seconds(slow_clients):
    """Connections that were begun when the tests began, on a suite with an untouched configuration."""
    begun, handshake, authentication, partial = slow_clients
    assert 9 <= handshake.ended() - begun <= 13
    assert 19 <= authentication.ended() - begun <= 23
    assert 29 <= partial.ended() - begun <= 34


def test_connections_that_come_and_go_leave_no_descriptor(gate, back):
    """120 clients in all states of arrival and departure."""
    pids = [
        pid
        for name in ("virtgate-gate", "virtgate-doorman", "virtgate-workerd", "virtgate-worker")
        for pid in gate.pids(name)
    ]
    if any(processes.descriptors(pid) is None for pid in pids):
        pytest.skip("descriptors of protected processes can only be counted by root")
    with Session(gate, back):
        pass
    upstream.poll(lambda: all(c.closed for c in back.connections))
    before = {pid: processes.descriptors(pid) for pid in pids}
    for turn in range(40):
        wire.connect_tcp(gate.port).close()
        gate.connect().close()
        session = Session(gate, back)
        session.client.start(
            wire.VOL_UPLOAD, wire.volume("p", "v", "k") + wire.u64(0) + wire.u64(0) + wire.u32(1)
        )
        (session.client.reset if turn % 2 else session.client.close)()
    upstream.poll(lambda: all(c.closed for c in back.connections))

    def back_to_normal():
        return all(processes.descriptors(pid) <= before[pid] + 2 for pid in pids)

    upstream.poll(back_to_normal, what=f"descriptors as before {before}")
