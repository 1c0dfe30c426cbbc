# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_logins - clients that misuse the login, and what is left of their passwords in memory.

VIRTGATE_TEST_ABORTS=N makes the test of aborted logins N of them for each step (default 60).
"""

import base64
import os
import struct
import time

import pytest

from test_key_secrecy import scan
from vgtest import processes, sasl, upstream, wire

PASSWORD = "Tr0ub4dor-and-3-more-words"
ABORTS = int(os.environ.get("VIRTGATE_TEST_ABORTS", "60"))


@pytest.fixture(scope="module")
def logins(scratch, running_suite):
    """TLS with passwords, PLAIN among them; failures cost nothing, so that many fit into a test."""
    directory = scratch / "hostile-logins"
    suite = running_suite.sibling(
        directory,
        {
            "netd.tls.authentication": '"sasl"',
            "netd.sasl.mechanisms": '["SCRAM-SHA-256", "PLAIN"]',
            "netd.limits.failure_delay": "0",
            "netd.limits.failure_delay_max": "0.1",
            "netd.limits.failures_per_source": "1000000",
            "netd.limits.tries": "100",
        },
    )
    (directory / "etc" / "policy.d").mkdir(parents=True)
    suite.add_policy("20-alice.toml", sasl.POLICY.format(name="alice"))
    sasl.add_user(directory / "etc" / "users", "alice", PASSWORD)
    with suite:
        yield suite


@pytest.fixture
def stranger(logins):
    """A client that is not let in yet."""
    with logins.connect(context=wire.tls_context(logins.pki, certificate=False)) as client:
        yield client


def state(suite):
    """(descriptors, resident bytes) of the processes that logins go through. Only root sees the descriptors of closed
    processes: to others they are 0, before and after.
    """
    pids = [pid for name in ("virtgate-gate", "virtgate-doorman", "virtgate-sasl") for pid in suite.pids(name)]
    return (
        sum(processes.descriptors(pid) or 0 for pid in pids),
        sum(processes.resident(pid) for pid in pids),
    )


def first(name="alice"):
    return sasl.Scram(name, PASSWORD)


def test_calls_before_the_login_tell_nothing(stranger):
    for proc in (wire.CONNECT_OPEN, wire.GET_HOSTNAME, wire.SUPPORTS_FEATURE, 9999):
        assert stranger.ask(proc, wire.u32(10)).error() == (39, 7, "authentication required")
    assert stranger.ask(1, b"", prog=0x12345678).error() == (39, 7, "authentication required")
    assert stranger.ask(sasl.POLKIT).error()[0] == sasl.AUTH_FAILED


@pytest.mark.parametrize("steps", ["STEP", "START", "INIT INIT", "INIT STEP", "INIT START START"])
def test_steps_out_of_order(stranger, steps):
    answers = []
    for step in steps.split():
        if step == "INIT":
            answers.append(stranger.ask(sasl.INIT))
        elif step == "START":
            answers.append(stranger.ask(sasl.START, sasl.start_args("SCRAM-SHA-256", first().first())))
        else:
            answers.append(stranger.ask(sasl.STEP, sasl.token(b"x")))
    assert all(answer.status == wire.OK for answer in answers[:-1])
    assert answers[-1].error()[:2] == (sasl.AUTH_FAILED, 7)
    if "START START" not in steps:
        # From the beginning it still works. INIT counts as done where it was.
        if "INIT" in steps:
            exchange = first()
            _, challenge = sasl.read_answer(
                stranger.ask(sasl.START, sasl.start_args("SCRAM-SHA-256", exchange.first()))
            )
            assert stranger.ask(sasl.STEP, sasl.token(exchange.final(challenge))).status == wire.OK
        else:
            assert sasl.log_in(stranger, "alice", PASSWORD) is None


@pytest.mark.parametrize("mechanism", ["GSSAPI", "ANONYMOUS", "EXTERNAL", "LOGIN", "SCRAM-SHA-1", "", "x" * 1024, "a b"])
def test_mechanism_that_is_not_offered(stranger, mechanism):
    listed = stranger.ask(sasl.INIT)
    offered = wire.Reader(listed.payload).text()
    assert offered == "SCRAM-SHA-256,PLAIN"
    assert stranger.ask(sasl.START, sasl.start_args(mechanism, b"x")).error()[0] == sasl.AUTH_FAILED
    assert sasl.log_in(stranger, "alice", PASSWORD) is None


@pytest.mark.parametrize("size", [61_440, 61_441, 65_536, 65_537])
def test_long_tokens(logins, size):
    """Refused, or the connection is closed; nobody else notices."""
    context = wire.tls_context(logins.pki, certificate=False)
    with logins.connect(context=context) as client, logins.connect(context=context) as other:
        assert client.ask(sasl.INIT).status == wire.OK
        try:
            answer = client.ask(sasl.START, sasl.start_args("SCRAM-SHA-256", b"n" * size))
            assert answer.error()[0] in (sasl.AUTH_FAILED, 39)
        except wire.Closed:
            assert size > 61_440
        assert sasl.log_in(other, "alice", PASSWORD) is None


@pytest.mark.parametrize(
    "token",
    [None, b"", b"\0", b"n,,n=alice", b"n,,n=,r=x", b"n,,n=a\0b,r=x", b"n,,n=alice,r=\xff\xfe", b"y" * 1000,
     b"n,,n=" + b"a" * 2000 + b",r=x", b"p=tls-unique,,n=alice,r=x"],
)  # fmt: skip
def test_garbage_in_the_first_token(stranger, token):
    assert stranger.ask(sasl.INIT).status == wire.OK
    answer = stranger.ask(sasl.START, sasl.start_args("SCRAM-SHA-256", token))
    if answer.status == wire.OK:
        # It is a mechanism's right to ask on; nobody is let in.
        assert sasl.read_answer(answer)[0] is False
        assert stranger.ask(sasl.STEP, sasl.token(b"c=biws,r=x,p=AAAA")).error()[0] == sasl.AUTH_FAILED
    else:
        assert answer.error()[0] == sasl.AUTH_FAILED
    assert sasl.log_in(stranger, "alice", PASSWORD) is None


def test_words_above_a_byte_are_a_byte(stranger):
    """libvirt's clients extend the sign; only the low eight bits count."""
    exchange = first()
    words = b"".join(struct.pack(">I", byte | 0xABCDEF00) for byte in exchange.first())
    assert stranger.ask(sasl.INIT).status == wire.OK
    payload = wire.string("SCRAM-SHA-256") + wire.u32(0) + wire.u32(len(words) // 4) + words
    _, challenge = sasl.read_answer(stranger.ask(sasl.START, payload))
    assert stranger.ask(sasl.STEP, sasl.token(exchange.final(challenge))).status == wire.OK


def test_bytes_behind_a_call_close_the_connection(stranger):
    stranger.start(sasl.INIT, bytes(4))
    assert stranger.rest() == []


def test_too_many_mistakes_close_the_connection(stranger):
    with pytest.raises(wire.Closed):
        for _ in range(100):
            stranger.ask(wire.GET_HOSTNAME)


def test_aborted_logins_leave_nothing(logins):
    """At each step: the client goes, with an end of file or a reset."""
    context = wire.tls_context(logins.pki, certificate=False)

    def abort(step):
        client = logins.connect(context=context)
        exchange = first()
        if step > 0:
            client.start(sasl.INIT)
        if step > 1:
            client.receive()
            client.start(sasl.START, sasl.start_args("SCRAM-SHA-256", exchange.first()))
        if step > 2:
            _, challenge = sasl.read_answer(client.receive())
            client.start(sasl.STEP, sasl.token(exchange.final(challenge)))
        if step > 3:
            client.receive()
        client.close() if step % 2 else client.reset()

    def settled():
        return len(logins.pids("virtgate-sasl")) == 1

    for step in range(5):
        abort(step)
    upstream.poll(settled, what="the end of the exchanges")
    time.sleep(0.5)
    before = state(logins)
    for _ in range(ABORTS):
        for step in range(5):
            abort(step)
    upstream.poll(settled, what="the end of the exchanges")
    upstream.poll(lambda: state(logins)[0] <= before[0], what=lambda: f"{before[0]} descriptors, not {state(logins)[0]}")
    assert state(logins)[1] - before[1] < 4 << 20, (before, state(logins))


def test_exchange_that_is_killed_costs_one_login(logins):
    context = wire.tls_context(logins.pki, certificate=False)
    (main,) = logins.pids("virtgate-sasl")
    with logins.connect(context=context) as victim, logins.connect(context=context) as other:
        exchange = first()
        assert victim.ask(sasl.INIT).status == wire.OK
        _, challenge = sasl.read_answer(victim.ask(sasl.START, sasl.start_args("SCRAM-SHA-256", exchange.first())))
        (child,) = set(logins.pids("virtgate-sasl")) - {main}
        os.kill(child, 9)
        assert victim.ask(sasl.STEP, sasl.token(exchange.final(challenge))).error()[0] == sasl.AUTH_FAILED
        assert sasl.log_in(other, "alice", PASSWORD) is None
        assert sasl.log_in(victim, "alice", PASSWORD) is None
    assert logins.pids("virtgate-sasl")[0] == main


def test_sasl_process_that_is_killed_is_started_again(logins):
    context = wire.tls_context(logins.pki, certificate=False)
    (main,) = logins.pids("virtgate-sasl")
    os.kill(main, 9)
    upstream.poll(lambda: logins.pids("virtgate-sasl") not in ([], [main]), what="a new virtgate-sasl")

    def works():
        with logins.connect(context=context) as client:
            return sasl.log_in(client, "alice", PASSWORD) is None

    upstream.poll(works, what="a login")


@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
def test_no_byte_of_the_password_is_in_a_gate(logins):
    """With SCRAM the gate never sees it. The positive control is PLAIN, which gives it to the gate and to the
    exchange's process by design, and is off unless it is configured.
    """
    wanted = {
        "password": PASSWORD.encode(),
        "in base64": base64.b64encode(PASSWORD.encode()),
        "as libvirt sends it": sasl.characters(PASSWORD.encode()),
    }
    context = wire.tls_context(logins.pki, certificate=False)
    for _ in range(20):
        with logins.connect(context=context) as client:
            assert sasl.log_in(client, "alice", PASSWORD) is None
    names = ("virtgate-netd", "virtgate-gate", "virtgate-doorman", "virtgate-workerd", "virtgate-worker", "virtgate-sasl")
    for name in names:
        for pid in logins.pids(name):
            assert scan(pid, wanted) == set(), f"in {name}"
    # The control: the same scan finds the password where it has to be.
    with logins.connect(context=context) as client:
        assert client.ask(sasl.INIT).status == wire.OK
        plain = b"\0alice\0" + PASSWORD.encode()
        assert sasl.read_answer(client.ask(sasl.START, sasl.start_args("PLAIN", plain)))[0]
        found = {name for pid in logins.pids("virtgate-gate") for name in scan(pid, wanted)}
        assert found, "the scan does not find a password that is there"


@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
def test_verifiers_stay_behind_doorman(logins):
    """The stored keys of the users' file are in the process of an exchange (the control), and nowhere else."""
    line = next(x for x in (logins.directory / "etc/users").read_text().splitlines() if x.startswith("alice"))
    keys = line.split("SCRAM-SHA-256$")[1].split()[0].split("$")[1]
    wanted = {"stored key": keys.split(":")[0].encode(), "raw": base64.b64decode(keys.split(":")[0])}
    context = wire.tls_context(logins.pki, certificate=False)
    with logins.connect(context=context) as client:
        exchange = first()
        assert client.ask(sasl.INIT).status == wire.OK
        sasl.read_answer(client.ask(sasl.START, sasl.start_args("SCRAM-SHA-256", exchange.first())))
        (child,) = logins.pids("virtgate-sasl")[1:]
        assert scan(child, wanted), "the scan does not find the key where it is used"
        for name in ("virtgate-gate", "virtgate-doorman", "virtgate-netd", "virtgate-keeper"):
            for pid in logins.pids(name):
                assert scan(pid, wanted) == set(), f"in {name}"


def test_long_frames_of_strangers_are_bounded(logins):
    """200 clients that each begin the longest frame cost a bounded amount, and others still log in."""
    context = wire.tls_context(logins.pki, certificate=False)
    before = sum(processes.resident(pid) for pid in logins.pids("virtgate-gate"))
    head = wire.u32(28 + 2048 + 4 * 61_440) + wire.call(sasl.START).pack()[4:]
    clients = []
    for i in range(200):
        try:
            client = logins.connect(context=context, source=f"127.0.1.{1 + i // 20}")
            client.send(head + bytes(100_000))
            clients.append(client)
        except wire.Closed:
            pass
    grown = sum(processes.resident(pid) for pid in logins.pids("virtgate-gate")) - before
    with logins.connect(context=context) as other:
        assert sasl.log_in(other, "alice", PASSWORD) is None
    for client in clients:
        client.close()
    assert grown < 110 << 20, f"the gates grew by {grown >> 20} MiB"
