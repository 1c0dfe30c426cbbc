# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_open - the name in CONNECT_OPEN is a key of the configured table and nothing else."""

import pytest

from vgtest import wire
from vgtest.session import Session

OPEN, OPEN_READ_ONLY = wire.open_args("qemu:///system", 0), wire.open_args("qemu:///system", 1)

FOREIGN = [
    "qemu+ssh://elsewhere/system",
    "qemu+tls://elsewhere/system",
    "qemu+tcp://127.0.0.1:1/system",
    "qemu+unix:///system?socket=/tmp/evil",
    "qemu:///system?socket=/tmp/evil",
    "remote:///",
    "qemu+ext:///system?command=/bin/sh",
    "test:///etc/passwd",
    "qemu:///system#",
    "qemu:///systen",
    "QEMU:///system",
    " qemu:///system",
    "qemu:///system ",
    "qemu:///system/",
    "qemu://localhost/system",
    "qemu:///system\n",
    "esx://elsewhere",
    "x" * 4096,
    "%71emu:///system",
]


@pytest.mark.parametrize("uri", FOREIGN, ids=lambda uri: uri[:40].encode("unicode_escape").decode())
def test_foreign_uri_is_refused_and_reaches_nobody(gate, back, dying, uri):
    dying.forget()
    with gate.connect() as client:
        answer = client.ask(wire.CONNECT_OPEN, wire.open_args(uri))
        code, _, text = answer.error()
        assert text and code != 0
        assert client.alive()
    assert uri.encode() not in back.bytes() + dying.bytes()
    assert back.frames(wire.CONNECT_OPEN) == []


def test_after_a_refused_open_another_may_follow(gate, back):
    with gate.connect() as client:
        client.ask(wire.CONNECT_OPEN, wire.open_args("qemu+ssh://elsewhere/system")).error()
        assert client.ask(wire.CONNECT_OPEN, wire.open_args("qemu:///system")).status == wire.OK
    assert [f.payload for f in back.frames(wire.CONNECT_OPEN)] == [OPEN]


@pytest.mark.parametrize("flags", [0, 2, 4, 6, 0xFFFE])
def test_internal_flags_of_libvirts_client_are_dropped(gate, back, flags):
    with gate.connect() as client:
        assert client.ask(wire.CONNECT_OPEN, wire.open_args("qemu:///system", flags)).status == wire.OK
    assert [f.payload for f in back.frames(wire.CONNECT_OPEN)] == [OPEN]


@pytest.mark.parametrize("flags", [1, 3, 7, 0xFFFF])
def test_read_only_is_kept(gate, back, flags):
    with gate.connect() as client:
        assert client.ask(wire.CONNECT_OPEN, wire.open_args("qemu:///system", flags)).status == wire.OK
    assert [f.payload for f in back.frames(wire.CONNECT_OPEN)] == [OPEN_READ_ONLY]


@pytest.mark.parametrize("name", [None, ""])
def test_open_without_a_name_is_the_default_or_refused(gate, back, name):
    with gate.connect() as client:
        answer = client.ask(wire.CONNECT_OPEN, wire.open_args(name))
        assert answer.status == wire.OK or answer.error()[2]
    assert [f.payload for f in back.frames(wire.CONNECT_OPEN)] in ([], [OPEN])


def test_second_open_is_refused(gate, back):
    with Session(gate, back) as session:
        code, _, text = session.refused(wire.call(wire.CONNECT_OPEN, OPEN, 7))
        assert code == 1 and "already open" in text


def test_calls_before_open_are_refused(gate, back):
    with gate.connect() as client:
        for proc, payload in (
            (wire.GET_HOSTNAME, b""),
            (wire.LOOKUP_BY_NAME, wire.string("x")),
            (wire.SUPPORTS_FEATURE, wire.u32(14)),
        ):
            code, _, text = client.ask(proc, payload).error()
            assert code == 1 and "not open" in text
        assert client.ask(wire.SUPPORTS_FEATURE, wire.u32(10)).payload == wire.u32(1)
        assert client.ask(wire.AUTH_LIST).payload == wire.u32(1) + wire.u32(0)
    assert back.bytes() == b""


def test_open_without_asking_for_authentication(gate, back):
    with gate.connect() as client:
        assert client.ask(wire.CONNECT_OPEN, OPEN).status == wire.OK


def test_close_is_answered_and_ends_the_connection(gate, back):
    """A call behind it may reach the upstream or not, as with libvirt itself; it gets no result."""
    with Session(gate, back) as session:
        later = wire.call(wire.LOOKUP_BY_NAME, wire.string("late"), 8)
        session.client.send(wire.call(wire.CONNECT_CLOSE, b"", 7).pack() + later.pack())
        answers = session.client.rest()
        assert (answers[0].proc, answers[0].status) == (wire.CONNECT_CLOSE, wire.OK)
        assert all(f.status == wire.ERROR and f.serial == 8 for f in answers[1:])
        back.wait(lambda: session.upstream.closed)


def test_close_before_open_is_answered(gate, back):
    with gate.connect() as client:
        answer = client.ask(wire.CONNECT_CLOSE)
        assert answer.status == wire.OK or answer.error()[2]
    assert back.bytes() == b""


def test_upstream_that_refuses_the_open(gate, back):
    """The upstream's error is the client's answer."""
    back.on(
        wire.CONNECT_OPEN,
        lambda connection, frame: connection.send(
            wire.reply(frame, wire.error_payload(38, 0, "no driver here"), wire.ERROR)
        ),
    )
    with gate.connect() as client:
        code, _, text = client.ask(wire.CONNECT_OPEN, OPEN).error()
        assert "no driver here" in text


def test_sasl_and_polkit_are_not_offered_to_certificates(gate, back):
    with gate.connect() as client:
        for proc, payload in (
            (67, b""),
            (68, wire.string("PLAIN") + wire.u32(1) + wire.u32(0)),
            (69, wire.u32(1) + wire.u32(0)),
            (70, b""),
        ):
            assert client.ask(proc, payload).error()[2]
        assert client.ask(wire.CONNECT_OPEN, OPEN).status == wire.OK
    assert all(f.proc not in (67, 68, 69, 70) for f in back.frames())


def test_upstream_that_is_not_there(gate, dying):
    """A socket nobody listens on gives an error with a text, not silence."""
    dying.stop()
    try:
        with gate.connect() as client:
            assert client.ask(wire.CONNECT_OPEN, wire.open_args("lxc:///system")).error()[2]
    finally:
        dying.start()
    with gate.connect() as client:
        assert client.ask(wire.CONNECT_OPEN, wire.open_args("lxc:///system")).status == wire.OK
