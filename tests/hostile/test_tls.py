# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_tls - what is not TLS 1.3 with a good certificate gets no byte of the protocol."""

import os
import random
import ssl
import subprocess
import threading
import time

import pytest

from vgtest import wire
from vgtest.session import Session

GARBAGE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "RPC in clear": wire.call(wire.AUTH_LIST).pack(),
    "random bytes": random.Random(7).randbytes(4096),
    "zeros": bytes(4096),
    "a TLS alert": bytes.fromhex("15030300020228"),
    "a TLS record that is too long": bytes.fromhex("160303ffff") + bytes(5000),
    "application data first": bytes.fromhex("1703030010") + bytes(16),
    "SSL 2": bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + bytes(16),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_closed_and_gets_nothing_but_an_alert(gate, back, data):
    with wire.connect_tcp(gate.port) as sock:
        sock.settimeout(wire.PATIENCE)
        sock.sendall(data)
        answer = bytearray()
        try:
            while piece := sock.recv(4096):
                answer += piece
        except ConnectionError:
            pass
        assert answer == b"" or answer[0] == 0x15, f"answered {bytes(answer[:40]).hex()}"
        assert len(answer) < 32


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2])
def test_older_tls_is_refused(gate, newest):
    context = wire.tls_context(gate.pki, newest=newest)
    with pytest.raises(wire.Closed):
        wire.connect_tls(gate.port, context)


def test_version_is_1_3(gate):
    with gate.connect() as client:
        assert client.sock.version() == "TLSv1.3"


def refused(gate, **arguments):
    """The gate must close before the confirmation byte, whatever the handshake itself said."""
    with pytest.raises(wire.Closed):
        wire.connect_tls(gate.port, wire.tls_context(gate.pki, **arguments)).close()


def test_client_without_a_certificate(gate):
    refused(gate, certificate=())


def test_certificate_of_another_ca(gate, foreign_authority):
    refused(gate, certificate=foreign_authority.issue("/CN=virtgate demo client"))


def test_same_subject_from_another_ca(gate, foreign_authority):
    refused(gate, certificate=foreign_authority.issue(own_subject(gate)))


def test_expired_certificate(gate, authority):
    refused(
        gate, certificate=authority.issue(own_subject(gate), start="20200101000000Z", end="20210101000000Z")
    )


def test_certificate_that_is_not_valid_yet(gate, authority):
    refused(
        gate, certificate=authority.issue(own_subject(gate), start="20900101000000Z", end="20910101000000Z")
    )


def test_certificate_that_is_for_servers_only(gate, authority):
    """libvirt takes the purpose as binding only where it is marked critical, and so do we."""
    refused(gate, certificate=authority.issue(own_subject(gate), kind="nothing but a server"))


def own_subject(gate):
    """The subject of the suite's client certificate in openssl's /X=Y form."""
    text = subprocess.run(
        [
            "openssl",
            "x509",
            "-in",
            str(gate.pki / "clientcert.pem"),
            "-noout",
            "-subject",
            "-nameopt",
            "sep_multiline,sname,lname",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    parts = [line.strip() for line in text.splitlines() if "=" in line and not line.startswith("subject=")]
    return "/" + "/".join(parts)


def test_same_subject_from_the_right_ca_is_accepted(gate, authority):
    """The control of the tests above: a new certificate with that subject is served."""
    wire.connect_tls(
        gate.port, wire.tls_context(gate.pki, certificate=authority.issue(own_subject(gate)))
    ).close()


def test_unknown_identity_is_refused_before_the_confirmation(gate, back, authority):
    refused(gate, certificate=authority.issue("/O=Nobody/CN=mallory"))
    assert back.bytes() == b""


@pytest.mark.parametrize(
    "subject",
    [
        "/O={o}/CN=x,CN={cn}",
        "/CN=O={o},CN={cn}",
        "/O={o}\\/CN={cn}",
        "/O={o}/CN={cn} ",
        "/O={o}/CN={cn}/CN=mallory",
        "/O={o}/OU={cn}/CN=mallory",
        "/O={o}/CN=*",
        "/O=Elsewhere/CN={cn}",
        "/CN={cn}",
    ],
)
def test_names_that_look_like_the_known_one(gate, authority, subject):
    """libvirt matches globs over one flat string, where CN=x\\,CN=admin looks like CN=admin."""
    names = dict(part.split("=") for part in own_subject(gate).strip("/").split("/"))
    refused(
        gate,
        certificate=authority.issue(subject.format(o=names["organizationName"], cn=names["commonName"])),
    )


def test_handshake_then_silence_is_not_a_session(gate, back):
    with gate.connect(confirm=False) as client:
        assert client.receive_byte() == 1
        assert back.bytes() == b""


def test_end_inside_the_first_flight(gate, back):
    """50 clients leave before, inside and behind their ClientHello."""
    for turn in range(50):
        sock = wire.connect_tcp(gate.port)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        half = context.wrap_bio(incoming, outgoing)
        with pytest.raises(ssl.SSLWantReadError):
            half.do_handshake()
        hello = outgoing.read()
        sock.sendall(hello[: len(hello) - turn])
        sock.close()
    with Session(gate, back) as session:
        assert session.passed() == []


def test_records_of_any_size(gate, back):
    """300 calls in TLS records of 1 to 16384 bytes."""
    with Session(gate, back) as session:
        rng = random.Random(3)
        calls = [
            wire.call(wire.LOOKUP_BY_NAME, wire.string("n" * rng.randrange(2000)), n) for n in range(300)
        ]
        data = b"".join(c.pack() for c in calls)
        while data:
            size = rng.randrange(1, 30_000)
            session.client.send(data[:size])
            data = data[size:]
        assert sorted(session.client.receive().serial for _ in calls) == list(range(300))
        assert session.passed() == calls


def test_client_that_updates_its_keys(gate):
    """openssl's client sends a key update when a line begins with K (and asks for the server's) or k."""
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{gate.port}",
        "-servername",
        "localhost",
        "-brief",
    ]
    command += [
        "-CAfile",
        gate.pki / "cacert.pem",
        "-cert",
        gate.pki / "clientcert.pem",
        "-key",
        gate.pki / "clientkey.pem",
    ]
    client = subprocess.Popen(
        list(map(str, command)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    watchdog = threading.Timer(20, client.kill)
    watchdog.start()
    try:
        assert client.stdout.read(1) == b"\x01"
        for word in (b"", b"K\n", b"k\n", b"K\n"):
            if word:
                client.stdin.write(word)
                time.sleep(0.2)  # openssl takes a line for a command only if it comes alone
            client.stdin.write(wire.call(wire.AUTH_LIST, b"", 7).pack())
            reply = b""
            while len(reply) < 36:
                piece = client.stdout.read(36 - len(reply))
                assert piece, client.stderr.read().decode()
                reply += piece
            assert wire.unpack(reply).serial == 7
    finally:
        watchdog.cancel()
        client.kill()
        said = client.communicate()[1]
    assert said.count(b"KEYUPDATE") == 3


def test_private_key_of_the_server_is_readable_by_its_owner_only(gate):
    keys = [p for p in (gate.directory / "pki").rglob("*key*.pem")]
    assert len(keys) >= 3
    for path in keys:
        assert path.stat().st_mode & 0o077 == 0, f"{path} may be read by others"
        assert path.stat().st_uid == os.geteuid() or os.geteuid() == 0
