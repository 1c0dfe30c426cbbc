# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_sasl - users who log in with a password, over TLS and over the UNIX socket, with Debian's virsh."""

import shutil
import subprocess
import time

import pytest

from vgtest import sasl, suite, upstream, wire
from vgtest.clients import attempt, run

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def password_suite(scratch, running_suite):
    """TLS asks for a password and for no certificate; so does the UNIX socket."""
    logins = running_suite.sibling(
        scratch / "passwords",
        {
            "netd.tls.authentication": '"sasl"',
            "netd.unix.authentication": '"sasl"',
            "netd.limits.failure_delay": "0.1",
            "netd.limits.failure_delay_max": "0.1",
            "netd.limits.failures_per_source": "1000",
        },
    )
    (logins.directory / "etc" / "policy.d").mkdir(parents=True)
    logins.add_policy("20-alice.toml", sasl.POLICY.format(name="alice"))
    for name in ("alice", "stranger"):
        sasl.add_user(logins.directory / "etc" / "users", name, PASSWORD)
    with logins:
        yield logins


@pytest.fixture
def only_ca(password_suite, tmp_path):
    """A pkipath without a client certificate."""
    shutil.copy(password_suite.pki / "cacert.pem", tmp_path)
    return tmp_path


def list_domains(uri, name, password, directory):
    path = sasl.auth_file(directory / f"auth-{name}.conf", name, password)
    return attempt("virsh", "-q", "-c", f"{uri}&authfile={path}", "list", "--name")


def test_virsh_logs_in_over_tls_without_a_certificate(password_suite, only_ca):
    uri = password_suite.uri(pki=only_ca)
    assert list_domains(uri, "alice", PASSWORD, only_ca).stdout.strip() == "test"


def test_virsh_logs_in_over_the_unix_socket(password_suite, tmp_path):
    uri = f"test+unix:///default?socket={password_suite.local_socket}"
    done = list_domains(uri, "alice", PASSWORD, tmp_path)
    assert done.stdout.strip() == "test", done.stderr + password_suite.log()[-1500:]


def test_wrong_user_password_and_policy_look_the_same(password_suite, only_ca):
    uri = password_suite.uri(pki=only_ca)
    seen = set()
    for name, password in (("alice", "wrong"), ("nobody", PASSWORD), ("stranger", PASSWORD)):
        done = list_domains(uri, name, password, only_ca)
        assert done.returncode == 1
        seen.add(done.stderr)
    assert len(seen) == 1 and "authentication failed" in seen.pop()


def test_wrong_user_and_wrong_password_fail_at_the_same_step(password_suite):
    """The same replies in the same order, with a salt that stays: nothing tells who exists."""
    salts = {}
    context = wire.tls_context(password_suite.pki, certificate=False)
    for name in ("alice", "nobody"):
        for _ in range(2):
            with password_suite.connect(context=context) as client:
                exchange = sasl.Scram(name, "wrong")
                assert client.ask(sasl.INIT).status == wire.OK
                complete, challenge = sasl.read_answer(
                    client.ask(sasl.START, sasl.start_args("SCRAM-SHA-256", exchange.first()))
                )
                assert not complete
                refused = client.ask(sasl.STEP, sasl.token(exchange.final(challenge)))
                assert refused.error()[:2] == (sasl.AUTH_FAILED, 7) and refused.error()[2] == "authentication failed"
                salts.setdefault(name, set()).add((exchange.salt, exchange.iterations))
    assert all(len(found) == 1 for found in salts.values()), salts
    (alice, rounds), (nobody, other_rounds) = salts["alice"].pop(), salts["nobody"].pop()
    assert len(alice) == len(nobody) and rounds == other_rounds and alice != nobody


def test_client_may_try_again_on_the_same_connection(password_suite):
    context = wire.tls_context(password_suite.pki, certificate=False)
    with password_suite.connect(context=context) as client:
        assert client.ask(wire.AUTH_LIST).payload == wire.u32(1) + wire.u32(1)
        assert sasl.log_in(client, "alice", "wrong") is not None
        assert sasl.log_in(client, "alice", PASSWORD) is None
        assert client.ask(wire.AUTH_LIST).payload == wire.u32(1) + wire.u32(0)
        client.open("test:///default")
        assert client.ask(wire.GET_TYPE).status == wire.OK
        # It is in: a second login is refused and changes nothing.
        assert client.ask(sasl.INIT).error()[0] == sasl.AUTH_FAILED
        assert client.ask(wire.GET_TYPE).status == wire.OK


def test_after_three_failures_the_connection_is_closed(password_suite):
    context = wire.tls_context(password_suite.pki, certificate=False)
    with password_suite.connect(context=context) as client:
        for _ in range(3):
            assert sasl.log_in(client, "alice", "wrong").error()[0] == sasl.AUTH_FAILED
        assert client.rest() == []


def test_failures_are_logged_with_their_source(password_suite):
    context = wire.tls_context(password_suite.pki, certificate=False)
    with password_suite.connect(context=context) as client:
        port = client.sock.getsockname()[1]
        sasl.log_in(client, "alice", "wrong")
    upstream.await_log(password_suite, f"login failed: 127.0.0.1 port {port}, SCRAM-SHA-256")


def test_failures_are_answered_later_and_later(scratch, password_suite, running_suite):
    """And a source that fails too often is not listened to; another one is."""
    slow = running_suite.sibling(
        scratch / "slow-logins",
        {
            "netd.tls.authentication": '"sasl"',
            "netd.limits.failure_delay": "0.3",
            "netd.limits.failure_delay_max": "0.9",
            "netd.limits.failures_per_source": "3",
            "netd.limits.tries": "10",
        },
    )
    (slow.directory / "etc" / "policy.d").mkdir(parents=True)
    slow.add_policy("20-alice.toml", sasl.POLICY.format(name="alice"))
    sasl.add_user(slow.directory / "etc" / "users", "alice", PASSWORD)
    context = wire.tls_context(password_suite.pki, certificate=False)
    with slow:
        context = wire.tls_context(slow.pki, certificate=False)
        with slow.connect(context=context) as client:
            for least in (0.3, 0.6, 0.9):
                begun = time.monotonic()
                assert sasl.log_in(client, "alice", "wrong") is not None
                assert time.monotonic() - begun >= least
            refused = client.ask(sasl.INIT)
            assert refused.status == wire.OK
            first = sasl.Scram("alice", PASSWORD).first()
            assert client.ask(sasl.START, sasl.start_args("SCRAM-SHA-256", first)).error()[0] == sasl.AUTH_FAILED
        upstream.await_log(slow, "its source has failed too often")
        with slow.connect(context=context, source="127.0.0.5") as client:
            assert sasl.log_in(client, "alice", PASSWORD) is None


def test_changed_password_counts_at_once(password_suite):
    users = password_suite.directory / "etc" / "users"
    context = wire.tls_context(password_suite.pki, certificate=False)
    sasl.add_user(users, "alice", "another password")
    try:
        with password_suite.connect(context=context) as client:
            assert sasl.log_in(client, "alice", PASSWORD) is not None
            assert sasl.log_in(client, "alice", "another password") is None
    finally:
        sasl.add_user(users, "alice", PASSWORD)


def test_identity_can_ask_for_certificate_and_password(scratch, running_suite, authority, tmp_path):
    """x509+sasl: both are needed, and the policy sees both."""
    both = running_suite.sibling(
        scratch / "both", {"netd.tls.authentication": '"x509+sasl"', "netd.limits.failure_delay": "0.1"}
    )
    (both.directory / "etc" / "policy.d").mkdir(parents=True)
    both.add_policy(
        "20-both.toml",
        '[identity.both]\nx509 = { CN = "alice" }\nsasl = "alice"\n'
        '[[binding]]\nidentity = "both"\nrole = "admin"\n',
    )
    users = both.directory / "etc" / "users"
    sasl.add_user(users, "alice", PASSWORD)
    sasl.add_user(users, "bob", PASSWORD)
    with both:
        alice = wire.tls_context(both.pki, authority.issue("/O=Visitors/CN=alice"))
        bob = wire.tls_context(both.pki, authority.issue("/O=Visitors/CN=bob"))
        with pytest.raises(wire.Closed):
            both.connect(context=wire.tls_context(both.pki, certificate=False))
        for context, name, good in ((alice, "alice", True), (alice, "bob", False), (bob, "alice", False)):
            with both.connect(context=context) as client:
                assert (sasl.log_in(client, name, PASSWORD) is None) == good, (name, both.log()[-2000:])


def test_certificate_or_password(scratch, running_suite, authority, tmp_path):
    """x509-or-sasl: whom the policy knows by the certificate is in at once; others log in; a certificate that is
    bad stays bad.
    """
    either = running_suite.sibling(
        scratch / "either", {"netd.tls.authentication": '"x509-or-sasl"', "netd.limits.failure_delay": "0.1"}
    )
    (either.directory / "etc" / "policy.d").mkdir(parents=True)
    either.add_policy("20-alice.toml", sasl.POLICY.format(name="alice"))
    sasl.add_user(either.directory / "etc" / "users", "alice", PASSWORD)
    with either:
        assert attempt("virsh", "-q", "-c", either.uri(), "list", "--name").stdout.strip() == "test"
        shutil.copy(either.pki / "cacert.pem", tmp_path)
        assert list_domains(either.uri(pki=tmp_path), "alice", PASSWORD, tmp_path).stdout.strip() == "test"
        unknown = wire.tls_context(either.pki, authority.issue("/O=Visitors/CN=somebody"))
        with either.connect(context=unknown) as client:
            assert sasl.log_in(client, "alice", PASSWORD) is None
        expired = authority.issue("/O=Visitors/CN=late", start="20200101000000Z", end="20200201000000Z")
        with pytest.raises(wire.Closed):
            either.connect(context=wire.tls_context(either.pki, expired))


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"netd.tcp.enabled": "true", "netd.tcp.authentication": '"none"'}, "has to be \"sasl\""),
        ({"netd.tcp.enabled": "true"}, "can encrypt"),
        ({"netd.tls.authentication": '"none"'}, "has to be one of"),
        ({"netd.sasl.mechanisms": '["SCRAM-SHA256"]'}, 'did you mean "SCRAM-SHA-256"?'),
    ],
)
def test_listener_that_would_let_everybody_in_is_refused(scratch, running_suite, settings, words):
    wrong = running_suite.sibling(scratch / f"refused-{len(list(scratch.iterdir()))}", settings)
    command = [str(suite.BUILD / "virtgate"), "up", "--dir", str(wrong.directory), "--tls-port", "0"]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 78, (done.returncode, done.stderr[-2000:])
    assert words in done.stderr + done.stdout, done.stderr[-2000:]


def test_exchange_processes_end(password_suite):
    context = wire.tls_context(password_suite.pki, certificate=False)
    (main,) = password_suite.pids("virtgate-sasl")[:1]
    for _ in range(5):
        with password_suite.connect(context=context) as client:
            assert sasl.log_in(client, "alice", PASSWORD) is None
    upstream.poll(
        lambda: password_suite.pids("virtgate-sasl") == [main], what="the end of the exchanges' processes"
    )
    assert run("virsh", "--version")
