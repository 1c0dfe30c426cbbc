# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_keepalive - pings are answered whatever else goes on, and sent only to clients that asked for them."""

import time

import pytest

from vgtest import wire
from vgtest.session import Session


def is_pong(frame):
    return frame.prog == wire.KEEPALIVE and frame.proc == wire.PONG


def is_ping(frame):
    return frame.prog == wire.KEEPALIVE and frame.proc == wire.PING


def test_ping_before_anything_else(gate):
    with gate.connect() as client:
        client.send(wire.keepalive())
        pong = client.receive()
        assert pong == wire.keepalive(wire.PONG)


@pytest.mark.parametrize("slow", [5, 64])
def test_ping_is_answered_while_slow_calls_are_in_flight(gate, back, slow):
    back.hold(wire.LOOKUP_BY_NAME)
    with Session(gate, back) as session:
        calls = [session.client.start(wire.LOOKUP_BY_NAME, wire.string(f"slow{n}")) for n in range(slow)]
        back.wait_held(slow)
        for _ in range(20):
            session.client.send(wire.keepalive())
            session.client.until(is_pong, 2.0)
        assert all(f.type != wire.REPLY or f.proc != wire.LOOKUP_BY_NAME for f in session.client.log)
        back.release()
        for call in calls:
            assert session.client.answer(call).status == wire.OK
        assert [f.proc for f in session.passed()] == [wire.LOOKUP_BY_NAME] * slow


def test_ping_between_the_packets_of_a_stream(gate, back):
    with Session(gate, back) as session:
        opener = session.client.start(
            wire.VOL_UPLOAD, wire.volume("p", "v", "k") + wire.u64(0) + wire.u64(0) + wire.u32(0)
        )
        assert session.client.answer(opener).status == wire.OK
        for _ in range(10):
            session.client.send(wire.stream(opener, b"x" * 1000))
            session.client.send(wire.keepalive())
            session.client.until(is_pong)
        session.client.send(wire.stream(opener, b"", wire.OK))
        assert session.client.until(lambda f: f.type == wire.STREAM).status == wire.OK


def test_thousand_pings_at_once(gate):
    with gate.connect() as client:
        client.send(wire.keepalive().pack() * 1000)
        for _ in range(1000):
            assert is_pong(client.receive())


def test_ping_never_reaches_the_upstream(gate, back):
    with Session(gate, back) as session:
        for _ in range(10):
            session.client.alive()
        assert session.passed() == []


def test_silent_client_that_asked_is_pinged_and_then_closed(impatient):
    """Interval 1 s, count 2: closed about 3 s after the last byte, and not before two pings went
    unanswered.
    """
    with impatient.connect() as client:
        assert client.ask(wire.SUPPORTS_FEATURE, wire.u32(10)).payload == wire.u32(1)
        begin = time.monotonic()
        frames = client.rest(10.0)
        assert [is_ping(f) for f in frames] == [True, True]
        assert frames[0] == wire.keepalive(wire.PING)
        assert 2.5 < time.monotonic() - begin < 6.0


def test_client_that_never_asked_is_never_pinged(impatient, recording):
    """Such a client could take a ping for an event of an unknown program and close."""
    with impatient.open("qemu:///system") as client:
        with pytest.raises(TimeoutError):
            client.receive(4.5)
        assert client.ask(wire.GET_LIB_VERSION).status == wire.OK


def test_client_that_answers_pings_stays(impatient, recording):
    with impatient.connect() as client:
        client.open("qemu:///system", keepalive_too=True)
        deadline = time.monotonic() + 5.0
        pings = 0
        while time.monotonic() < deadline:
            try:
                frame = client.receive(max(0.01, deadline - time.monotonic()))
            except TimeoutError:
                break
            assert is_ping(frame)
            pings += 1
            client.send(wire.keepalive(wire.PONG))
        assert pings >= 3
        assert client.ask(wire.GET_LIB_VERSION).status == wire.OK


def test_any_frame_counts_as_a_sign_of_life(impatient, recording):
    """Calls without a single PONG keep the connection, as in libvirt."""
    with impatient.connect() as client:
        client.open("qemu:///system", keepalive_too=True)
        deadline = time.monotonic() + 4.5
        while time.monotonic() < deadline:
            assert client.ask(wire.GET_LIB_VERSION).status == wire.OK
            try:
                client.receive(0.4)
            except TimeoutError:
                pass


def test_upstreams_ping_is_answered_by_the_worker(gate, back):
    """Only the worker talks to the upstream; a ping of it must never end up at a client, which did not ask
    for any.
    """
    with Session(gate, back) as session:
        session.upstream.send(wire.keepalive())
        back.wait(lambda: any(is_pong(f) for f in session.upstream.frames))
        assert session.client.ask(wire.GET_LIB_VERSION).status == wire.OK
        assert not any(f.prog == wire.KEEPALIVE for f in session.client.log)
