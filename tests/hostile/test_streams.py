# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_streams - packets of streams that break the rules, and many of them."""

import pytest

from vgtest import processes, wire
from vgtest.session import Session


def upload(session, flags=1):
    """An open upload stream; flag 1 allows holes."""
    call = session.client.start(
        wire.VOL_UPLOAD, wire.volume("p", "v", "k") + wire.u64(0) + wire.u64(0) + wire.u32(flags)
    )
    assert session.client.answer(call).status == wire.OK
    return call


def finish(session, call):
    session.client.send(wire.stream(call, b"", wire.OK))
    return session.client.until(lambda f: f.type == wire.STREAM and f.serial == call.serial)


def test_upload_arrives_unchanged(gate, back):
    with Session(gate, back) as session:
        call = upload(session)
        pieces = [
            bytes([n]) * size
            for n, size in enumerate((1, 3, 4, 28, 65_535, 65_536, 65_537, 262_120, 1_000_001))
        ]
        for piece in pieces:
            session.client.send(wire.stream(call, piece))
        session.client.send(wire.hole(call, 4096))
        assert finish(session, call).status == wire.OK
        data = b"".join(f.payload for f in session.passed() if f.type == wire.STREAM)
        assert data == b"".join(pieces)


def test_thousand_holes_of_the_largest_length(gate, back):
    """libvirt up to 10.1 stopped reading a client after several holes."""
    with Session(gate, back) as session:
        call = upload(session)
        session.client.send(wire.hole(call, 2**63 - 1).pack() * 1000)
        assert finish(session, call).status == wire.OK
        assert sum(f.type == wire.HOLE for f in session.passed()) == 1000


@pytest.mark.parametrize("length, flags", [(0, 0), (-1, 0), (-(2**63), 0), (4096, 1), (4096, 0xFFFFFFFF)])
def test_bad_holes_reach_nobody(gate, back, length, flags):
    with Session(gate, back) as session:
        call = upload(session)
        try:
            session.client.send(wire.hole(call, length, flags).pack() * 1000)
            session.client.send(wire.stream(call, b"", wire.ERROR))
            session.passed()
        except wire.Closed:
            back.wait(lambda: session.upstream.closed)
        assert not any(f.type == wire.HOLE for f in session.upstream.frames)


@pytest.mark.parametrize("payload", [b"", b"\0" * 8, b"\0" * 11, b"\0" * 16, b"\0" * 7 + b"\x01" + b"\0" * 8])
def test_holes_of_another_size_reach_nobody(gate, back, payload):
    with Session(gate, back) as session:
        call = upload(session)
        session.client.send(wire.stream(call, payload, wire.CONTINUE, wire.HOLE))
        session.client.rest()
        back.wait(lambda: session.upstream.closed)
        assert not any(f.type == wire.HOLE for f in session.upstream.frames)


def test_hole_without_the_sparse_flag_closes(gate, back):
    with Session(gate, back) as session:
        call = upload(session, flags=0)
        session.client.send(wire.hole(call, 4096))
        session.client.rest()
        back.wait(lambda: session.upstream.closed)
        assert not any(f.type == wire.HOLE for f in session.upstream.frames)


def test_packets_after_the_end_are_ignored(gate, back):
    with Session(gate, back) as session:
        call = upload(session)
        assert finish(session, call).status == wire.OK
        session.passed()
        session.client.send(wire.stream(call, b"late").pack() * 10)
        assert session.passed() == []


def test_packets_with_the_serial_of_another_call_are_ignored(gate, back):
    with Session(gate, back) as session:
        call = upload(session)
        session.passed()
        session.client.send(wire.stream(call._replace(serial=call.serial + 5), b"x"))
        session.client.send(wire.stream(call._replace(proc=wire.VOL_DOWNLOAD), b"x"))
        session.client.send(wire.stream(call._replace(prog=wire.QEMU), b"x"))
        assert session.passed() == []
        assert finish(session, call).status == wire.OK


def test_stream_of_a_refused_call_does_not_exist(gate, back):
    back.on(
        wire.VOL_UPLOAD,
        lambda connection, frame: connection.send(
            wire.reply(frame, wire.error_payload(50, 18, "no such volume"), wire.ERROR)
        ),
    )
    with Session(gate, back) as session:
        call = session.client.start(
            wire.VOL_UPLOAD, wire.volume("p", "v", "k") + wire.u64(0) + wire.u64(0) + wire.u32(0)
        )
        assert session.client.answer(call).status == wire.ERROR
        session.passed()
        session.client.send(wire.stream(call, b"data"))
        assert session.passed() == []


def test_many_streams_of_one_client(gate, back):
    with Session(gate, back) as session:
        calls = [upload(session) for _ in range(20)]
        for turn in range(3):
            for call in calls:
                session.client.send(wire.stream(call, bytes([call.serial & 255]) * 100))
        for call in calls:
            assert finish(session, call).status == wire.OK
        frames = session.passed()
        for call in calls:
            mine = [
                f.payload
                for f in frames
                if f.serial == call.serial and f.type == wire.STREAM and f.status == wire.CONTINUE
            ]
            assert mine == [bytes([call.serial & 255]) * 100] * 3


def test_slow_backend_stops_the_uploader_and_nobody_else(gate, back):
    """The upstream stops reading: the gate's memory stays flat, another client is served, and nothing is
    lost.
    """
    gates = gate.pids("virtgate-gate")
    with Session(gate, back) as session, Session(gate, back) as other:
        call = upload(session)
        before = sum(map(processes.resident, gates))
        session.upstream.reading.clear()
        piece, sent = wire.stream(call, b"z" * 262_120).pack(), 0
        try:
            while sent < 256:
                session.client.send(piece, patience=1.0)
                sent += 1
        except TimeoutError:
            pass  # the last piece is cut: the client is given up below
        assert 0 < sent < 256, "64 MiB were taken although nobody read them"
        assert sum(map(processes.resident, gates)) - before < 24 << 20
        assert other.client.ask(wire.GET_LIB_VERSION, patience=2.0).status == wire.OK
        session.upstream.reading.set()
        session.client.close()
        back.wait(lambda: session.upstream.closed)


def test_console_runs_both_ways_at_once(gate, back):
    """The stream of a console: what is typed goes up while output comes down, and each side may end it."""

    def console(connection, frame):
        connection.send(wire.reply(frame))
        connection.send(wire.stream(frame, b"login: "))

    back.on(wire.DOMAIN_OPEN_CONSOLE, console)
    back.scripts["stream", wire.DOMAIN_OPEN_CONSOLE] = lambda connection, frame: connection.send(
        wire.stream(frame, b"you typed " + frame.payload)
        if frame.status == wire.CONTINUE
        else wire.stream(frame, b"", wire.OK)
    )
    with Session(gate, back) as session:
        call = session.client.start(wire.DOMAIN_OPEN_CONSOLE, wire.domain() + wire.u32(0) + wire.u32(0))
        assert session.client.answer(call).status == wire.OK
        assert session.client.receive().payload == b"login: "
        for word in (b"root\r", b"\x03", b"x" * 100_000):
            session.client.send(wire.stream(call, word))
            assert session.client.receive().payload == b"you typed " + word
        assert finish(session, call).status == wire.OK
