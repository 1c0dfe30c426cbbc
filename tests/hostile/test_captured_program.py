# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_captured_program - a program of others (programs.d) that was taken over, with everything that its process has.

The test stands in the place of programs (vgtest/program_house.py). The broker hears nothing from one but that it serves, and a
connection is open or it is not, whatever a program says or does not say. Workers, other sessions and other programs notice
nothing. What it says on an open connection: test_lying_program.py. What its process can not do at all: tests/escape.
"""

import os
import re
import socket
import time

import pytest

from test_key_secrecy import server_keys, windows
from vgtest import captured, captured_program, upstream, wire
from vgtest.captured_house import PASSWORD, ask_session, frame, framing, own, throw, who
from vgtest.program_house import COMMON, GET_ITEM, INVENTORY, ITEM, LIAR, TIMEOUT, TOGETHER, URI, VERSION, Told, open_house


@pytest.fixture(scope="module")
def house(scratch, running_suite, recording):
    recording.forget()  # what others have left to be said
    with open_house(scratch, running_suite, "captured-program") as made:
        yield made


@pytest.fixture(scope="module")
def liar(house):
    with house.captured_liar() as taken:
        yield taken


@pytest.fixture(autouse=True)
def nobody_else_notices(house, back):
    yield
    house.check_others()


# --- what it has ---


def test_it_has_its_channel_and_no_other_descriptor(liar):
    assert sorted(liar.descriptors) == [3, 4]
    assert liar.control.sock.type == socket.SOCK_SEQPACKET
    assert liar.control.sock.getsockname() == liar.control.sock.getpeername() == ""


def test_it_knows_whom_it_serves_and_no_secret(house, liar):
    (key,) = server_keys(house.suite)
    heard = liar.hears()
    assert {name for name, piece in windows(key).items() if piece in heard} == set()
    secrets = (b"PRIVATE KEY", PASSWORD.encode(), b"broker.sock", b"lockd.sock", bytes(house.suite.directory / "pki"))
    for secret in (*secrets, b"honest", b"captive", bytes(str(house.suite.upstreams[URI]), "ascii")):
        assert secret not in heard
    with pytest.raises(PermissionError):
        os.pwrite(liar.descriptors[captured.CONFIG], b"x", 0)


def test_it_is_told_whose_connection_it_is_and_that_it_reads(house, liar):
    with Told(house, liar) as told:
        assert (told.attached.identity, told.attached.read_only) == ("admin", False)
        assert told.attached.session > 0
        assert told.program.sock.family == socket.AF_UNIX and not told.program.sock.getpeername()


# --- against the broker ---


class Start:
    """The liar's process that serves a fresh identity, whose worker and session are real; the test is the gate."""

    def __init__(self, house):
        self.house, self.identity = house, next(house.fresh)
        answer, descriptors = ask_session(house.suite, who(self.identity))
        self.session, given = captured.grant_of(answer, is_optional=False)
        assert given == self.identity
        self.gate = socket.socket(fileno=descriptors[0])
        self.gate.settimeout(wire.PATIENCE)
        self.opening = wire.call(wire.CONNECT_OPEN, wire.open_args(LIAR), 1)
        self.gate.send(self.opening.pack())
        self.program = house.take("liar", self.identity)
        self.worker = upstream.poll(lambda: house.pid(f"worker-{self.identity}"), what="its worker")

    def answer(self):
        return wire.unpack(self.gate.recv(captured.PACKET_MAX))

    def check_ended(self, said):
        """The broker ended the program and said why, at the level of errors; the worker is the same."""
        assert self.program.is_killed()
        name = f"program-liar-{self.identity}"
        upstream.await_log(self.house.suite, re.compile(rf"error.*{name}: .*{said}"))
        assert self.house.pid(f"worker-{self.identity}") == self.worker


@pytest.fixture
def start(house):
    made = Start(house)
    yield made
    made.gate.close()
    house.captor.drop(made.program)


READY = own(captured.SUPERVISE, captured.READY)
CONNECT_ARGS = wire.string("program:honest") + wire.u64(1)
BROKER_NONSENSE = {
    **framing(READY),
    "READY as a call": (frame(captured.SUPERVISE, captured.READY), 0),
    "READY of version 2": (own(captured.SUPERVISE, captured.READY, vers=2), 0),
    "READY with something behind": (own(captured.SUPERVISE, captured.READY, bytes(4)), 0),
    "ADOPT": (own(captured.SUPERVISE, captured.ADOPT, wire.u32(1) * 3), 0),
    "a worker's READY": (own(captured.WORK, captured.WORK_READY), 0),
    "a way to another program": (frame(captured.WORK, captured.WORK_CONNECT, CONNECT_ARGS), 0),
    "the end of the first sessions": (own(captured.WORK, captured.WORK_ENDED, wire.u32(2) + wire.u64(1) + wire.u64(2)), 0),
    "a wish for a session": (frame(captured.BROKER, captured.OPEN_SESSION, who("admin")), 0),
    "a revocation": (frame(captured.BROKER, captured.REVOKE, wire.u32(0)), 0),
    "a record": (own(captured.AUDIT, captured.DECISION, bytes(64)), 0),
    "its own ATTACH": (
        own(captured_program.SERVICE, captured_program.ATTACH, wire.string("admin") + wire.u32(0) + wire.u64(1)), 0
    ),
    "ATTACH with a descriptor": (
        own(captured_program.SERVICE, captured_program.ATTACH, wire.string("admin") + wire.u32(0) + wire.u64(1)), 1
    ),
    "procedure 0": (own(captured.SUPERVISE, 0), 0),
    "libvirt's protocol": (wire.call(wire.CONNECT_OPEN, wire.open_args(URI)).pack(), 0),
}  # fmt: skip


@pytest.mark.parametrize("nonsense", BROKER_NONSENSE.values(), ids=BROKER_NONSENSE)
def test_broker_ends_a_program_that_says(start, nonsense):
    throw(start.program.control, nonsense)
    start.check_ended("(is not known here; it is stopped|the channel to it broke)")


def test_broker_ends_a_program_that_closes_its_channel(house, start):
    start.program.control.sock.shutdown(socket.SHUT_RDWR)
    start.check_ended("the channel to it broke")


def test_program_that_talks_without_end_holds_up_nobody(house, start):
    """Each of these messages is one that a program sends; not so many."""
    start.program.control.sock.settimeout(0.5)
    until, sent, slowest = time.monotonic() + 1.0, 0, 0.0
    while time.monotonic() < until:
        for _ in range(200):
            try:
                start.program.control.sock.send(READY)
                sent += 1
            except OSError:
                until = 0.0
                break
        begun = time.monotonic()
        house.suite.connect().close()
        slowest = max(slowest, time.monotonic() - begun)
    assert sent >= 200 and slowest < 2.0


def test_client_of_a_program_that_was_ended_gets_another_one(house, start):
    """The connection ends with an error for what is open; another process is started, for the next one."""
    attached = start.program.attached().serve_opening()
    assert start.answer().status == wire.OK
    call = wire.call(GET_ITEM, wire.string("x"), 2, INVENTORY, VERSION)
    start.gate.send(call.pack())
    assert attached.client.receive() == call
    throw(start.program.control, (b"nonsense", 0))
    assert start.program.is_killed()
    attached.client.close()
    assert "the connection to the program's process was lost" in start.answer().error()[2]
    start.gate.close()
    house.captor.drop(start.program)

    start.program = house.take("liar", start.identity)
    answer, descriptors = ask_session(house.suite, who(start.identity))
    start.gate = socket.socket(fileno=descriptors[0])
    start.gate.settimeout(wire.PATIENCE)
    start.gate.send(start.opening.pack())
    start.program.attached().serve_opening()
    assert start.answer().status == wire.OK


# --- against worker and gate: the opening ---


def without_end(call):
    return wire.reply(call).pack()[:-1]


def refused(call):
    return wire.reply(call, wire.error_payload(38, 7, "not for you"), wire.ERROR).pack()


OPENING_LIES = {
    "an answer to nothing": lambda f: wire.reply(f)._replace(serial=f.serial + 1).pack(),
    "an answer of its own program": lambda f: wire.reply(f)._replace(prog=INVENTORY).pack(),
    "an answer of another procedure": lambda f: wire.reply(f)._replace(proc=wire.CONNECT_CLOSE).pack(),
    "an answer with bytes behind": lambda f: wire.reply(f, b"\0" * 8 + ITEM).pack() + bytes(3),
    "33 MiB": lambda f: wire.u32(33 << 20) + wire.reply(f).pack()[4:],
    "length word 0": lambda f: wire.u32(0) + bytes(40),
    "garbage": lambda f: b"HTTP/1.1 400 Bad Request\r\n\r\n" * 40,
    "half a frame and the end": without_end,
    "the end": lambda f: b"",
}  # fmt: skip
FIRST_LIES = {
    "a login": lambda f: wire.reply(f, wire.u32(1) + wire.u32(1)).pack(),
    "no way in": lambda f: wire.reply(f, wire.u32(0)).pack(),
    "a list that does not decode": lambda f: wire.reply(f, wire.u32(7)).pack(),
    "an error": refused,
}
STAGES = (wire.AUTH_LIST, wire.CONNECT_OPEN, wire.SET_IDENTITY)
OPENINGS = [(stage, lie, name) for stage in range(3) for name, lie in OPENING_LIES.items()]
OPENINGS += [(0, lie, name) for name, lie in FIRST_LIES.items()]


@pytest.mark.parametrize(
    ("stage", "lie"), [one[:2] for one in OPENINGS], ids=[f"{STAGES[one[0]]}: {one[2]}" for one in OPENINGS]
)
def test_client_gets_an_error_for_an_opening_that_is_a_lie(house, liar, stage, lie):
    """And its session may open something else."""
    with house.suite.connect() as client:
        client.ask(wire.AUTH_LIST)
        opening = client.start(wire.CONNECT_OPEN, wire.open_args(LIAR))
        attached = liar.attached()
        for result in (wire.u32(1) + wire.u32(0), b"")[:stage]:
            attached.answer_opening(result)
        call = attached.client.receive()
        assert call.proc == STAGES[stage]
        attached.client.send(lie(call))
        attached.client.close()
        answer = client.answer(opening)
        assert "the program's process" in answer.error()[2]
        assert [f.serial for f in client.log if f.proc == wire.CONNECT_OPEN] == [opening.serial]
        assert client.ask(wire.CONNECT_OPEN, wire.open_args(URI)).status == wire.OK
        assert client.ask(wire.GET_LIB_VERSION).status == wire.OK


def test_program_may_refuse_a_connection(house, liar):
    with house.suite.connect() as client:
        client.ask(wire.AUTH_LIST)
        opening = client.start(wire.CONNECT_OPEN, wire.open_args(LIAR))
        attached = liar.attached()
        attached.answer_opening(wire.u32(1) + wire.u32(0))
        attached.client.send(refused(attached.client.receive()))
        assert client.answer(opening).error() == (38, 7, "not for you")
        attached.client.close()


def test_program_that_says_nothing_is_not_waited_for(house, liar):
    """At no point of an opening, nor if a byte comes now and then; others are served meanwhile."""
    clients, taken = [], []
    for stage in range(4):
        client = house.suite.connect()
        client.ask(wire.AUTH_LIST)
        clients.append((client, client.start(wire.CONNECT_OPEN, wire.open_args(LIAR))))
        taken.append(liar.attached())
        for result in (wire.u32(1) + wire.u32(0), b"")[: stage % 3]:
            taken[-1].answer_opening(result)
    begun, last = time.monotonic(), taken[-1].client
    slow = wire.reply(last.receive(), wire.u32(1) + wire.u32(0)).pack()
    for byte in slow[:6]:
        time.sleep(0.2)
        last.send(bytes([byte]))
        assert house.witness.ask(wire.GET_LIB_VERSION, patience=2.0).status == wire.OK
    for client, opening in clients:
        with client:
            assert client.answer(opening).error()[2] == "the program's process did not answer in time"
    assert time.monotonic() - begun < TIMEOUT + 2.0
    for each in taken:
        with pytest.raises(wire.Closed):
            while True:
                each.client.receive()
    upstream.await_log(house.suite, re.compile(r"error.*no connection for liar:///.*it did not answer in time"))


# --- one process for all ---


def test_shared_program_that_lies_to_one_identity_does_not_reach_another(house, authority):
    """It knows both; but a session is a socket, and its lie comes to that one's client or to nobody."""
    name = next(house.fresh)
    with Told(house, "common", "", COMMON) as mine:
        context = house.context(authority, name)
        with Told(house, mine.process, uri=COMMON, client=house.suite.connect(context=context)) as theirs:
            assert (mine.attached.identity, theirs.attached.identity) == ("admin", name)
            worker = house.pid(f"worker-{name}")
            call = mine.call(TOGETHER)
            other = theirs.call(TOGETHER)
            theirs.program.send(b"nonsense" * 10)
            theirs.judge(other)
            mine.program.send(wire.reply(call, ITEM))
            assert mine.client.answer(call).payload == ITEM
            assert house.pid(f"worker-{name}") == worker
        house.captor.drop(mine.process)
