# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_captured_doorman - a doorman that was taken over, with everything that a doorman has.

The test stands in its place (vgtest/captured.py). It can say of everybody that it is whoever the policy
knows, and that is all: what such a session may do is decided elsewhere; it has no key and nobody's password,
and no way to libvirt. Gates, broker, virtgate-sasl and the supervisor close the channel on which they hear
nonsense, and every session that there is goes on. New clients are another matter: without a doorman nobody
comes in.
"""

import os
import re
import socket
import struct

import pytest

from test_key_secrecy import server_keys, windows
from vgtest import captured, processes, sasl, table, upstream, wire
from vgtest.captured_house import PASSWORD, House, frame, framing, throw, who

URI = "qemu:///system"
GATES = 9
SETTLED = ("netd", "workerd", "auditor", "worker-admin", *(f"gate-{number}" for number in range(GATES)))

POLICY = """
[identity.watcher]
x509 = { CN = "watcher", O = "virtgate up" }

[[binding]]
identity = "watcher"
role = "watcher"

[role.watcher]
allow = ["@read-only"]

[identity.one]
x509 = { CN = "both" }
[identity.two]
x509 = { O = "both" }
"""


@pytest.fixture(scope="module")
def house(scratch, running_suite):
    with captured.Captor(scratch / "doorman-programs", "doorman", make=captured.Doorman) as captor:
        suite = running_suite.sibling(
            scratch / "captured-doorman", {"netd.gates": GATES, "netd.unix.authentication": '"peer-or-sasl"'}
        )
        suite.programs = captor.programs
        suite.add_policy("20-watcher.toml", POLICY)
        sasl.add_user(suite.directory / "etc" / "users", "alice", PASSWORD)
        with suite:
            first = captor.take()
            first.claim = lambda: who("admin")
            clients = [suite.open(URI) for _ in range(2 * GATES)]
            house = House(suite, captor)
            house.settle(SETTLED)
            house.clients = clients
            house.doorman = first
            house.unused_gates = iter(range(1, GATES))
            yield house
            for client in clients:
                client.close()


@pytest.fixture
def doorman(house):
    return house.doorman


@pytest.fixture(autouse=True)
def every_session_goes_on(house, back):
    yield
    for client in house.clients:
        assert client.ask(wire.GET_LIB_VERSION).status == wire.OK
    house.check_settled()


# --- what it has ---


def test_it_has_listeners_and_channels_and_no_other_descriptor(house, doorman):
    assert sorted(doorman.descriptors) == [3, 4, 5, 6]
    for number, path in ((5, house.suite.local_socket), (6, f"{house.suite.local_socket}-ro")):
        with socket.socket(fileno=os.dup(doorman.descriptors[number])) as listener:
            assert listener.getsockname() == str(path)
    assert sorted(doorman.gates) == list(range(GATES)) and doorman.sasl


def test_it_knows_no_key_no_password_and_no_way_to_libvirt(house, doorman):
    (key,) = server_keys(house.suite)
    heard = doorman.hears()
    assert {name for name, piece in windows(key).items() if piece in heard} == set()
    secrets = [b"PRIVATE KEY", PASSWORD.encode(), bytes(house.suite.directory / "etc")]
    secrets += [str(path).encode() for path in house.suite.upstreams.values()]
    assert [secret for secret in secrets if secret in heard] == []
    with pytest.raises(PermissionError):
        os.pwrite(doorman.descriptors[captured.CONFIG], b"x", 0)


# --- whom it may claim ---


def test_claim_gives_an_identity_and_not_more_than_its_rights(house, doorman, back):
    """A client comes in as watcher, whoever it is: so far goes doorman's word. As watcher it only watches."""
    doorman.claim = lambda: who("watcher")
    try:
        with house.suite.open(URI) as client:
            assert client.ask(wire.GET_LIB_VERSION).status == wire.OK
            define = table.number("domain_define_xml")
            assert client.ask(define, wire.string("<domain/>")).error()[0] == 88
            assert back.frames(define) == []
            upstream.await_log(house.suite, re.compile("(as|is) watcher"))
    finally:
        doorman.claim = lambda: who("admin")


def test_session_in_its_own_hands_is_one_of_the_policy(house, doorman, back):
    """Also without a gate: the worker has a table of where connections may go."""
    answer, (session,) = doorman.open_session(who("watcher"))
    assert captured.grant_of(answer, is_optional=False)[1] == "watcher"
    with wire.Client(socket.socket(fileno=session)) as client:
        for uri in (str(back.path), "qemu+unix:///system?socket=" + str(back.path), "xen:///system"):
            assert client.ask(wire.CONNECT_OPEN, wire.open_args(uri)).error()[2]
        assert client.ask(wire.CONNECT_OPEN, wire.open_args(URI)).status == wire.OK
        assert client.ask(table.number("domain_define_xml"), wire.string("<domain/>")).error()[0] == 88
    assert back.frames(table.number("domain_define_xml")) == []


NOBODIES = {
    "a name that the policy does not know": lambda: who("mallory"),
    "another organisation": lambda: who("admin", "Somebody else"),
    "two identities at once": lambda: who("both", "both"),
    "nothing that was proved": lambda: who(None),
    "a uid that does not count": lambda: who(None, local=os.getuid(), listener="unix"),
    "a user who may not log in": lambda: who(None, login="root"),
}


@pytest.mark.parametrize("facts", NOBODIES.values(), ids=NOBODIES)
def test_broker_knows_only_whom_the_policy_knows(doorman, facts):
    answer, descriptors = doorman.open_session(facts())
    assert answer.error()[0] == 88 and descriptors == []


# --- against the broker ---

GOOD_WISH = frame(captured.BROKER, captured.OPEN_SESSION, who("admin"))
BROKER_CLOSES = framing(GOOD_WISH)


@pytest.mark.parametrize("nonsense", BROKER_CLOSES.values(), ids=BROKER_CLOSES)
def test_broker_closes_the_channel_of_a_doorman_that_says(doorman, nonsense):
    channel = doorman.connect()
    throw(channel, nonsense)
    assert channel.is_closed()


BROKER_REFUSES = {
    "a procedure that does not exist": frame(captured.BROKER, 3),
    "another program": frame(captured.WORK, captured.WORK_ENDED, wire.u32(1) + wire.u64(1)),
    "what a worker says": frame(
        captured.WORK, captured.WORK_ENDED, wire.u32(1) + wire.u64(1), type=wire.MESSAGE
    ),
    "version 2": frame(captured.BROKER, captured.OPEN_SESSION, who("admin"), vers=2),
    "a wish with a status": frame(captured.BROKER, captured.OPEN_SESSION, who("admin"), status=wire.ERROR),
    "a wish that is an answer": frame(captured.BROKER, captured.OPEN_SESSION, who("admin"), type=wire.REPLY),
    "a wish cut short": frame(captured.BROKER, captured.OPEN_SESSION, who("admin")[:-4]),
    "a wish with bytes behind": frame(captured.BROKER, captured.OPEN_SESSION, who("admin") + bytes(4)),
    "very many revocations": frame(captured.BROKER, captured.REVOKE, wire.u32(0xFFFFFFFF) + bytes(64)),
}


@pytest.mark.parametrize("nonsense", BROKER_REFUSES.values(), ids=BROKER_REFUSES)
def test_broker_refuses(doorman, nonsense):
    channel = doorman.connect()
    channel.send(nonsense)
    answer, descriptors = channel.receive()
    assert answer.error()[2] and descriptors == []
    channel.close()


# --- against gates ---


def door(proc, payload=b"", **changes):
    return frame(captured.DOOR, proc, payload, **{"type": wire.REPLY, **changes})


GATE_CLOSES = {k: v for k, v in framing(door(captured.NONCES, wire.u32(0))).items() if k != "a descriptor"}
GRANT = wire.u64(7) + wire.string("admin") + wire.u32(0)
ARRIVAL = wire.string("unix") + wire.string("uid 0") + wire.u32(0)
GATE_IGNORES = {
    "nonces that nobody asked for": (door(captured.NONCES, wire.u32(2) + bytes(64)), 0),
    "a session that nobody asked for": (door(captured.ADMIT, wire.optional(GRANT) + wire.u32(0)), 1),
    "the end of a login that nobody began": (door(captured.STEP, wire.u32(1) + wire.u32(0) + wire.optional(GRANT)), 2),
    "a wish for nonces": (frame(captured.DOOR, captured.NONCES), 0),
    "what the keeper says": (frame(captured.KEEPER, captured.SIGN, wire.u32(4) + bytes(4), type=wire.REPLY), 0),
    "what the supervisor says": (frame(captured.SUPERVISE, captured.DRAIN, type=wire.MESSAGE), 0),
    "a client without a connection": (
        door(captured.ARRIVE, wire.optional(GRANT) + wire.u32(0) * 2 + ARRIVAL, type=wire.MESSAGE), 0
    ),
    "a client with a grant and no session": (
        door(captured.ARRIVE, wire.optional(GRANT) + wire.u32(0) * 2 + ARRIVAL, type=wire.MESSAGE), 1
    ),
    "a client that is everything at once": (
        door(
            captured.ARRIVE,
            wire.optional(GRANT) + wire.optional(wire.u64(1) + wire.string("PLAIN"))
            + wire.optional(wire.string("no")) + ARRIVAL,
            type=wire.MESSAGE,
        ), 2
    ),
    "an arrival cut short": (door(captured.ARRIVE, bytes(8), type=wire.MESSAGE), 1),
}  # fmt: skip


@pytest.mark.parametrize("nonsense", GATE_IGNORES.values(), ids=GATE_IGNORES)
def test_gate_takes_nothing_that_it_did_not_ask_for(house, doorman, nonsense):
    """It goes on, with the sessions and the descriptors that it had."""
    pid = house.pid("gate-0")
    before = processes.descriptors(pid)
    for _ in range(5):
        throw(doorman.gates[0], nonsense)
    upstream.poll(lambda: (processes.descriptors(pid) or 0) <= (before or 0), what="no descriptor stays")
    throw(doorman.gates[0], (door(captured.LEAVE), 0))
    assert 0 in doorman.gates, "the channel is closed"


def test_gate_survives_a_client_that_is_no_connection(house, doorman):
    """It has to say goodbye to /dev/null, and gives up after a while."""
    refused = wire.u32(0) * 2 + wire.optional(wire.string("no")) + ARRIVAL
    throw(doorman.gates[0], (door(captured.ARRIVE, refused, type=wire.MESSAGE), 1))
    assert 0 in doorman.gates


@pytest.mark.parametrize("nonsense", GATE_CLOSES.values(), ids=GATE_CLOSES)
def test_gate_closes_the_channel_of_a_doorman_that_says(house, doorman, nonsense):
    number = next(house.unused_gates)
    throw(doorman.gates[number], nonsense)
    upstream.poll(lambda: number not in doorman.gates, what="the end of the channel")


# --- against virtgate-sasl ---


def test_sasl_starts_processes_that_end_when_they_hear_nonsense(house, doorman):
    """BEGIN is all that such a process waits for. The file of users is behind it and not behind the channel."""
    terms = wire.u64(1) + wire.u32(256) + wire.u32(0) + wire.string("") + wire.string("")
    begin = wire.string("SCRAM-SHA-256") + captured.token(b"n,,n=alice,r=xyzabc")
    for nonsense in (
        b"junk",
        frame(captured.EXCHANGE, 2, captured.token(b"")),
        frame(captured.EXCHANGE, 3),
        frame(captured.DOOR, captured.NONCES),
        frame(captured.EXCHANGE, 1, begin + bytes(4)),
        frame(captured.EXCHANGE, 1, wire.string("EXTERNAL") + captured.token(b"root")),
    ):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            doorman.sasl.send(captured.message(captured.SASL, 2, terms), [theirs.fileno()])
        exchange = doorman.channel(ours.detach())
        throw(exchange, (nonsense, 0))
        assert exchange.is_closed(), nonsense
    heard = doorman.hears()
    users = (house.suite.directory / "etc" / "users").read_bytes()
    verifiers = [word for word in users.replace(b"$", b" ").replace(b":", b" ").split() if len(word) > 30]
    assert verifiers and [word for word in verifiers if word in heard] == []


def test_sasl_closes_the_channel_of_a_doorman_that_talks_nonsense(house, doorman):
    pid = house.pid("sasl")
    throw(doorman.sasl, (frame(captured.SASL, 3), 0))
    assert doorman.sasl.is_closed()
    assert house.pid("sasl") == pid


# --- the supervisor: the last one, since doorman is another one afterwards ---


def test_supervisor_ends_a_doorman_that_says_nonsense(house, doorman):
    throw(
        doorman.control,
        (frame(captured.SUPERVISE, captured.ADOPT, struct.pack(">3I", 2, 0, 0), type=wire.MESSAGE), 0),
    )
    assert doorman.is_killed()
    house.captor.drop(doorman)
    house.doorman = house.captor.take()
    house.doorman.claim = lambda: who("admin")
    upstream.poll(lambda: len(house.doorman.gates) == GATES, what="a way to each gate")
    with house.suite.open(URI) as late:
        assert late.ask(wire.GET_LIB_VERSION).status == wire.OK
