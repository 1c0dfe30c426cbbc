# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_gssapi - Kerberos over TLS, plain TCP and the UNIX socket; plain TCP only with a layer that encrypts.

A throwaway KDC, virsh with Cyrus SASL's own client side, and a private libvirtd behind the suite.
"""

import re
import socket
import subprocess
import threading
import time

import pytest

from vgtest import kdc, suite, upstream, wire
from vgtest.clients import ENVIRONMENT, attempt, run

EX_CONFIG = 78
SIZE = 6_000_011  # bytes of the volume: many pieces of every layer, and not a multiple of any
MARK = b"virtgate-test: these bytes cross a layer that encrypts. "

POLICY = """
[identity.{name}]
{rule}

[[binding]]
identity = "{name}"
role = "admin"
"""
EVERY_TICKET = f'sasl = "glob:*@{kdc.REALM}"\nmechanism = ["GSSAPI"]'
ALICE = f'sasl = "alice@{kdc.REALM}"\nmechanism = ["GSSAPI"]'
PASSWORD = "correct horse: battery"
AUTH_FILE = """[credentials-test]
authname={user}
password={password}

[auth-libvirt-localhost]
credentials=test
"""


@pytest.fixture(scope="module")
def realm(scratch):
    assert not kdc.missing(), f"not installed: {kdc.missing()}"
    with kdc.Kdc(scratch / "kdc") as started:
        yield started


@pytest.fixture(scope="module")
def alice(realm):
    return realm.login("alice")


@pytest.fixture(scope="module")
def bob(realm):
    return realm.login("bob")


def kerberos_settings(realm):
    """Kerberos for every listener; nobody is let in by a certificate or as a user of this machine."""
    return {
        "netd.tls.authentication": '"sasl"',
        "netd.tcp.enabled": "true",
        "netd.unix.authentication": '"sasl"',
        "netd.sasl.mechanisms": '["GSSAPI"]',
        "netd.sasl.keytab": f'"{realm.keytab}"',
        "netd.sasl.host_name": '"localhost"',
    }


@pytest.fixture(scope="module")
def kerberised(scratch, running_suite, realm):
    """A suite that whoever has a ticket of the realm may use."""
    made = running_suite.sibling(scratch / "kerberised", kerberos_settings(realm))
    made.add_policy("10-local.toml", POLICY.format(name="everybody", rule=EVERY_TICKET))
    with made:
        yield made


@pytest.fixture(scope="module")
def choosy(scratch, running_suite, realm):
    """A suite that has an identity for alice's ticket alone."""
    made = running_suite.sibling(scratch / "choosy", kerberos_settings(realm))
    made.add_policy("10-local.toml", POLICY.format(name="alice", rule=ALICE))
    with made:
        yield made


def uris(server):
    return {"tls": server.uri(), "tcp": server.tcp_uri(), "unix": server.local_uri()}


def list_domains(uri, ticket=None):
    return attempt("virsh", "-q", "-c", uri, "list", "--name", environment=ticket)


@pytest.mark.parametrize("way", ["tls", "tcp", "unix"])
def test_virsh_logs_in_with_a_ticket(kerberised, alice, way):
    done = list_domains(uris(kerberised)[way], alice)
    assert done.stdout.strip() == "test", f"{done.stderr}\n{kerberised.log()[-3000:]}"


@pytest.mark.parametrize("way", ["tls", "tcp", "unix"])
def test_without_a_ticket_nobody_comes_in(kerberised, realm, scratch, way):
    nobody = {**realm.environment, "KRB5CCNAME": f"FILE:{scratch}/no.ccache"}
    refused = list_domains(uris(kerberised)[way], nobody)
    assert refused.returncode == 1 and "authentication failed" in refused.stderr, refused.stderr


def test_certificate_does_not_replace_the_ticket(kerberised):
    """This listener wants SASL: the certificate that lets a client into other suites is not asked for."""
    with kerberised.connect() as client:
        refused = client.ask(wire.CONNECT_OPEN, wire.open_args("test:///default", 0))
        assert refused.status == wire.ERROR


@pytest.mark.parametrize("way", ["tls", "tcp", "unix"])
def test_policy_lets_one_principal_in_and_refuses_another(choosy, alice, bob, way):
    accepted, refused = (list_domains(uris(choosy)[way], ticket) for ticket in (alice, bob))
    assert accepted.stdout.strip() == "test", f"{accepted.stderr}\n{choosy.log()[-3000:]}"
    assert refused.returncode == 1 and not refused.stdout.strip(), refused.stdout
    upstream.poll(
        lambda: re.search(rf"bob@{re.escape(kdc.REALM)}", choosy.log()), what="a line about bob in the log"
    )


class Wiretap(threading.Thread):
    """Between one client and a TCP port of ours: `sent` by the client, and `received`."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.listener, self.target = socket.create_server(("127.0.0.1", 0)), port
        self.port, self.ends = self.listener.getsockname()[1], []
        self.sent, self.received = bytearray(), bytearray()

    def run(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return  # nobody came
        server = socket.create_connection(("127.0.0.1", self.target))
        self.ends = [client, server]
        way_back = threading.Thread(target=self._carry, args=(server, client, self.received), daemon=True)
        way_back.start()
        self._carry(client, server, self.sent)
        way_back.join()

    def _carry(self, source, sink, record):
        try:
            while data := source.recv(1 << 16):
                record += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in self.ends:
                end.shutdown(socket.SHUT_RDWR)

    def uri(self, scheme="test", path="/default", more=""):
        return f"{scheme}+tcp://localhost:{self.port}{path}{more}"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join(20)
        for end in self.ends:
            end.close()
        assert not self.is_alive(), "a connection through the wiretap did not end"


@pytest.fixture
def pool(private_libvirtd):
    """The name of a directory pool of the real storage driver, made and ended without virtgate."""
    uri = f"storage+unix:///session?socket={private_libvirtd.socket}"
    name = f"vgt{time.monotonic_ns()}"
    run("virsh", "-q", "-c", uri, "pool-create-as", name, "dir", "--target", private_libvirtd.storage)
    yield name
    run("virsh", "-q", "-c", uri, "pool-destroy", name)


def move_volume(server, pool, tmp_path, more="", ticket=None):
    """A volume goes up and down over plain TCP: its bytes come back, and the wire shows none of them."""
    data = (MARK * (SIZE // len(MARK) + 1))[:SIZE]
    (tmp_path / "up").write_bytes(data)
    for words in (
        ["vol-create-as", pool, "volume", str(SIZE)],
        ["vol-upload", "volume", tmp_path / "up", "--pool", pool],
        ["vol-download", "volume", tmp_path / "down", "--pool", pool],
        ["vol-delete", "volume", "--pool", pool],
    ):
        with Wiretap(server.tcp_port) as tap:
            uri = tap.uri("storage", "/session", more)
            run("virsh", "-q", "-c", uri, *words, patience=60, environment=ticket)
        moved = {"vol-upload": tap.sent, "vol-download": tap.received}.get(words[0])
        assert moved is None or len(moved) > SIZE and MARK not in moved
    assert (tmp_path / "down").read_bytes()[:SIZE] == data


def test_wiretap_sees_what_is_not_encrypted(private_libvirtd, tmp_path):
    """The positive control of the tests with it: a clear connection shows the bytes that cross it."""
    with socket.create_server(("127.0.0.1", 0)) as target, Wiretap(target.getsockname()[1]) as tap:
        with socket.create_connection(("127.0.0.1", tap.port)) as client:
            client.sendall(MARK)
            with target.accept()[0] as server:
                server.sendall(server.recv(len(MARK)).upper())
                assert client.recv(len(MARK)) == MARK.upper()
    assert tap.sent == MARK and tap.received == MARK.upper()


def test_volume_over_the_layer_of_gssapi(kerberised, alice, pool, tmp_path):
    move_volume(kerberised, pool, tmp_path, ticket=alice)


def test_each_session_over_plain_tcp_has_a_process_for_its_layer(kerberised, alice):
    """That is gone when its session is."""
    before = len(kerberised.pids("virtgate-sasl"))
    wait = ["event", "test", "--event", "lifecycle", "--timeout", "3"]
    several = [
        subprocess.Popen(
            ["virsh", "-q", "-c", kerberised.tcp_uri(), *wait],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**ENVIRONMENT, **alice},
            text=True,
        )
        for _ in range(8)
    ]
    try:
        upstream.poll(
            lambda: len(kerberised.pids("virtgate-sasl")) >= before + len(several), 20, "eight layers at once"
        )
    finally:
        ends = [process.communicate(timeout=30)[0] for process in several]
    assert all("timed out" in end for end in ends), ends
    upstream.poll(
        lambda: len(kerberised.pids("virtgate-sasl")) == before, 20, "the end of the layers' processes"
    )


def test_a_recorded_login_opens_nothing(kerberised, alice):
    """The bytes of a good login over plain TCP, sent once more by somebody else."""
    with Wiretap(kerberised.tcp_port) as tap:
        run("virsh", "-q", "-c", tap.uri(), "list", environment=alice)
    with wire.Client(wire.connect_tcp(kerberised.tcp_port)) as thief:
        thief.send(bytes(tap.sent))
        frames = thief.rest()
    assert frames and frames[-1].status == wire.ERROR, frames
    assert not any(frame.proc == wire.CONNECT_OPEN for frame in frames), frames


# --- DIGEST-MD5 over plain TCP ---


@pytest.fixture(scope="module")
def sasldb(scratch):
    """A database of Cyrus SASL with one user."""
    path = scratch / "sasldb2"
    command = ["saslpasswd2", "-p", "-c", "-f", path, "-a", "libvirt", "-u", "localhost", "carol"]
    done = attempt(*command, stdin=PASSWORD)
    assert done.returncode == 0, done.stderr
    path.chmod(0o644)
    return path


@pytest.fixture(scope="module")
def users(scratch):
    """A file of `virtgate passwd` with the same user."""
    path = scratch / "users"
    command = [
        suite.BUILD / "virtgate",
        "passwd",
        "set",
        "--file",
        path,
        "--stdin",
        "--digest-md5",
        "localhost",
    ]
    done = attempt(*command, "carol", stdin=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module", params=["users", "sasldb"])
def digesting(scratch, running_suite, request):
    """A suite with DIGEST-MD5 over plain TCP, and its passwords in each kind of database."""
    kind = request.param
    made = running_suite.sibling(
        scratch / f"digesting-{kind}",
        {
            "netd.tcp.enabled": "true",
            "netd.sasl.mechanisms": '["SCRAM-SHA-256", "DIGEST-MD5"]',
            f"netd.sasl.{kind}": f'"{request.getfixturevalue(kind)}"',
            "netd.sasl.host_name": '"localhost"',
            "netd.sasl.realm": '"localhost"',
            **({"netd.sasl.users": '""'} if kind == "sasldb" else {}),
        },
    )
    rule = 'sasl = "glob:carol*"\nmechanism = ["DIGEST-MD5"]\nrequire = { ssf = 128 }'
    made.add_policy("10-local.toml", POLICY.format(name="carol", rule=rule))
    with made:
        yield made


def auth_file(path, password=PASSWORD):
    path.write_text(AUTH_FILE.format(user="carol", password=password))
    return f"?authfile={path}"


def test_digest_md5_over_tcp_with_a_layer_of_128_bits(digesting, pool, tmp_path):
    more = auth_file(tmp_path / "auth.conf")
    done = list_domains(digesting.tcp_uri(more=more))
    assert done.stdout.strip() == "test", f"{done.stderr}\n{digesting.log()[-3000:]}"
    move_volume(digesting, pool, tmp_path, more)


def test_wrong_password_over_tcp(digesting, tmp_path):
    refused = list_domains(digesting.tcp_uri(more=auth_file(tmp_path / "auth.conf", "wrong")))
    assert refused.returncode == 1 and "authentication failed" in refused.stderr, refused.stderr


# --- plain TCP that netd does not start with ---


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"netd.tcp.authentication": '"none"'}, "without authentication"),
        ({"netd.sasl.mechanisms": '["SCRAM-SHA-256"]'}, "SASL mechanisms can encrypt"),
        ({"netd.sasl.mechanisms": '["SCRAM-SHA-512", "PLAIN"]'}, "SASL mechanisms can encrypt"),
        ({"netd.tcp.min_strength": "0"}, "min_strength"),
    ],
    ids=["none", "scram", "plain", "strength"],
)
def test_plain_tcp_without_encryption_does_not_start(scratch, running_suite, settings, words, request):
    directory = scratch / f"refused-{request.node.callspec.id}"
    made = running_suite.sibling(directory, {"netd.tcp.enabled": "true", **settings})
    with pytest.raises(AssertionError, match="ended"):
        made.start()
    assert made.process.wait(10) == EX_CONFIG, made.log()
    assert words in made.log()
    assert not made.ready.exists()
