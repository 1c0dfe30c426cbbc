# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lying_program - what a program of others (programs.d) that was taken over says on open connections.

To its own clients it lies with what its schema has, and with nothing else: worker and gate let through no frame that they could
not expect; what is not, ends the connection with an error for what is open. Nor does it get anybody's memory or time.
"""

import re
import socket
import struct
import time

import pytest

from vgtest import captured, processes, upstream, wire
from vgtest.captured_house import own
from vgtest.lies import make_lies
from vgtest.program_house import (
    EXPORT, GET_ITEM, IMPORT, INVENTORY, ITEM, ITEMS_MAX, LIST_ITEMS, NAME_MAX, REGISTER, SET_ITEM, TAG_MAX, VERSION, Told, event,
    judge, make_item, open_house,
)  # fmt: skip


@pytest.fixture(scope="module")
def house(scratch, running_suite, recording):
    recording.forget()  # what others have left to be said
    with open_house(scratch, running_suite, "lying-program") as made:
        yield made


@pytest.fixture(scope="module")
def liar(house):
    with house.captured_liar() as taken:
        yield taken


@pytest.fixture(autouse=True)
def nobody_else_notices(house, back):
    yield
    house.check_others()


# --- against worker and gate: an open connection ---

LIES = {
    **make_lies(ITEM, make_item(b"re\0al"), event, REGISTER),
    "a name that is too long": lambda f: wire.reply(f, make_item("x" * (NAME_MAX + 1))).pack(),
    "an event of libvirt's": lambda f: wire.Frame(
        wire.REMOTE, 1, wire.EVENT_CALLBACK_LIFECYCLE, wire.MESSAGE, 1, wire.OK,
        wire.u32(0) + wire.domain() + wire.u32(2) + wire.u32(0),
    ).pack(),
    "libvirt's answer": lambda f: wire.Frame(
        wire.REMOTE, 1, wire.LOOKUP_BY_NAME, wire.REPLY, f.serial, wire.OK, wire.domain()
    ).pack(),
    "an event of another program": lambda f: event(prog=REGISTER).pack(),
    "an event of the first version, which has none": lambda f: event(vers=1).pack(),
    "an answer of the first version": lambda f: wire.reply(f._replace(vers=1), ITEM).pack(),
    "a ping": lambda f: wire.keepalive().pack(),
    "a pong": lambda f: wire.keepalive(wire.PONG).pack(),
    "a login": lambda f: wire.Frame(wire.REMOTE, 1, wire.AUTH_LIST, wire.REPLY, f.serial, wire.OK, wire.u32(0)).pack(),
    "what the broker says": lambda f: own(captured.WORK, captured.WORK_END, wire.u32(0) + wire.string("")),
    "what a worker says": lambda f: own(captured.WORK, captured.WORK_ENDED, wire.u32(1) + wire.u64(1)),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_client_gets_an_error_and_no_lie(house, liar, lie):
    with Told(house, liar) as told:
        call = told.call()
        told.program.send(lie(call))
        told.judge(call)


@pytest.mark.parametrize(
    "lie",
    [lie for name, lie in LIES.items() if "end" not in name],
    ids=[name for name in LIES if "end" not in name],
)
def test_what_follows_a_lie_does_not_confuse_the_client(house, liar, lie):
    with Told(house, liar) as told:
        call = told.call()
        try:
            told.program.send(lie(call) + wire.reply(call, ITEM).pack())
            told.client.answer(call, 3.0)
        except (wire.Closed, TimeoutError):
            pass
        judge(told.client, call)


def test_lost_connections_are_warnings_of_the_session(house, liar):
    log = len(house.suite.log())
    with Told(house, liar) as told:
        call = told.call()
        told.program.send(LIES["a call"](call))
        told.judge(call)
        pattern = rf"warning.*session {told.attached.session} admin: the connection to the program's process was lost with 1 calls open"
        upstream.await_log(house.suite, re.compile(pattern), log)
    assert not re.search(r"error", house.suite.log()[log:])


def test_largest_result_passes_and_a_larger_one_does_not(house, liar):
    for count in (ITEMS_MAX, ITEMS_MAX + 1):
        with Told(house, liar) as told:
            call = told.call(proc=LIST_ITEMS, payload=b"")
            result = wire.u32(count) + make_item("n" * NAME_MAX, "t" * TAG_MAX) * count
            try:
                told.program.send(wire.reply(call, result))
            except wire.Closed:
                assert count > ITEMS_MAX
            answer = told.client.answer(call)
            assert answer.payload == result if count == ITEMS_MAX else answer.error()[2]


@pytest.mark.parametrize("again", ["at once", "after a while"])
def test_call_is_answered_once(house, liar, again):
    with Told(house, liar) as told:
        call = told.call()
        told.program.send(wire.reply(call, ITEM))
        if again != "at once":
            assert told.client.answer(call).payload == ITEM
        told.program.send(wire.reply(call, make_item("another")))
        told.client.rest()
        assert [f.payload for f in told.client.log] == [ITEM]


def test_answers_go_to_the_session_that_asked(house, liar):
    """The number of another session's call is worth nothing, and that session gets its answer."""
    with Told(house, liar) as first, Told(house, liar) as second:
        for _ in range(3):  # other serials than the second one's
            call = first.call()
            first.program.send(wire.reply(call, ITEM))
            first.client.answer(call)
        call, other = first.call(), second.call()
        assert call.serial != other.serial
        second.program.send(wire.reply(call, make_item("stolen")))
        second.judge(other)
        first.program.send(wire.reply(call, ITEM))
        assert first.client.answer(call).payload == ITEM


def test_program_hears_nothing_of_libvirts_calls(house, liar):
    """Nor could it answer one, or get a descriptor with it."""
    with Told(house, liar) as told:
        for proc, payload in (
            (wire.LOOKUP_BY_NAME, wire.string("x")),
            (wire.GET_HOSTNAME, b""),
            (wire.EVENT_REGISTER_ANY, wire.u32(0) + wire.u32(0)),
        ):
            assert told.client.ask(proc, payload).error()[2] == f"unknown procedure: {proc}"
        refused_call = wire.call(GET_ITEM, wire.string("x"), 700, REGISTER, VERSION)
        told.client.send(refused_call)
        assert "Cannot find program" in told.client.answer(refused_call).error()[2]
        # All that came in between would have come before this one.
        told.program.send(wire.reply(told.call(), ITEM))


def test_events_are_those_that_the_policy_allows(house, liar, authority):
    """Who asked for them, the program alone knows: to whoever may have its events it can say what it likes."""
    with Told(house, liar) as told:
        call = told.call()
        told.program.send(event().pack() + wire.reply(call, ITEM).pack())
        assert told.client.answer(call).status == wire.OK
        assert told.client.log[0] == event()
    guest = house.suite.connect(context=house.context(authority, "guest"))
    with Told(house, "liar", "guest", client=guest) as told:
        call = told.call()
        told.program.send(event().pack() + wire.reply(call, ITEM).pack())
        assert told.client.answer(call).status == wire.OK
        assert told.client.log == [wire.reply(call, ITEM)]
        house.captor.drop(told.process)


def send_with_descriptors(sock, data, count):
    with open("/dev/null", "rb") as null:
        rights = struct.pack(f"{count}i", *[null.fileno()] * count)
        sock.setblocking(True)
        sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("local", [False, True], ids=["over TLS", "over the UNIX socket"])
def test_program_cannot_pass_descriptors(house, liar, local, count):
    """Not to its client, and none stays in a process in between."""
    pid = house.pid("worker-admin")
    client = wire.connect_unix(house.suite.local_socket) if local else None
    with Told(house, liar, client=client) as told:
        held = processes.descriptors(pid)
        call = told.call()
        send_with_descriptors(told.program.sock, wire.reply(call, ITEM).pack(), count)
        told.program.close()
        told.client.rest()
        judge(told.client, call)
        upstream.poll(lambda: (processes.descriptors(pid) or 0) <= (held or 0), what="no descriptor stays")


# --- streams ---


def open_stream(told, proc=EXPORT):
    call = told.call(proc=proc, payload=b"")
    told.program.send(wire.reply(call))
    assert told.client.answer(call).status == wire.OK
    return call


def finish(told, call):
    """Both sides end the stream as they should."""
    told.program.send(wire.stream(call))
    told.client.until(lambda f: f.type == wire.STREAM and not f.payload)
    told.client.send(wire.stream(call, b"", wire.OK))
    assert told.program.receive() == wire.stream(call, b"", wire.OK)
    told.program.send(wire.stream(call, b"", wire.OK))
    told.client.until(lambda f: f.type == wire.STREAM and f.status == wire.OK)


LATE = {
    "data": lambda f: wire.stream(f, b"more"),
    "the end": wire.stream,
    "a confirmation": lambda f: wire.stream(f, b"", wire.OK),
    "an error": lambda f: wire.stream(f, wire.error_payload(1, 7, "late"), wire.ERROR),
    "a hole": lambda f: wire.hole(f, 4096),
    "the reply": wire.reply,
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_nothing_comes_of_a_stream_that_is_over(house, liar, late):
    with Told(house, liar) as told:
        call = open_stream(told)
        told.program.send(wire.stream(call, b"all"))
        finish(told, call)
        told.client.log.clear()
        told.program.send(late(call))
        try:
            then = told.call()
            told.program.send(wire.reply(then, ITEM))
            told.client.answer(then)
        except (wire.Closed, AssertionError):
            told.client.rest()  # it was a lie for which the session ends
        assert [f for f in told.client.log if f.serial == call.serial] == []


WRONG_STREAMS = {
    "data to the program's side": (IMPORT, lambda f: wire.stream(f, b"unasked")),
    "an error that does not decode": (EXPORT, lambda f: wire.stream(f, b"\0\0", wire.ERROR)),
    "status 99": (EXPORT, lambda f: wire.stream(f, b"", 99)),
    "a confirmation that nobody asked for": (EXPORT, lambda f: wire.stream(f, b"x", wire.OK)),
    "a hole of no length": (EXPORT, lambda f: wire.hole(f, 0)),
    "a hole before the beginning": (EXPORT, lambda f: wire.hole(f, -1)),
    "a hole with flags": (EXPORT, lambda f: wire.hole(f, 1, 7)),
    "a hole that is cut short": (EXPORT, lambda f: wire.hole(f, 1)._replace(payload=bytes(11))),
    "data of another serial": (EXPORT, lambda f: wire.stream(f, b"x")._replace(serial=f.serial + 1)),
    "data of another procedure": (EXPORT, lambda f: wire.stream(f, b"x")._replace(proc=IMPORT)),
    "data of another version": (EXPORT, lambda f: wire.stream(f, b"x")._replace(vers=1)),
}


@pytest.mark.parametrize(("proc", "wrong"), WRONG_STREAMS.values(), ids=WRONG_STREAMS)
def test_client_gets_nothing_that_no_stream_has(house, liar, proc, wrong):
    with Told(house, liar) as told:
        call = open_stream(told, proc)
        told.client.log.clear()
        told.program.send(wrong(call))
        told.program.close()
        told.client.rest()
        for frame_ in told.client.log:
            assert (frame_.type, frame_.status, frame_.serial) == (wire.STREAM, wire.ERROR, call.serial), frame_
            assert frame_.error()[2]
        assert len(told.client.log) <= 1


def test_data_may_come_before_the_reply_and_an_error_instead(house, liar):
    with Told(house, liar) as told:
        call = told.call(proc=EXPORT, payload=b"")
        told.program.send(wire.stream(call, b"early"))
        told.program.send(wire.reply(call))
        assert told.client.answer(call).status == wire.OK
        assert [f.payload for f in told.client.log] == [b"early", b""]
        call = told.call(proc=EXPORT, payload=b"")
        told.client.log.clear()
        told.program.send(wire.stream(call, wire.error_payload(1, 7, "no stream"), wire.ERROR))
        told.program.send(wire.reply(call))
        told.client.answer(call)
        told.program.send(wire.stream(call, b"afterwards"))
        told.program.close()
        told.client.rest()
        assert not any(f.payload == b"afterwards" for f in told.client.log)


# --- floods ---


@pytest.mark.parametrize("what", ["events", "a stream"])
def test_flood_for_a_client_that_does_not_read_fills_no_process(house, liar, what):
    """The program is not read either. Another session of the same worker goes on."""
    watched = [house.pid("worker-admin"), house.pid("gate-0"), house.pid("gate-1")]
    with Told(house, liar) as told:
        call = open_stream(told)
        before = [processes.resident(pid) for pid in watched]
        packet = event().pack() * 400 if what == "events" else wire.stream(call, bytes(60_000)).pack()
        sent = 0
        told.program.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            while sent < 200 << 20:
                sent += told.program.sock.send(packet)
        assert max(processes.resident(pid) - had for pid, had in zip(watched, before)) < 16 << 20
        assert house.witness.ask(wire.GET_LIB_VERSION, patience=2.0).status == wire.OK
        told.program.close()


def test_flood_that_nobody_waits_for_holds_up_nobody(house, liar):
    """Events of other programs are passed over; whoever sends them does it in his own connection's time."""
    packet = event(prog=REGISTER).pack() * 400
    with Told(house, liar) as told:
        told.program.sock.settimeout(2.0)
        slowest, until = 0.0, time.monotonic() + 1.0
        while time.monotonic() < until:
            told.program.sock.send(packet)
            begun = time.monotonic()
            assert house.witness.ask(wire.GET_LIB_VERSION).status == wire.OK
            slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 2.0
        told.program.sock.setblocking(False)
        assert told.client.log == []


def test_program_that_never_answers_holds_up_nobody_else(house, liar):
    with Told(house, liar) as stuck, Told(house, liar) as other:
        stuck.call()
        for _ in range(5):
            call = other.call()
            other.program.send(wire.reply(call, ITEM))
            assert other.client.answer(call, 2.0).payload == ITEM
            assert house.witness.ask(wire.GET_LIB_VERSION, patience=2.0).status == wire.OK
        # The client may leave: the connection goes with it.
        stuck.client.close()
        with pytest.raises(wire.Closed):
            while True:
                stuck.program.receive()


def test_program_that_does_not_read_holds_up_its_own_client_only(house, liar):
    with Told(house, liar) as told:
        sent, item = 0, wire.call(SET_ITEM, make_item("n" * NAME_MAX, "t" * TAG_MAX), 0, INVENTORY, VERSION)
        try:
            while sent < 16 << 20:
                told.client.send(item._replace(serial=1000 + sent), 0.5)
                sent += len(item.pack())
        except TimeoutError:
            pass
        assert sent < 16 << 20, "somebody took all of it"
        assert house.witness.ask(wire.GET_LIB_VERSION, patience=2.0).status == wire.OK


def test_no_descriptor_is_left(house):
    """After all of that. The broker has one for each process that it started, which are not all idle yet."""

    def left():
        return {name: counts for name, counts in house.left_open().items() if name.startswith(("worker-", "gate-"))}

    upstream.poll(lambda: not left(), what=left)
