# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_corpus - frames that broke libvirt once, or would have: each is refused in the gate and no byte of it
reaches an upstream.
"""

import struct

import pytest

from vgtest import processes, table, wire
from vgtest.session import Session

RPC, DENIED = 39, 29


def words(*values):
    return struct.pack(f">{len(values)}I", *(value & 0xFFFFFFFF for value in values))


def call(proc, payload=b"", prog=wire.REMOTE):
    return wire.call(proc, payload, 5, prog)


CLOSED = {
    "H1 length word 27": words(27) + bytes(23),
    "length word 0": words(0),
    "length word 3": words(3) + bytes(3),
    "length word 4": words(4) + bytes(24),
    "length word of a header cut short": words(20) + bytes(16),
    "length word one above the largest": words(wire.MAX_LENGTH_WORD + 1),
    "H3 length word 2^32-1": words(0xFFFFFFFF),
    "length word 2^31": words(0x80000000),
    "T1 a REPLY from a client": call(66)._replace(type=wire.REPLY).pack(),
    "an error REPLY from a client": call(66, wire.error_payload(1, 7, "x"))
    ._replace(type=wire.REPLY, status=1)
    .pack(),
    "REPLY_WITH_FDS from a client": call(66, words(0))._replace(type=wire.REPLY_WITH_FDS).pack(),
    "T2 type 7": call(66)._replace(type=7).pack(),
    "type 99": call(66)._replace(type=99).pack(),
    "type -1": call(66)._replace(type=0xFFFFFFFF).pack(),
    "F1 CALL_WITH_FDS, 33 descriptors": call(309, words(33))._replace(type=wire.CALL_WITH_FDS).pack(),
    "CALL_WITH_FDS, no descriptor": call(309, words(0) + wire.string("<domain/>") + words(0))
    ._replace(type=wire.CALL_WITH_FDS)
    .pack(),
    "CALL_WITH_FDS, 2^32-1 descriptors": call(309, words(-1))._replace(type=wire.CALL_WITH_FDS).pack(),
    "A4 bytes behind the arguments": call(66, b"\xde\xad\xbe\xef").pack(),
    "bytes behind the arguments of a call that upstreams serve": call(
        23, wire.string("test") + words(0)
    ).pack(),
    "one byte behind the arguments": call(23, wire.string("test") + b"\0").pack(),
}


@pytest.mark.parametrize("data", CLOSED.values(), ids=CLOSED)
def test_connection_is_closed_without_an_answer(gate, back, data):
    with Session(gate, back) as session:
        session.closed(data)


ANSWERED = {
    "P1 an event as a call": (call(107), RPC),
    "an event of the callback kind as a call": (call(318), RPC),
    "P2 procedure 99999": (call(99999), RPC),
    "P3 procedure -1": (call(-1), RPC),
    "procedure 0": (call(0), RPC),
    "procedure -2^31": (call(-(2**31)), RPC),
    "procedure above the last": (call(457), RPC),
    "P4 program 0x20008089": (call(1, prog=0x20008089), RPC),
    "the program of virtlockd": (call(1, words(0), prog=0x0EA7BEEF), RPC),
    "the admin program": (call(1, words(0), prog=0x06900690), RPC),
    "version 2": (call(66)._replace(vers=2), RPC),
    "status ERROR on a call": (call(66)._replace(status=1), RPC),
    "status CONTINUE on a call": (call(66)._replace(status=2), RPC),
    "status 77 on a call": (call(66)._replace(status=77), RPC),
    "procedure 0 of the qemu program": (call(0, prog=wire.QEMU), RPC),
    "the event of the qemu program": (call(6, prog=wire.QEMU), RPC),
    "no payload where one belongs": (call(23), RPC),
    "half a length": (call(23, b"\0\0"), RPC),
    "string longer than the frame": (call(23, words(100) + b"abcd"), RPC),
    "missing padding": (call(23, words(5) + b"hello"), RPC),
    "string length 2^32-1": (call(23, words(-1) + b"abcd"), RPC),
    "more typed parameters than allowed": (call(439, wire.domain() + words(65)), RPC),
    "2^32-1 typed parameters (CVE-2013-4292)": (call(305, wire.domain() + words(-1)), RPC),
    "A1 pages times cells wraps (CVE-2026-18917)": (call(340, words(1023, *[4] * 1023, 0, 4198405, 0)), None),
    "A2 negative number of parameters (CVE-2024-2494)": (call(227, words(-1, -1, 0)), None),
    "A3 vcpus times map length wraps (CVE-2011-2511)": (
        call(20, wire.domain() + words(-1, 0x7FFFFFFF)),
        None,
    ),
    "A3 with 2^16 times 2^16": (call(20, wire.domain() + words(0x10000, 0x10000)), None),
    "memory statistics above the limit (CVE-2013-4296)": (call(159, wire.domain() + words(1025, 0)), None),
    "A8 NUL in a name": (call(23, wire.string(b"demo\0evil")), None),
    "NUL at the end of a name": (call(23, wire.string(b"demo\0")), None),
    "NUL in an optional string": (call(5, wire.optional(wire.string(b"q\0emu"))), None),
    "I1 SET_IDENTITY": (
        call(419, words(1) + wire.string("user-name") + words(7) + wire.string("root") + words(0)),
        None,
    ),
    "SET_IDENTITY without parameters": (call(419, words(0, 0)), None),
}


@pytest.mark.parametrize("frame, code", ANSWERED.values(), ids=ANSWERED)
def test_call_is_refused_with_an_error(gate, back, frame, code):
    with Session(gate, back) as session:
        session.refused(frame, code)


@pytest.mark.parametrize("frame, code", ANSWERED.values(), ids=ANSWERED)
def test_call_before_open_is_refused_with_an_error(gate, back, frame, code):
    with gate.connect() as client:
        client.send(frame)
        answer = client.receive()
        assert (answer.type, answer.serial, answer.proc) == (
            wire.REPLY,
            frame.serial,
            wire.signed(frame.proc & 0xFFFFFFFF),
        )
        assert answer.error()[2]
        assert client.alive()
    assert back.bytes() == b""


def test_texts_that_clients_act_on(gate, back):
    """libvirt's clients turn "unknown procedure" into "not supported by this server"; both texts carry the
    numbers in decimal.
    """
    with Session(gate, back) as session:
        code, where, text = session.refused(call(99999))
        assert (code, where) == (39, 7) and text.startswith("unknown procedure: 99999")
        code, where, text = session.refused(call(-1))
        assert text.startswith("unknown procedure: -1")
        code, where, text = session.refused(call(66)._replace(vers=2))
        assert (code, where) == (39, 7) and text.startswith(f"Cannot find program {wire.REMOTE} version 2")
        code, where, text = session.refused(call(23))
        assert (code, where) == (39, 7) and text.startswith("Unable to decode message payload")


IGNORED = {
    "STREAM data for no stream": wire.stream(call(wire.VOL_UPLOAD), b"data"),
    "end of no stream": wire.stream(call(wire.VOL_UPLOAD), b"", wire.OK),
    "abort of no stream": wire.stream(call(wire.VOL_UPLOAD), b"", wire.ERROR),
    "STREAM of a procedure that has none": wire.stream(call(wire.GET_HOSTNAME), b"data"),
    "hole for no stream": wire.hole(call(wire.VOL_UPLOAD), 4096),
    "unknown keepalive procedure": wire.keepalive(7),
    "PONG that nobody asked for": wire.keepalive(wire.PONG),
}


@pytest.mark.parametrize("frame", IGNORED.values(), ids=IGNORED)
def test_frame_is_ignored(gate, back, frame):
    with Session(gate, back) as session:
        session.client.send(frame)
        assert session.passed() == []
        assert [
            f
            for f in session.client.log
            if f.serial == frame.serial and f.prog == frame.prog and f.type != wire.REPLY
        ] == []


def test_message_of_the_remote_program_reaches_nobody(gate, back):
    """Only servers send events. libvirt ignores it; closing would be right too."""
    with Session(gate, back) as session:
        session.client.send(
            call(wire.EVENT_LIFECYCLE, wire.domain() + words(0, 0))._replace(type=wire.MESSAGE)
        )
        try:
            assert session.passed() == []
        except wire.Closed:
            session.upstream.owner.wait(lambda: session.upstream.closed)
            assert session.upstream.frames[session.seen :] == []


# Arguments that size an array of the reply: {procedure: their positions among the arguments}.
COUNTS = {
    20: (1, 2),
    21: (0,),
    36: (0,),
    37: (0,),
    38: (0,),
    57: (1,),
    72: (0,),
    74: (0,),
    92: (1,),
    101: (1,),
    103: (3,),
    104: (2,),
    112: (1,),
    117: (1,),
    127: (0,),
    138: (0,),
    140: (0,),
    159: (1,),
    179: (0,),
    188: (1,),
    198: (1,),
    206: (1,),
    223: (1,),
    227: (1,),
    228: (0,),
    230: (1, 2),
    243: (2,),
    247: (1,),
    253: (2,),
    255: (1,),
    257: (2,),
    262: (1, 3),
    263: (1,),
    280: (1,),
    289: (0,),
    340: (2,),
    347: (3,),
    395: (0,),
    407: (1,),
}


def test_counts_out_of_range_are_refused_in_every_procedure(gate, back):
    """libvirt once trusted each of these; a number that no driver can fill is refused before a driver sees
    it.
    """
    let_through = []
    with Session(gate, back) as session:
        for proc, positions in COUNTS.items():
            parts = [part.make(True) for part in table.procedure(proc).arguments.parts]
            for position in positions:
                for value in (-1, -(2**31), 2**31 - 1):
                    payload = b"".join(parts[:position] + [wire.u32(value)] + parts[position + 1 :])
                    answer = session.client.ask(proc, payload)
                    if answer.status != wire.ERROR:
                        let_through.append((table.procedure(proc), position, value))
        assert session.passed() == [] or let_through
    assert not let_through


def test_largest_string_plus_one_is_refused_before_its_body_is_read(gate, back):
    """A7. The error comes while the body is still to be sent, and the body is then skipped: the connection
    goes on.
    """
    size = wire.MAX_STRING + 1
    body = 4 + size + -size % 4
    head = words(28 + body) + call(wire.LOOKUP_BY_NAME).pack()[4:] + words(size)
    with Session(gate, back) as session:
        session.client.send(head)
        answer = session.client.receive()
        assert (answer.status, answer.serial) == (wire.ERROR, 5)
        session.client.send(bytes(body - 4))
        assert session.passed() == []


def test_largest_string_is_served(gate, back):
    with Session(gate, back) as session:
        session.passes(call(wire.LOOKUP_BY_NAME, wire.string(b"x" * wire.MAX_STRING)))


def test_length_word_just_above_32_mib_costs_no_memory(gate, back):
    """H2. libvirt's limit for the length word is 32 MiB + 4, so a gate may also wait here, but not
    allocate.
    """
    gates = gate.pids("virtgate-gate")
    before = sum(map(processes.resident, gates))
    clients = [gate.connect() for _ in range(20)]
    for client in clients:
        client.send(words(33554433))
        client.send(call(99999).pack()[4:])
    with Session(gate, back) as session:
        assert session.passed() == []
    grown = sum(map(processes.resident, gates)) - before
    for client in clients:
        client.close()
    assert grown < 16 << 20, f"20 length words grew the gates by {grown >> 20} MiB"
    assert all(f.proc != 99999 for f in back.frames())


def test_big_frames_before_authentication_are_not_buffered(gate, back):
    """A frame of 32 MiB to an unknown procedure is answered from its header; the gate does not keep its
    body.
    """
    gates = gate.pids("virtgate-gate")
    before = sum(map(processes.resident, gates))
    with gate.connect() as client:
        client.send(words(33554432) + call(99999).pack()[4:])
        try:
            for _ in range(32):
                client.send(bytes((1 << 20) - 1))
                assert sum(map(processes.resident, gates)) - before < 12 << 20
        except wire.Closed:
            pass  # refusing to read it at all is right too
    assert back.bytes() == b""


def test_undecodable_body_then_close_many_times(gate, back):
    """CVE-2013-0170: the refused message was freed and stayed queued. 60 times, half of them by a reset."""
    for turn in range(60):
        client = gate.connect()
        client.send(call(23, words(100)))
        if turn % 2:
            client.reset()
        else:
            client.close()
    assert back.bytes() == b""


def test_close_right_after_asking_for_keepalive(gate, back):
    """CVE-2014-1447: the timer of a connection that is gone."""
    for turn in range(60):
        client = gate.connect()
        client.send(call(wire.SUPPORTS_FEATURE, words(10)))
        client.reset()
    assert back.bytes() == b""


def test_each_client_gets_its_own_errors(gate, back):
    """CVE-2011-1486: an error object shared between threads. 32 clients, each reply must name its own
    procedure.
    """
    clients = [gate.connect() for _ in range(32)]
    for turn in range(5):
        for index, client in enumerate(clients):
            client.send(call(10000 + index * 10 + turn))
        for index, client in enumerate(clients):
            answer = client.receive()
            assert answer.proc == 10000 + index * 10 + turn
            assert str(answer.proc) in answer.error()[2]
    for client in clients:
        client.close()
