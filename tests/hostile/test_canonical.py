# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_canonical - one frame has one reading: what libvirt's lenient decoder accepts arrives rewritten, or
not at all.
"""

import pytest

from vgtest import wire
from vgtest.session import Session, distinct_calls


def test_padding_and_flags_are_rewritten_in_every_shape(gate, back):
    """A5, A6. Bytes of padding other than zero, and optional flags other than 0 and 1."""
    with Session(gate, back) as session:
        spoiled = 0
        for entry in distinct_calls():
            plain = entry.arguments.make(True)
            for flag in (2, 0x01000000, 0x80000000, 0xFFFFFFFF):
                lenient = entry.arguments.make(True, flag=flag, pad=b"\x01\x80\xff")
                if lenient != plain:
                    spoiled += 1  # also the serial: a stream's must be new
                    session.passes(wire.call(entry.number, lenient, spoiled, entry.prog), as_payload=plain)
        assert spoiled > 100


@pytest.mark.parametrize("flag", [0x01000000, 2, 0xFFFFFFFF])
def test_go_libvirts_open_is_served(gate, back, flag):
    """go-libvirt writes the flag of CONNECT_OPEN's name as 01 00 00 00."""
    with gate.connect() as client:
        opened = client.ask(
            wire.CONNECT_OPEN, wire.optional(wire.string("qemu:///system"), flag) + wire.u32(0)
        )
        assert opened.status == wire.OK, opened.error()
        assert client.ask(wire.GET_HOSTNAME).status == wire.OK
    assert [f.payload for f in back.frames(wire.CONNECT_OPEN)] == [wire.open_args("qemu:///system")]


def test_string_in_pieces_is_rewritten_too(gate, back):
    """The padding that a gate must clear may come in a later piece than the string."""
    name = b"n" * 100_001
    data = wire.call(wire.LOOKUP_BY_NAME, wire.string(name, pad=b"\x07\x07\x07"), 7).pack()
    for cut in (3, 2, 1):
        with Session(gate, back) as session:
            session.client.send(data[:-cut])
            session.client.send(data[-cut:])
            assert session.client.receive().serial == 7
            assert session.passed() == [wire.call(wire.LOOKUP_BY_NAME, wire.string(name), 7)]


def test_nul_in_any_string_of_any_shape_is_refused(gate, back):
    with Session(gate, back) as session:
        tried = 0
        for entry in distinct_calls():
            plain = entry.arguments.make(True)
            at = plain.find(wire.string("hello"))
            while at >= 0:
                evil = plain[:at] + wire.string(b"he\0lo") + plain[at + 12 :]
                session.refused(wire.call(entry.number, evil, 7, entry.prog))
                tried += 1
                at = plain.find(wire.string("hello"), at + 12)
        assert tried > 100


@pytest.mark.parametrize("name", [b"", b"\xff\xfe", b"a\nb", b"../x", "Grüße".encode(), b"\x7f\x01"])
def test_odd_names_are_not_changed(gate, back, name):
    """A name is the upstream's to judge, or refused: never altered."""
    with Session(gate, back) as session:
        frame = wire.call(wire.LOOKUP_BY_NAME, wire.string(name), 7)
        session.client.send(frame)
        session.client.answer(frame)
        assert session.passed() in ([], [frame])
