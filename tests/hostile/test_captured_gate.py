# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_captured_gate - a gate that was taken over, with everything that a gate has.

The test stands in the place of all gates but one (vgtest/captured.py). It can use the sessions of clients
that come in through it, and gets nothing else: no identity that did not connect, no visit or session of
another gate, no signature but that of its own handshakes, no byte of the key, no other descriptor. Whatever
it says, the clients of that one, a real gate, notice nothing. test_lying_gate has what such a gate can say to
a worker.
"""

import json
import os
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

from test_key_secrecy import server_keys, windows
from vgtest import captured, captured_tls, locks, processes, sasl, table, upstream, wire
from vgtest.captured_house import PASSWORD, House, frame, framing, throw

URI = "qemu:///system"
# Somebody who has, beside the session, a way to the lock daemon.
LOCKSMITH = """
[role.locksmith]
allow = ["@connect-basic", "@locks"]
[identity.locksmith]
x509 = {{ CN = "locksmith" }}
[[binding]]
identity = "locksmith"
role = "locksmith"
objects = {{ lock = ["{0}/mine", "glob:{0}/mine/*"] }}
"""
LOCK_SESSION, LOCKS = 0x5647000D, 0x5647000B
HONEST, GATES = 0, 32
SETTLED = ("netd", "doorman", "sasl", "workerd", "auditor", "gate-0", "keeper-0")


@pytest.fixture(scope="module")
def house(scratch, running_suite, authority):
    places = [captured.index(number) for number in range(GATES) if number != HONEST]
    with captured.Captor(scratch / "gate-programs", "gate", places, captured.Gate) as captor:
        suite = running_suite.sibling(
            scratch / "captured-gates",
            {
                "netd.gates": GATES,
                "netd.tls.authentication": '"x509-or-sasl"',
                "netd.limits.failure_delay": "0.1",
                "netd.limits.failure_delay_max": "0.1",
                "netd.limits.arrivals_per_source": "1000",
            },
        )
        suite.programs = captor.programs
        suite.add_policy("20-alice.toml", sasl.POLICY.format(name="alice"))
        suite.add_policy("30-locksmith.toml", LOCKSMITH.format(suite.directory / "lockspaces"))
        sasl.add_user(suite.directory / "etc" / "users", "alice", PASSWORD)
        with suite:
            made = House(suite, captor)
            with suite.open(URI) as made.witness:
                # The first one of an identity starts a worker.
                context = made.context(authority, "locksmith")
                with made.log_in(), suite.connect(context=context):
                    made.settle(SETTLED)
                yield made


@pytest.fixture
def seat(house):
    """A gate that was taken over. If a test leaves it without one of its channels, it dies and is started
    again.
    """
    taken = house.captor.take()
    yield taken
    house.captor.give_back(taken)


@pytest.fixture
def other_seat(house):
    """A second one."""
    taken = house.captor.take()
    yield taken
    house.captor.give_back(taken)


@pytest.fixture(autouse=True)
def nobody_else_notices(house, back):
    """A session of the real gate goes on, new clients come in, and the processes stay the same."""
    yield
    assert house.witness.ask(wire.GET_LIB_VERSION).status == wire.OK
    with house.suite.open(URI) as late:
        assert late.ask(wire.GET_LIB_VERSION).status == wire.OK
    house.check_settled()


# --- what it has ---


def test_it_has_its_listeners_and_channels_and_no_other_descriptor(house, seat):
    assert sorted(seat.descriptors) == [3, 4, 5, 6]
    link = {number: os.readlink(f"/proc/self/fd/{fd}") for number, fd in seat.descriptors.items()}
    assert link[3].startswith("/memfd:") and link[6] == "/dev/null"
    tls = socket.socket(fileno=os.dup(seat.descriptors[5]))
    with tls:
        assert tls.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert tls.getsockname()[1] == house.suite.port
    for channel in seat.channels:
        assert channel.sock.type == socket.SOCK_SEQPACKET
        assert channel.sock.getsockname() == channel.sock.getpeername() == ""


def test_its_configuration_names_no_secret_and_cannot_be_changed(house, seat):
    directory = house.suite.directory
    secrets = [b"PRIVATE KEY", PASSWORD.encode(), bytes(directory / "run"), bytes(directory / "etc")]
    secrets += [bytes(directory / "pki"), *(str(path).encode() for path in house.suite.upstreams.values())]
    assert b"BEGIN CERTIFICATE" in seat.config
    assert [secret for secret in secrets if secret in seat.config] == []
    memory = seat.descriptors[captured.CONFIG]
    for change in (lambda: os.pwrite(memory, b"x", 0), lambda: os.ftruncate(memory, 0)):
        with pytest.raises(PermissionError):
            change()


# --- who comes in ---


def admitted(seat, context, **changes):
    """(handshake, answer, descriptors) of a client's handshake with this gate, and of ADMIT with it."""
    handshake = seat.handshake(context, **changes)
    return handshake, *seat.admit(handshake.transcript, handshake.verify)


def test_client_that_comes_through_it_is_in_its_hands(house, seat, back):
    """The control of the tests below: with a real client there is a session, for that client's identity."""
    _, answer, descriptors = admitted(seat, house.suite.context())
    _, identity = captured.grant_of(answer)
    assert identity == "admin" and len(descriptors) == 1
    with wire.Client(socket.socket(fileno=descriptors[0])) as session:
        assert session.ask(wire.CONNECT_OPEN, wire.open_args(URI)).status == wire.OK
        behind = back.session()
        assert session.ask(wire.GET_LIB_VERSION).status == wire.OK
    back.wait(lambda: behind.closed)


def refused(answer_and_descriptors):
    answer, descriptors = answer_and_descriptors
    assert answer.error()[2] and descriptors == []


def test_proof_holds_once_and_for_one_gate(house, seat, other_seat):
    proof, answer, descriptors = admitted(seat, house.suite.context())
    captured.grant_of(answer)
    captured.close_all(descriptors)
    refused(seat.admit(proof.transcript, proof.verify))
    refused(other_seat.admit(proof.transcript, proof.verify))
    fresh = seat.handshake(house.suite.context())
    refused(other_seat.admit(fresh.transcript, fresh.verify))
    captured.close_all(seat.admit(fresh.transcript, fresh.verify)[1])  # nothing of it was spent there


def test_nonce_of_another_gate_or_of_nobody_is_worth_nothing(house, seat, other_seat):
    for nonce in (other_seat.nonces()[0], os.urandom(32), bytes(32)):
        _, *answer = admitted(seat, house.suite.context(), nonce=nonce)
        refused(answer)


def test_client_without_an_identity_gets_none(house, seat, authority):
    """It may log in, as on every gate: there is no grant and no descriptor."""
    _, answer, descriptors = admitted(seat, house.context(authority, "mallory"))
    assert captured.visit_of(answer) and descriptors == []


def test_certificate_of_a_client_who_was_here_before_is_worth_nothing(house, seat, authority):
    """The admin's certificate, put into the handshake of somebody else who works with the gate."""
    seen = seat.handshake(house.suite.context())
    mallory = seat.handshake(house.context(authority, "mallory"))
    swapped = b"".join([*mallory.messages[:-3], seen.messages[-3]])
    refused(seat.admit(swapped, mallory.verify))
    mallory = seat.handshake(house.context(authority, "mallory"))
    swapped = b"".join([*mallory.messages[:-3], seen.messages[-3]])
    refused(seat.admit(swapped, seen.verify))


def test_servers_own_signature_is_none_of_a_client(house, seat, authority):
    """The keeper signs every hash that its gate likes; not as a client."""
    mallory = seat.handshake(house.context(authority, "mallory"))
    own = captured_tls.message(captured_tls.CERTIFICATE, b"\0" + captured_tls.vector(
        3, captured_tls.vector(3, seat.chain[0]) + b"\0\0"))  # fmt: skip
    scheme = seat.scheme()
    for certificate in (own, mallory.messages[-3]):
        transcript = b"".join([*mallory.messages[:-3], certificate])
        signature = seat.sign(captured_tls.digest(transcript), scheme)
        refused(seat.admit(transcript, struct.pack(">H", scheme) + captured_tls.vector(2, signature)))
        mallory = seat.handshake(house.context(authority, "mallory"))


def test_handshake_that_a_client_made_with_another_server_is_worth_nothing(house, seat, foreign_authority):
    """A client of somebody else's server, whose handshake there has one of our nonces in it."""
    certificate, key = foreign_authority.issue("/CN=localhost", "server")

    def sign(transcript_hash):
        content = captured_tls.signed_content(transcript_hash)
        made = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", key], input=content, capture_output=True
        )
        return made.stdout

    context = house.suite.context()
    there = wire.tls_context(house.suite.pki)
    there.load_verify_locations(str(foreign_authority.certificate))
    chain = [ssl.PEM_cert_to_DER_cert(certificate.read_text())]
    _, *answer = admitted(seat, there, chain=chain, scheme=captured_tls.ECDSA_P256, sign=sign)
    refused(answer)
    captured.close_all(
        admitted(seat, context)[2]
    )  # with the server's own certificate it is a client like any other


# --- locks ---


def test_way_to_the_lock_daemon_is_that_session_and_nothing_else(house, seat, authority):
    """It was begun by the broker: what it may lock is the client's, and whose it is stays so."""
    spaces = house.suite.directory / "lockspaces"
    _, answer, descriptors = admitted(seat, house.context(authority, "locksmith"))
    number, identity = captured.grant_of(answer)
    assert identity == "locksmith" and len(descriptors) == 1
    with socket.socket(fileno=descriptors[0]) as session:
        session.settimeout(wire.PATIENCE)
        first, ways, _, _ = socket.recv_fds(session, 16, 4)
        assert len(first) == 1 and len(ways) == 1
        with locks.Locks(socket.socket(fileno=ways[0])) as way, locks.connect(house.suite.lock_socket) as local:
            begin = wire.u64(1) + bytes(16) + wire.string("tls") + wire.string("admin") + wire.string("")
            for prog, proc, payload in [
                (LOCK_SESSION, 1, begin + wire.u64(1) + wire.u32(0)),  # somebody else's session
                (LOCK_SESSION, 1, begin + wire.u64(1) + wire.u32(1)),  # one that says for whom it locks
                (LOCK_SESSION, 2, wire.string("admin") + wire.string("")),  # others' rights
                (LOCK_SESSION, 3, wire.u64(1)),  # what the auditor hears
                (LOCKS, 1, wire.u32(0) * 2),  # what others hold
                (LOCKS, 3, wire.string("") + wire.string("/a") + wire.string("") + wire.string("x")),
            ]:
                reply = way.ask(proc, payload, prog=prog)
                assert reply.status == wire.ERROR and reply.error()[0] == locks.DENIED, (prog, proc)
            assert local.register(424242) is None and local.open_space(spaces / "others") is None
            assert local.acquire(spaces / "others", "a", locks.AUTOCREATE) is None
            assert way.register(424242, name="root") is None, "it is accepted, and ignored"
            for path, name in (
                (spaces / "others", "a"), (spaces / "others", "b"), ("", spaces / "others" / "a"),
                ("", "/etc/passwd"), (spaces / "mine" / "..", "others"),
            ):  # fmt: skip
                assert way.release(path, name)[0] == 88 and way.acquire(path, name, locks.AUTOCREATE)[0] == 88
            assert way.open_space(spaces / "mine") is None
            assert way.acquire(spaces / "mine", "a", locks.AUTOCREATE) is None
            assert local.release(spaces / "mine", "a") is not None
            done = subprocess.run(
                [house.suite.programs / "virtgate", "locks", "--json", "--dir", house.suite.directory],
                capture_output=True, text=True, timeout=60, check=True,
            )  # fmt: skip
            held = {one["resource"]: one for one in json.loads(done.stdout)["locks"] if one["space"] == str(spaces / "mine")}
            assert held["a"]["owner"]["name"] == "locksmith" and held["a"]["through"]["session"] == number
            assert local.release(spaces / "others", "a") is None
        upstream.poll(lambda: locks.is_free(spaces / "mine" / "a"), what="the end of the lock")


# --- logins ---


def logged_in(seat, visit):
    """(answer, descriptors) of alice's login on that visit."""
    exchange = sasl.Scram("alice", PASSWORD)
    answer, _ = seat.start_login(visit, "SCRAM-SHA-256", exchange.first())
    _, challenge, grant = captured.step_of(answer)
    assert grant is None
    answer, descriptors = seat.step_login(visit, exchange.final(challenge))
    complete, _, grant = captured.step_of(answer)
    return (answer, descriptors) if complete else seat.step_login(visit, b"")


def test_visit_of_another_gate_cannot_be_named(seat, other_seat):
    """Its number can be guessed. It can be neither used nor ended from elsewhere."""
    visit = seat.enter()
    refused(other_seat.start_login(visit, "SCRAM-SHA-256", b"n,,n=alice,r=x"))
    refused(other_seat.step_login(visit, b""))
    other_seat.leave(visit)
    assert other_seat.nonces(), "LEAVE has been read"
    answer, descriptors = logged_in(seat, visit)
    assert captured.step_of(answer)[2][1] == "alice" and len(descriptors) == 1
    captured.close_all(descriptors)
    refused(seat.step_login(visit, b""))


def test_exchange_ends_with_the_visit(seat):
    """Half a login cannot be taken to another visit."""
    first, second = seat.enter(), seat.enter()
    exchange = sasl.Scram("alice", PASSWORD)
    challenge = captured.step_of(seat.start_login(first, "SCRAM-SHA-256", exchange.first())[0])[1]
    seat.leave(first)
    refused(seat.step_login(first, exchange.final(challenge)))
    begun = captured.step_of(seat.start_login(second, "SCRAM-SHA-256", sasl.Scram("alice", "?").first())[0])
    assert not begun[0]
    refused(seat.step_login(second, exchange.final(challenge)))


def test_session_for_reading_stays_one(house, seat, back):
    """What a session may do is not the gate's word: one of the read-only socket."""
    clients = [wire.connect_unix(str(house.suite.local_socket) + "-ro") for _ in range(GATES)]
    try:
        _, (client, session) = seat.door.message(captured.DOOR, captured.ARRIVE)
        os.close(client)
        with wire.Client(socket.socket(fileno=session)) as stolen:
            assert stolen.ask(wire.CONNECT_OPEN, wire.open_args(URI, flags=0)).status == wire.OK
            define = table.number("domain_define_xml")
            assert stolen.ask(define, wire.string("<domain/>")).error()[2]
            opened = [f for f in back.session().frames if f.proc == wire.CONNECT_OPEN]
            assert [f.payload[-4:] for f in opened] == [
                wire.u32(1)
            ], "the daemon was not told to be read only"
            assert back.frames(define) == []
    finally:
        for each in clients:
            each.close()


# --- the keeper ---

SCHEMES = [0x0201, 0x0401, 0x0501, 0x0403, 0x0503, 0x0804, 0x0805, 0x0806, 0x0807, 0x0809, 0, 0xFFFF]
SIZES = [0, 1, 20, 28, 31, 32, 33, 48, 64]


def verifies(key, content, signature, scratch):
    """Whether `signature` is one over `content` with SHA-256, by openssl."""
    path = scratch / "signature"
    path.write_bytes(signature)
    pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"]
    for options in ([], pss):
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-verify", key, "-signature", path, *options],
            input=content,
            capture_output=True,
        )
        if done.returncode == 0:
            return True
    return False


def test_keeper_signs_the_servers_verify_of_tls_1_3_and_nothing_else(seat, tmp_path):
    certificate, key = tmp_path / "own.der", tmp_path / "own.pub"
    certificate.write_bytes(seat.chain[0])
    key.write_bytes(
        subprocess.run(
            ["openssl", "x509", "-in", certificate, "-inform", "DER", "-pubkey", "-noout"],
            capture_output=True,
            check=True,
        ).stdout
    )
    fits, signed = seat.scheme(), []
    for scheme in SCHEMES:
        for size in SIZES:
            answer = seat.ask_signature(scheme, os.urandom(size))
            if answer.status == wire.OK:
                signed.append((scheme, size))
    assert set(signed) <= {(scheme, size) for scheme in (0x0403, 0x0804, 0x0805, 0x0806) for size in (32, 48)}
    assert (fits, 32) in signed
    wish = os.urandom(32)
    signature = seat.sign(wish, fits)
    assert verifies(key, captured_tls.signed_content(wish), signature, tmp_path)
    for content in (wish, captured_tls.signed_content(wish, "client"), b"\0" + wish, b""):
        assert not verifies(key, content, signature, tmp_path)


SIGN_ARGS = wire.u32(0x0403) + captured.opaque(bytes(32))
GOOD_SIGN = frame(captured.KEEPER, captured.SIGN, SIGN_ARGS)
KEEPER_NONSENSE = {
    **{
        name: framing(GOOD_SIGN)[name] for name in ("two frames", "a packet that is too long", "a descriptor")
    },
    "another procedure": (frame(captured.KEEPER, 2), 0),
    "another program": (frame(captured.DOOR, captured.NONCES), 0),
    "what its supervisor says": (
        frame(captured.SUPERVISE, captured.ADOPT, wire.u32(3) * 3, type=wire.MESSAGE),
        0,
    ),
    "an answer": (frame(captured.KEEPER, captured.SIGN, bytes(4), type=wire.REPLY), 0),
    "bytes behind the arguments": (frame(captured.KEEPER, captured.SIGN, SIGN_ARGS + bytes(4)), 0),
}


@pytest.mark.parametrize("nonsense", KEEPER_NONSENSE.values(), ids=KEEPER_NONSENSE)
def test_keeper_ends_for_a_gate_that_says(seat, nonsense):
    """It is this gate's own. The next one signs again."""
    throw(seat.keeper, nonsense)
    assert seat.keeper.is_closed()
    seat.adopt()
    assert seat.sign(bytes(32))


# --- doorman ---

GOOD_NONCES = frame(captured.DOOR, captured.NONCES)
SOME_VISIT = wire.u64(12_345)
DOORMAN_NONSENSE = {
    **framing(GOOD_NONCES),
    "another program": (frame(captured.KEEPER, 1), 0),
    "a wish for a session": (frame(captured.BROKER, captured.OPEN_SESSION, bytes(64)), 0),
    "what its supervisor says": (
        frame(captured.SUPERVISE, captured.ADOPT, wire.u32(3) * 3, type=wire.MESSAGE),
        0,
    ),
    "what virtgate-sasl says": (frame(captured.SASL, 1, bytes(8), type=wire.REPLY), 0),
    "version 2": (frame(captured.DOOR, captured.NONCES, vers=2), 0),
    "procedure 0": (frame(captured.DOOR, 0), 0),
    "procedure 8": (frame(captured.DOOR, 8), 0),
    "an answer": (frame(captured.DOOR, captured.NONCES, wire.u32(0), type=wire.REPLY), 0),
    "an answer to ADMIT": (frame(captured.DOOR, captured.ADMIT, bytes(8), type=wire.REPLY), 0),
    "a status": (frame(captured.DOOR, captured.NONCES, status=wire.ERROR), 0),
    "arguments where none belong": (frame(captured.DOOR, captured.NONCES, bytes(4)), 0),
    "an arrival": (frame(captured.DOOR, captured.ARRIVE, bytes(32), type=wire.MESSAGE), 0),
    "ADMIT without arguments": (frame(captured.DOOR, captured.ADMIT), 0),
    "ADMIT with a length beyond its end": (frame(captured.DOOR, captured.ADMIT, b"\xff" * 64), 0),
    "ENTER with bytes behind": (frame(captured.DOOR, captured.ENTER, captured.enter_args() + bytes(4)), 0),
    "ENTER at the UNIX socket": (frame(captured.DOOR, captured.ENTER, captured.enter_args("", 0, "unix")), 0),
    "ENTER on plain TCP, which is off": (
        frame(captured.DOOR, captured.ENTER, captured.enter_args(strength=0, listener="tcp")),
        0,
    ),
    "ENTER on TLS that does not encrypt": (
        frame(captured.DOOR, captured.ENTER, captured.enter_args(strength=0)),
        0,
    ),
    "START cut short": (frame(captured.DOOR, captured.START, SOME_VISIT), 0),
    "STEP with a flag of 2": (frame(captured.DOOR, captured.STEP, SOME_VISIT + wire.u32(2)), 0),
    "LEAVE as a call": (frame(captured.DOOR, captured.LEAVE, SOME_VISIT), 0),
    "LEAVE cut short": (frame(captured.DOOR, captured.LEAVE, bytes(4), type=wire.MESSAGE), 0),
}


@pytest.mark.parametrize("nonsense", DOORMAN_NONSENSE.values(), ids=DOORMAN_NONSENSE)
def test_doorman_closes_the_channel_of_a_gate_that_says(seat, nonsense):
    throw(seat.door, nonsense)
    assert seat.door.is_closed()


def test_doorman_closes_the_channel_of_a_gate_whose_client_speaks_when_it_is_not_asked(seat, other_seat):
    visit = seat.enter()
    seat.door.start(captured.DOOR, captured.STEP, wire.u64(visit) + captured.token(b""))
    assert seat.door.is_closed()
    visit = other_seat.enter()
    start = wire.u64(visit) + wire.string("SCRAM-SHA-256") + captured.token(b"n,,n=alice,r=xyz")
    for _ in range(2):
        other_seat.door.start(captured.DOOR, captured.START, start)
    assert other_seat.door.is_closed()


# --- the supervisor ---

SUPERVISOR_NONSENSE = {
    "ADOPT": (frame(captured.SUPERVISE, captured.ADOPT, wire.u32(2) * 3, type=wire.MESSAGE), 0),
    "DRAIN": (frame(captured.SUPERVISE, captured.DRAIN, type=wire.MESSAGE), 0),
    "READY with something behind": (
        frame(captured.SUPERVISE, captured.READY, bytes(4), type=wire.MESSAGE),
        0,
    ),
    "two frames": (GOOD_SIGN * 2, 0),
    "READY with a descriptor": (frame(captured.SUPERVISE, captured.READY, type=wire.MESSAGE), 1),
}


def test_supervisor_ends_a_gate_that_says_anything_but_that_it_is_ready(house):
    """Nothing that it could say may do more than that; and nobody may fill the supervisor's log. One that has
    hung up could not be told anything any more.
    """
    seats = {name: house.captor.take() for name in (*SUPERVISOR_NONSENSE, "nothing any more")}
    for name, seat in seats.items():
        if name in SUPERVISOR_NONSENSE:
            throw(seat.control, SUPERVISOR_NONSENSE[name])
        else:
            seat.control.sock.shutdown(socket.SHUT_RDWR)
    alive = [name for name, seat in seats.items() if not seat.is_killed()]
    for seat in seats.values():
        house.captor.drop(seat)
    assert alive == []


# --- floods ---


class Flood:
    """Says the same over and over, and reads nothing."""

    def __init__(self, channel, packets):
        self.channel, self.packets, self.sent, self.over = channel, packets, 0, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        self.channel.sock.settimeout(0.2)
        while not self.over.is_set():
            for packet in self.packets:
                try:
                    self.channel.sock.send(packet)
                    self.sent += 1
                except TimeoutError:
                    continue
                except OSError:
                    return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        upstream.poll(lambda: self.sent > 200 or not self.thread.is_alive(), what="a flood")
        self.over.set()
        self.thread.join(10)
        assert self.sent > 200, "its channel was closed at once"


FLOODS = {
    "wishes for nonces": lambda seat: [GOOD_NONCES],
    "proofs of nothing": lambda seat: [
        frame(
            captured.DOOR, captured.ADMIT, captured.opaque(os.urandom(50_000))
            + captured.opaque(bytes(70)) + wire.string("192.0.2.1") + wire.u32(1)
        )
    ],
    "clients that have to log in": lambda seat: [frame(captured.DOOR, captured.ENTER, captured.enter_args("192.0.2.1"))],
    "clients who left": lambda seat: [frame(captured.DOOR, captured.LEAVE, SOME_VISIT, type=wire.MESSAGE)],
}  # fmt: skip


@pytest.mark.parametrize("make", FLOODS.values(), ids=FLOODS)
def test_flood_holds_up_nobody_else(house, seat, make):
    doorman = house.pid("doorman")
    before = processes.resident(doorman)
    with Flood(seat.door, make(seat)):
        for _ in range(5):
            begun = time.monotonic()
            house.suite.connect().close()
            assert time.monotonic() - begun < 2.0
        house.log_in().close()
    assert processes.resident(doorman) - before < 64 << 20


def test_logins_that_never_go_on_take_no_place_from_clients_of_other_gates(house, seat):
    """Each from another address, so that none of these sources holds more than an honest one."""
    waiting = []
    for number in range(200):
        visit = seat.enter(f"10.2.0.{number + 1}")
        start = wire.u64(visit) + wire.string("SCRAM-SHA-256") + captured.token(b"n,,n=alice,r=xyzabc")
        waiting.append(frame(captured.DOOR, captured.START, start))
    client = house.suite.connect(context=wire.tls_context(house.suite.pki, certificate=False))
    with client:
        exchange = sasl.Scram("alice", PASSWORD)
        assert client.ask(sasl.INIT).status == wire.OK
        answer = client.ask(sasl.START, sasl.start_args("SCRAM-SHA-256", exchange.first()))
        _, challenge = sasl.read_answer(answer)
        for packet in waiting:
            seat.door.send(packet)
        for _ in waiting:
            seat.door.receive()
        answer = client.ask(sasl.STEP, sasl.token(exchange.final(challenge)))
        assert answer.status == wire.OK, answer.error()


# --- afterwards: these two look at what all the others have left ---


def test_no_byte_of_the_key_ever_came(house):
    (path,) = server_keys(house.suite)
    wanted = windows(path)
    for each in house.captor.everybody:
        heard = each.hears()
        assert {name for name, piece in wanted.items() if piece in heard} == set()


def test_nothing_is_left_open(house):
    """Of all those channels, visits and sessions."""
    upstream.poll(lambda: not house.left_open(), what=lambda: f"the end of {house.left_open()}")
