# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_captured_worker - a worker that was taken over, with everything that a worker has.

The test stands in the place of the workers of some identities (vgtest/captured.py); that of "admin" is a real
one. Such a worker has the sessions of its identity, and does with them what it likes; the gate lets nothing
through to their clients that they could not expect. Of others it has nothing, and whatever it says to broker,
gate or auditor, they notice nothing. What it may say to libvirt is what its identity may do.
"""

import json
import os
import re
import signal
import socket
import struct
import time

import pytest

from test_key_secrecy import server_keys, windows
from test_lying_upstream import ASK, LIES, event, judge
from vgtest import captured, processes, upstream, wire
from vgtest.captured_house import PASSWORD, House, ask_session, frame, framing, throw, who

URI = "qemu:///system"
IDENTITIES = 60
SETTLED = (
    "netd",
    "doorman",
    "workerd",
    "auditor",
    "gate-0",
    "gate-1",
    "keeper-0",
    "keeper-1",
    "worker-admin",
)


def captive(number):
    return f"captive{number:02}"


POLICY = "".join(
    f"""
[identity.{captive(number)}]
x509 = {{ CN = "{captive(number)}", O = "virtgate up" }}

[[binding]]
identity = "{captive(number)}"
role = "admin"
"""
    for number in range(IDENTITIES)
)


class WorkerHouse(House):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.fresh = iter(range(1, IDENTITIES))

    def open_session(self, identity):
        """(number, the gate's end) of a session that a doorman would get for a client of that identity."""
        answer, descriptors = ask_session(self.suite, who(identity))
        number, given = captured.grant_of(answer, is_optional=False)
        assert given == identity
        return number, socket.socket(fileno=descriptors[0])

    def take(self, identity):
        """The captured worker of an identity that has just got its first session."""
        return self.captor.take(lambda worker: worker.identity == identity)


@pytest.fixture(scope="module")
def house(scratch, running_suite):
    prefix = wire.u32(len(captive(0))) + b"captive"
    with captured.Captor(scratch / "worker-programs", "worker", [prefix], captured.Worker) as captor:
        suite = running_suite.sibling(scratch / "captured-workers", {"netd.gates": 2})
        suite.programs = captor.programs
        suite.add_policy("20-captives.toml", POLICY)
        with suite, suite.open(URI) as witness:
            made = WorkerHouse(suite, captor)
            made.witness = witness
            made.settle(SETTLED)
            yield made


@pytest.fixture
def worker(house):
    """A captured worker of an identity of its own, `session` is the number of its one session and `gate` the
    gate's end of that.
    """
    identity = captive(next(house.fresh))
    number, gate = house.open_session(identity)
    taken = house.take(identity)
    assert taken.serve()[0] == number
    taken.session, taken.gate = number, gate
    yield taken
    gate.close()
    house.captor.drop(taken)


@pytest.fixture(autouse=True)
def nobody_else_notices(house, back):
    """A session of another identity goes on, new clients come in, and the processes stay the same."""
    yield
    assert house.witness.ask(wire.GET_LIB_VERSION).status == wire.OK
    with house.suite.open(URI) as late:
        assert late.ask(wire.GET_LIB_VERSION).status == wire.OK
    house.check_settled()


# --- what it has ---


def test_it_has_its_channel_and_no_other_descriptor(worker):
    assert sorted(worker.descriptors) == [3, 4]
    assert worker.control.sock.type == socket.SOCK_SEQPACKET
    assert worker.control.sock.getsockname() == worker.control.sock.getpeername() == ""


def test_it_knows_its_own_identity_and_no_secret(house, worker):
    (key,) = server_keys(house.suite)
    heard = worker.hears()
    assert worker.rights and worker.identity.encode() in worker.rights
    others = {captive(number) for number in range(IDENTITIES)} - {worker.identity}
    assert {other for other in others if other.encode() in heard} == set()
    assert {name for name, piece in windows(key).items() if piece in heard} == set()
    for secret in (b"PRIVATE KEY", PASSWORD.encode(), b"broker.sock", bytes(house.suite.directory / "pki")):
        assert secret not in heard
    with pytest.raises(PermissionError):
        os.pwrite(worker.descriptors[captured.CONFIG], b"x", 0)


# --- against the broker ---


def work(proc, payload=b"", **changes):
    return frame(captured.WORK, proc, payload, **{"type": wire.MESSAGE, **changes})


def connect(path, session=0):
    return frame(captured.WORK, captured.WORK_CONNECT, wire.string(path) + wire.u64(session))


BROKER_NONSENSE = {
    **framing(work(captured.WORK_READY)),
    "another program": (frame(captured.DOOR, captured.NONCES), 0),
    "a wish for a session": (frame(captured.BROKER, captured.OPEN_SESSION, who("admin")), 0),
    "a revocation": (frame(captured.BROKER, captured.REVOKE, wire.u32(0)), 0),
    "version 2": (work(captured.WORK_READY, vers=2), 0),
    "procedure 0": (work(0), 0),
    "procedure 8": (work(8), 0),
    "READY as a call": (frame(captured.WORK, captured.WORK_READY), 0),
    "READY with something behind": (work(captured.WORK_READY, bytes(4)), 0),
    "a session for the broker": (work(captured.WORK_SERVE, wire.u64(5) + who("admin")), 0),
    "the end of a session that it should end itself": (
        work(captured.WORK_END, wire.u32(1) + wire.u64(1) + wire.string("because")), 0
    ),
    "rights": (work(captured.WORK_RIGHTS), 0),
    "an auditor": (work(captured.WORK_AUDIT), 0),
    "ENDED cut short": (work(captured.WORK_ENDED, wire.u32(2) + bytes(8)), 0),
    "ENDED of very many": (work(captured.WORK_ENDED, wire.u32(0xFFFFFFFF) + bytes(64)), 0),
    "ENDED of a session that nobody has": (work(captured.WORK_ENDED, wire.u32(1) + wire.u64(1 << 60)), 0),
    "a way to the broker's own socket": (connect("/run/virtgate/broker.sock"), 0),
    "a way to a file": (connect("/etc/shadow"), 0),
    "a way to an abstract socket": (connect("\0virtgate"), 0),
    "a way to nowhere": (connect(""), 0),
    "a way to the store for a session of others": (connect("store", session=1 << 60), 0),
}  # fmt: skip


@pytest.mark.parametrize("nonsense", BROKER_NONSENSE.values(), ids=BROKER_NONSENSE)
def test_broker_ends_a_worker_that_says(worker, nonsense):
    throw(worker.control, nonsense)
    assert worker.is_killed()


def test_worker_that_ends_the_sessions_of_others_ends_nobodys(house, worker):
    """Their numbers are no secret."""
    with house.suite.open(URI) as other:
        newest, gate = house.open_session("admin")
        gate.close()
        everybody = [number for number in range(1, newest) if number != worker.session]
        ended = wire.u32(len(everybody)) + b"".join(map(wire.u64, everybody))
        worker.control.send(work(captured.WORK_ENDED, ended))
        assert worker.is_killed()
        assert other.ask(wire.GET_LIB_VERSION).status == wire.OK


def test_session_ends_once(worker):
    ended = work(captured.WORK_ENDED, wire.u32(1) + wire.u64(worker.session))
    worker.control.send(ended)
    worker.control.send(ended)
    assert worker.is_killed()


def test_worker_that_talks_without_end_holds_up_nobody(house, worker):
    """Each of these messages is one that a worker sends; not so many."""
    worker.control.sock.settimeout(0.5)
    ready, until, sent = work(captured.WORK_READY), time.monotonic() + 1.0, 0
    slowest = 0.0
    while time.monotonic() < until:
        for _ in range(200):
            try:
                worker.control.sock.send(ready)
                sent += 1
            except OSError:
                until = 0.0
                break
        begun = time.monotonic()
        house.suite.connect().close()
        slowest = max(slowest, time.monotonic() - begun)
    assert sent >= 200 and slowest < 2.0


def test_worker_gets_connections_to_configured_sockets_one_for_each_answer_that_it_takes(house, worker):
    """That is what it is for. One that asks and does not take them fills no table of the broker's."""
    path = str(house.suite.upstreams[URI])
    answer, descriptors = worker.control.ask(captured.WORK, captured.WORK_CONNECT, wire.string(path) + wire.u64(0))
    assert answer.payload == wire.u32(0) and len(descriptors) == 1
    with socket.socket(fileno=descriptors[0]) as made:
        assert made.getpeername() == path
    held = processes.descriptors(house.pid("workerd"))
    worker.control.sock.settimeout(0.3)
    try:
        for _ in range(5000):
            worker.control.sock.send(connect(path))
    except OSError:
        pass
    assert worker.is_killed()
    upstream.poll(
        lambda: (processes.descriptors(house.pid("workerd")) or 0) <= (held or 0), what="no descriptor stays"
    )


# --- against the auditor ---


def decision(session, call, identity="admin"):
    """A decision of a worker, with another's name wherever a text can be; see proto/audit.x."""
    place = wire.string(identity) + wire.string(identity) + wire.u32(7)
    return (
        wire.u64(session) + wire.u64(call) + wire.u64(1) + wire.u32(wire.REMOTE) + wire.u32(1) + wire.u32(23)
        + wire.u32(5) + wire.u64(0) + wire.u32(2) + wire.u32(1) + wire.u32(0) + wire.u32(0)
        + wire.optional(place) + wire.string(identity) + wire.u32(0) + wire.u64(5) + wire.u64(0)
    )  # fmt: skip


def records(house):
    return [json.loads(line) for line in (house.suite.directory / "audit.jsonl").read_text().splitlines()]


def test_records_of_a_worker_are_of_its_own_sessions_and_identity(house, worker):
    """What it says of a session of another is not written, and what it says after that is not heard."""
    worker.auditor.send(
        frame(captured.AUDIT, captured.DECISION, decision(worker.session, 1), type=wire.MESSAGE)
    )

    def of_worker():
        return [r for r in records(house) if r["record"] == "call" and r.get("session") == worker.session]

    upstream.poll(of_worker, what="a record")
    assert [(r["identity"], r["verdict"]) for r in of_worker()] == [(worker.identity, "refused")]
    other, gate = house.open_session("admin")
    with gate:
        before = len(records(house))
        worker.auditor.send(frame(captured.AUDIT, captured.DECISION, decision(other, 1), type=wire.MESSAGE))
        assert worker.auditor.is_closed()
        upstream.poll(lambda: len(records(house)) > before, what="a record of that")
        assert [r for r in records(house) if r["record"] == "call" and r.get("session") == other] == []


# --- against the gate, and its clients ---


@pytest.fixture(scope="module")
def liar(house, authority):
    """(the captured worker of captive00, the context of its clients)."""
    context = house.context(authority, captive(0))
    with house.suite.connect(context=context):
        taken = house.take(captive(0))
        _, held, _ = taken.serve()
        yield taken, context
        os.close(held)
    house.captor.drop(taken)


class Told:
    """A client behind a real gate with an open connection, and the captured worker's end of its session."""

    def __init__(self, house, liar, connect=None):
        worker, context = liar
        self.client = connect() if connect else house.suite.connect(context=context)
        _, descriptor, _ = worker.serve()
        self.worker = wire.Client(socket.socket(fileno=descriptor))
        opening = self.client.start(wire.CONNECT_OPEN, wire.open_args(URI))
        self.worker.send(wire.reply(self.worker.receive()))
        assert self.client.answer(opening).status == wire.OK
        self.client.log.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.worker.close()

    def call(self):
        """A call of the client, which has reached the worker."""
        call = self.client.start(ASK, wire.string("x"))
        assert self.worker.receive() == call
        return call

    def judge(self, call):
        """After the worker has hung up: the client got an error for its call, and nothing that it could not
        expect.
        """
        self.worker.close()
        self.client.rest()
        assert [f.status for f in judge(self.client, call)] == [wire.ERROR]


MORE_LIES = {
    "a ping": lambda call: wire.keepalive().pack(),
    "a pong": lambda call: wire.keepalive(wire.PONG).pack(),
    "a packet that is too long": lambda call: wire.reply(call, wire.domain("x" * 70_000)).pack(),
    "an empty packet": lambda call: b"",
    "what the broker says": lambda call: work(captured.WORK_END, wire.u32(0) + wire.string("")),
    "a login": lambda call: call._replace(proc=wire.AUTH_LIST, type=wire.REPLY, payload=wire.u32(0)).pack(),
}


@pytest.mark.parametrize("lie", [*LIES.values(), *MORE_LIES.values()], ids=[*LIES, *MORE_LIES])
def test_client_gets_an_error_and_no_lie(house, liar, lie):
    with Told(house, liar) as told:
        call = told.call()
        told.worker.sock.setblocking(True)
        try:
            told.worker.sock.send(lie(call))
        except OSError as error:
            assert "too long" in str(error)
        told.judge(call)


def rights(count):
    null = os.open("/dev/null", os.O_RDONLY)
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{count}i", *[null] * count))], null


@pytest.mark.parametrize("count", [1, 32])
def test_descriptors_stay_in_no_gate(house, liar, count):
    """A client over TLS cannot take any: they are gone, and the session goes on."""
    gates = [house.pid("gate-0"), house.pid("gate-1")]
    with Told(house, liar) as told:
        before = [processes.descriptors(pid) for pid in gates]
        for _ in range(10):
            call = told.call()
            ancillary, null = rights(count)
            told.worker.sock.sendmsg([wire.reply(call, wire.domain()).pack()], ancillary)
            os.close(null)
            assert told.client.answer(call).status == wire.OK
        assert [processes.descriptors(pid) for pid in gates] == before


def test_client_that_does_not_read_costs_its_gate_little(house, liar):
    """The worker sends events without end. Nobody but the two has to wait for them."""
    gates = [house.pid("gate-0"), house.pid("gate-1")]
    before = [processes.resident(pid) for pid in gates]
    with Told(house, liar) as told:
        told.worker.sock.settimeout(0.3)
        packet, sent = event().pack() * 400, 0
        assert len(packet) < captured.PACKET_MAX
        with pytest.raises(TimeoutError):
            while sent < 200 << 20:
                sent += told.worker.sock.send(packet)
        assert max(processes.resident(pid) - had for pid, had in zip(gates, before)) < 16 << 20


# --- crashes ---


def let_in(house, context):
    """A client; None if it is not let in, which it is not in the moment in which its worker dies."""
    try:
        return house.suite.connect(context=context)
    except wire.Closed:
        return None


def crash(house, context, identity, number):
    """A client's call kills its worker by that signal."""
    client = upstream.poll(lambda: let_in(house, context), what="a client that is let in")
    taken = house.take(identity)
    with Told(house, (taken, context), lambda: client) as told:
        call = told.call()
        os.kill(taken.pid, number)
        assert taken.is_killed()
        house.captor.drop(taken)
        told.judge(call)


def test_client_whose_request_kills_its_worker_twice_is_refused_for_a_while(house, authority):
    identity = captive(next(house.fresh))
    context = house.context(authority, identity)
    for _ in range(2):
        crash(house, context, identity, signal.SIGSEGV)

    def refused():
        """The broker's error, when it has noticed."""
        answer, descriptors = ask_session(house.suite, who(identity))
        code, _, text = answer.error()
        assert descriptors == []
        return text if code == 87 else None

    assert f"no session for {identity}: its worker crashed" in upstream.poll(refused)
    upstream.await_log(house.suite, f"it crashed too often: {identity} gets no session for 30 s")
    with pytest.raises(wire.Closed):
        house.suite.connect(context=context)


def test_one_crash_is_bad_luck(house, authority):
    """And a system call that is not allowed is called by its name, and counted."""
    identity = captive(next(house.fresh))
    context = house.context(authority, identity)
    crash(house, context, identity, signal.SIGSYS)
    upstream.poll(lambda: let_in(house, context), what="a client that is let in").close()
    house.captor.drop(house.take(identity))
    name = f"worker-{identity}"
    assert re.search(
        rf"{name}: process \d+ was killed by SIGSYS \(system call violation\), 1 time so far",
        house.suite.log(),
    )
