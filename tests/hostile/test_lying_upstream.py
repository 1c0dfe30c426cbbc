# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lying_upstream - a worker or upstream that was taken over must not attack clients.

The client gets an RPC error or an orderly close, never a frame that it could not have expected; other
sessions go on.
"""

import pytest

from vgtest import table, wire
from vgtest.lies import make_lies
from vgtest.session import Session

ASK = wire.LOOKUP_BY_NAME


def answer_of(frame):
    return wire.reply(frame, wire.domain("real"))


def event(payload=None, proc=wire.EVENT_CALLBACK_LIFECYCLE, prog=wire.REMOTE, **changes):
    payload = wire.u32(0) + wire.domain() + wire.u32(2) + wire.u32(0) if payload is None else payload
    return wire.Frame(prog, 1, proc, wire.MESSAGE, 1, wire.OK, payload)._replace(**changes)


# What the upstream sends when it is asked: name -> function of the call that gives the bytes.
LIES = make_lies(wire.domain("real"), wire.domain(b"re\0al"), event, wire.QEMU)


def judge(client, call):
    """All frames that the client got must be what it could expect: the reply to its call, well-formed, at
    most once.
    """
    replies = [f for f in client.log if f.type == wire.REPLY and f.serial == call.serial]
    others = [f for f in client.log if f not in replies]
    assert not client.buffer, f"closed inside a frame: {bytes(client.buffer).hex()}"
    assert len(replies) <= 1, replies
    for answer in replies:
        assert (answer.prog, answer.vers, answer.proc) == (call.prog, call.vers, call.proc)
        if answer.status == wire.ERROR:
            assert answer.error()[2]
        else:
            assert answer.status == wire.OK
            table.check_payload(table.procedure(call.proc).result, answer.payload)
    for frame in others:
        assert frame.type == wire.MESSAGE, frame
        entry = table.load()[frame.prog, frame.proc]
        assert entry.kind == "event" and frame.status == wire.OK
        table.check_payload(entry.arguments, frame.payload)
    return replies


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_client_gets_an_error_or_a_close(gate, back, lie):
    def script(connection, frame):
        connection.send(lie(frame))
        connection.die()

    with Session(gate, back) as witness:
        with Session(gate, back) as session:
            back.on(ASK, script)
            session.client.log.clear()
            call = session.client.start(ASK, wire.string("x"))
            session.client.rest()
            replies = judge(session.client, call)
            assert [f.status for f in replies] == [
                wire.ERROR
            ], "an open call of a session that ends gets an error"
        back.scripts.clear()
        assert witness.client.ask(wire.GET_LIB_VERSION).status == wire.OK


@pytest.mark.parametrize(
    "lie",
    [lie for name, lie in LIES.items() if "end" not in name],
    ids=[name for name in LIES if "end" not in name],
)
def test_what_follows_a_lie_does_not_confuse_the_client(gate, back, lie):
    """The upstream lies and then answers properly: the answer arrives, or the session is over; the lie never
    does.
    """

    def script(connection, frame):
        connection.send(lie(frame) + answer_of(frame).pack())

    with Session(gate, back) as session:
        back.on(ASK, script)
        session.client.log.clear()
        call = session.client.start(ASK, wire.string("x"))
        try:
            session.client.answer(call, 3.0)
        except (wire.Closed, TimeoutError):
            pass
        judge(session.client, call)


def test_two_replies_to_one_call(gate, back):
    back.on(ASK, lambda connection, frame: connection.send(answer_of(frame).pack() * 2))
    with Session(gate, back) as session:
        session.client.log.clear()
        call = session.client.start(ASK, wire.string("x"))
        try:
            session.client.answer(call)
            session.client.ask(wire.GET_HOSTNAME)
        except wire.Closed:
            pass
        assert sum(f.serial == call.serial for f in session.client.log) == 1


def test_replies_in_any_order(gate, back):
    back.hold(ASK)
    with Session(gate, back) as session:
        calls = [session.client.start(ASK, wire.string(f"n{n}")) for n in range(5)]
        back.wait_held(5)
        back.release(order=lambda held: held[::-1], payload=wire.domain("real"))
        assert [session.client.receive().serial for _ in calls] == [c.serial for c in calls[::-1]]


def test_calls_with_the_same_serial_both_get_a_reply(gate, back):
    with Session(gate, back) as session:
        call = wire.call(ASK, wire.string("x"), 7)
        session.client.send(call.pack() * 2)
        assert [session.client.receive().serial for _ in range(2)] == [7, 7]


def test_events_come_through_before_and_between_replies(gate, back):
    def script(connection, frame):
        connection.send(event().pack() + wire.reply(frame, wire.u32(0)).pack() + event().pack())

    back.on(wire.EVENT_REGISTER_ANY, script)
    with Session(gate, back) as session:
        session.client.log.clear()
        session.client.ask(wire.EVENT_REGISTER_ANY, wire.u32(0) + wire.u32(0))
        session.client.ask(wire.GET_HOSTNAME)
        assert [f.proc for f in session.client.log] == [
            wire.EVENT_CALLBACK_LIFECYCLE,
            wire.EVENT_REGISTER_ANY,
            wire.EVENT_CALLBACK_LIFECYCLE,
            wire.GET_HOSTNAME,
        ]
        assert session.client.log[0] == event()


def test_lenient_result_is_rewritten(gate, back):
    """A client must not have two readings of a reply either: padding and flags come out canonical, or the
    session ends.
    """
    back.on(
        3,
        lambda connection, frame: connection.send(
            wire.reply(frame, wire.string("QEMU!", pad=b"\x01\x02\x03"))
        ),
    )
    with Session(gate, back) as session:
        try:
            assert session.client.ask(wire.GET_TYPE).payload == wire.string("QEMU!")
        except wire.Closed:
            pass


@pytest.mark.parametrize("before", [0, 3, 9])
def test_download_stream_passes_unchanged(gate, back, before):
    """Data of any frame size the protocol allows, a hole, and the end. `before` of these come before the reply that opens the
    stream: libvirtd sends it from another thread.
    """
    sizes = (1, 24, 262_120, 262_120, 24, 70_000, 1 << 20)

    def script(connection, frame):
        pieces = [wire.stream(frame, bytes([n + 1]) * size) for n, size in enumerate(sizes)]
        pieces += [wire.hole(frame, 8192), wire.stream(frame)]
        for piece in pieces[:before] + [wire.reply(frame)] + pieces[before:]:
            connection.send(piece)

    back.on(wire.VOL_DOWNLOAD, script)
    with Session(gate, back) as session:
        session.client.log.clear()
        call = session.client.start(
            wire.VOL_DOWNLOAD, wire.volume("p", "v", "k") + wire.u64(0) + wire.u64(0) + wire.u32(1)
        )
        session.client.until(lambda f: len(session.client.log) == len(sizes) + 3)
        replies = [f for f in session.client.log if f.type == wire.REPLY]
        assert [(f.serial, f.status) for f in replies] == [(call.serial, wire.OK)]
        assert session.client.log.index(replies[0]) == before
        data = b"".join(f.payload for f in session.client.log if f.type == wire.STREAM)
        assert data == b"".join(bytes([n + 1]) * size for n, size in enumerate(sizes))
        assert [f.payload for f in session.client.log if f.type == wire.HOLE] == [
            wire.u64(8192) + wire.u32(0)
        ]


def test_data_of_an_upload_stream_never_reaches_the_client(gate, back):
    """Streams from the client to the server carry no data the other way."""

    def script(connection, frame):
        connection.send(wire.reply(frame))
        connection.send(wire.stream(frame, b"unasked"))

    back.on(wire.VOL_UPLOAD, script)
    with Session(gate, back) as session:
        call = session.client.start(
            wire.VOL_UPLOAD, wire.volume("p", "v", "k") + wire.u64(0) + wire.u64(0) + wire.u32(0)
        )
        try:
            session.client.answer(call)
            session.client.ask(wire.GET_HOSTNAME)
        except wire.Closed:
            pass
        assert not any(f.payload == b"unasked" for f in session.client.log)


def test_upstream_that_dies_with_many_calls_open(gate, dying, recording):
    """Each open call gets an error with a text, then the session ends; another upstream's session notices
    nothing.
    """
    dying.forget()
    dying.hold(ASK)
    with gate.open("qemu:///system") as witness, gate.open("lxc:///system") as client:
        calls = [client.start(ASK, wire.string(f"n{n}")) for n in range(8)]
        dying.wait_held(8)
        client.log.clear()
        dying.stop()
        try:
            client.rest()
            errors = {f.serial: f.error() for f in client.log}
            assert sorted(errors) == [c.serial for c in calls]
            assert all(text for _, _, text in errors.values())
            assert witness.ask(wire.GET_LIB_VERSION).status == wire.OK
        finally:
            dying.start()
    with gate.open("lxc:///system") as client:
        assert client.ask(wire.GET_LIB_VERSION).status == wire.OK


def test_upstream_that_dies_mid_call_many_times(gate, back):
    back.on(ASK, lambda connection, frame: connection.die())
    for _ in range(40):
        with Session(gate, back) as session:
            call = session.client.start(ASK, wire.string("x"))
            session.client.log.clear()
            session.client.rest()
            assert [f.serial for f in session.client.log] == [call.serial]
            assert session.client.log[0].error()[2]


def test_upstream_that_never_answers_holds_up_nobody_else(gate, back):
    back.hold(ASK)
    with Session(gate, back) as stuck, Session(gate, back) as other:
        stuck.client.start(ASK, wire.string("x"))
        back.wait_held(1)
        for _ in range(10):
            assert other.client.ask(wire.GET_LIB_VERSION, patience=2.0).status == wire.OK
        assert stuck.client.ask(wire.GET_HOSTNAME, patience=2.0).status == wire.OK


def test_upstream_that_never_answers_the_open(gate, back):
    """The client gets keepalive answers meanwhile, and may leave; the worker's connection goes with it."""
    back.hold(wire.CONNECT_OPEN)
    client = gate.connect()
    client.start(wire.CONNECT_OPEN, wire.open_args("qemu:///system"))
    back.wait_held(1)
    assert client.alive(2.0)
    connection = back.held[0][0]
    client.close()
    back.wait(lambda: connection.closed)
