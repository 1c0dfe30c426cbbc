# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_framing - the stream may be cut anywhere: frames split, coalesced and truncated at every offset."""

import time

from vgtest import wire
from vgtest.session import Session

CALL = wire.call(wire.LOOKUP_BY_NAME, wire.string("hello"), 7)


def test_frame_split_at_every_byte(gate, back):
    data = CALL.pack()
    with Session(gate, back) as session:
        for at in range(1, len(data)):
            session.client.send(data[:at])
            session.client.send(data[at:])
            assert session.client.answer(CALL).status == wire.OK
        assert session.passed() == [CALL] * (len(data) - 1)


def test_frame_in_single_bytes(gate, back):
    with Session(gate, back) as session:
        for byte in CALL.pack():
            session.client.send(bytes([byte]))
        assert session.client.answer(CALL).status == wire.OK
        assert session.passed() == [CALL]


def test_hundred_frames_in_one_write(gate, back):
    calls = [CALL._replace(serial=serial) for serial in range(100)]
    with Session(gate, back) as session:
        session.client.send(b"".join(frame.pack() for frame in calls))
        answered = sorted(session.client.receive().serial for _ in calls)
        assert answered == list(range(100))
        assert session.passed() == calls


def test_pieces_that_do_not_end_where_frames_end(gate, back):
    """Thirty frames in pieces of 1 to 97 bytes: no piece boundary is special."""
    calls = [CALL._replace(serial=serial) for serial in range(30)]
    data = b"".join(frame.pack() for frame in calls)
    for size in (1, 3, 23, 27, 28, 29, 41, 97):
        with Session(gate, back) as session:
            for at in range(0, len(data), size):
                session.client.send(data[at : at + size])
            assert sorted(session.client.receive().serial for _ in calls) == list(range(30))
            assert session.passed() == calls


def test_large_frame_in_pieces(gate, back):
    """A call of 300 kB, larger than one packet between the gate and a worker."""
    big = wire.call(wire.LOOKUP_BY_NAME, wire.string(b"n" * 300_001), 7)
    data = big.pack()
    for size in (16_384, 65_536, 100_003):
        with Session(gate, back) as session:
            for at in range(0, len(data), size):
                session.client.send(data[at : at + size])
            assert session.client.answer(big).status == wire.OK
            assert session.passed() == [big]


def test_frame_truncated_at_every_offset(gate, back):
    """An end of file or a reset inside a frame ends the session; the piece that came reaches nobody."""
    data = CALL.pack()
    for at in range(len(data)):
        session = Session(gate, back)
        session.client.send(data[:at])
        if at % 2:
            session.client.reset()
        else:
            session.client.close()
        back.wait(lambda: session.upstream.closed)
        assert session.upstream.frames[session.seen :] == [], f"truncated at {at}"
    back.check_canonical()


def test_whole_call_then_end_of_file_leaves_no_session(gate, back):
    session = Session(gate, back)
    session.client.send(CALL)
    session.client.close()
    back.wait(lambda: session.upstream.closed)


def test_each_frame_begins_a_tls_record(gate, back):
    """libvirt's client goes back to poll() after a frame: one that came in the same record would be
    found only when
    something else arrives, seconds later. Python hands out one record at a time.
    """
    calls = [CALL._replace(serial=serial) for serial in range(100)]
    with Session(gate, back) as session:
        session.client.send(b"".join(frame.pack() for frame in calls))
        left = frames = 0
        while frames < 100 or left:
            session.client.buffer.clear()
            session.client.fill(time.monotonic() + wire.PATIENCE)
            record = bytes(session.client.buffer)
            if left == 0:
                left = int.from_bytes(record[:4], "big")
                frames += 1
            assert len(record) <= left, "a frame begins inside a record"
            left -= len(record)
        session.client.buffer.clear()
