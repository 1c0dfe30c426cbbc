# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_keepalive - pings are answered whatever else goes on, and sent only to clients that asked for them."""

import threading
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


@pytest.fixture(scope="module")
def idlers(impatient, recording):
    """Four clients that live side by side for 4.5 s, where a client is pinged each second and closed
    after two pings.

    {name: (frames, seconds until it was closed or None, last answer or None)}
    """
    recording.forget()
    begin, outcome = time.monotonic(), {}

    def live(client, react):
        frames, ended, answer = [], None, None
        try:
            while (left := begin + 4.5 - time.monotonic()) > 0:
                try:
                    frames.append(client.receive(min(left, 0.4)))
                except TimeoutError:
                    react(client, None)
                else:
                    react(client, frames[-1])
            answer = client.ask(wire.GET_LIB_VERSION)
        except wire.Closed:
            ended = time.monotonic() - begin
        return frames, ended, answer

    def nothing(client, frame):
        pass

    def pong(client, frame):
        if frame:
            client.send(wire.keepalive(wire.PONG))

    def call(client, frame):
        if frame is None:
            client.start(wire.GET_HOSTNAME)

    kinds = {
        "asked": (True, nothing),
        "never asked": (False, nothing),
        "answers": (True, pong),
        "calls": (True, call),
    }
    clients = {name: impatient.connect() for name in kinds}
    threads = []
    for name, (asks, react) in kinds.items():
        clients[name].open("qemu:///system", keepalive_too=asks)

        def work(name=name, react=react):
            outcome[name] = live(clients[name], react)

        threads.append(threading.Thread(target=work))
        threads[-1].start()
    for thread in threads:
        thread.join(20)
    for client in clients.values():
        client.close()
    return outcome


def test_silent_client_that_asked_is_pinged_and_then_closed(idlers):
    """Interval 1 s, count 2: closed after about 3 s, and not before two pings went unanswered."""
    frames, ended, _ = idlers["asked"]
    assert frames == [wire.keepalive(wire.PING)] * 2
    assert ended and 2.5 < ended < 4.5


def test_client_that_never_asked_is_neither_pinged_nor_closed(idlers):
    """Such a client could take a ping for an event of an unknown program. There is no deadline between
    frames.
    """
    frames, ended, answer = idlers["never asked"]
    assert (frames, ended) == ([], None) and answer.status == wire.OK


def test_client_that_answers_pings_stays(idlers):
    frames, ended, answer = idlers["answers"]
    assert len(frames) >= 3 and all(map(is_ping, frames))
    assert ended is None and answer.status == wire.OK


def test_any_frame_counts_as_a_sign_of_life(idlers):
    """Calls without a single PONG keep the connection, as in libvirt."""
    frames, ended, answer = idlers["calls"]
    assert ended is None and answer.status == wire.OK and any(f.proc == wire.GET_HOSTNAME for f in frames)


def test_upstreams_ping_never_reaches_the_client(gate, back):
    """The worker asks no upstream for pings, and a client that asked for none would close."""
    with Session(gate, back) as session:
        for number in (wire.PING, wire.PONG):
            session.upstream.send(wire.keepalive(number))
        assert session.client.ask(wire.GET_LIB_VERSION).status == wire.OK
        assert not any(f.prog == wire.KEEPALIVE for f in session.client.log)
