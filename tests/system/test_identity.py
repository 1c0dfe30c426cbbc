# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_identity - who comes in is decided by the policy before the confirmation byte."""

import os

import pytest

from vgtest import fixtures, suite, upstream, wire
from vgtest.clients import attempt

POLICY = """
[identity.{name}]
x509 = {{ CN = "{cn}", O = "{o}" }}

[[binding]]
identity = "{name}"
role = "admin"
"""


def list_domains(uri):
    return attempt("virsh", "-q", "-c", uri, "list", "--name")


def test_certificate_without_an_identity_is_refused(gate, authority, scratch):
    pki = authority.pkipath(scratch / "unknown-pki", "/O=Visitors/CN=visitor")
    with pytest.raises(wire.Closed):
        wire.connect_tls(gate.port, wire.tls_context(pki))
    refused = list_domains(gate.uri(pki=pki))
    assert refused.returncode == 1 and "failed to connect" in refused.stderr


def test_refusal_is_logged_with_the_name_that_was_refused(gate, authority):
    with pytest.raises(wire.Closed):
        wire.connect_tls(
            gate.port, wire.tls_context(gate.pki, authority.issue("/O=Visitors/CN=logged visitor"))
        )
    upstream.poll(
        lambda: "logged visitor" in gate.log(), what="a line in the log that names the refused client"
    )


def test_control_characters_of_a_name_cannot_forge_log_lines(gate, authority):
    before = len(gate.log().splitlines())
    with pytest.raises(wire.Closed):
        wire.connect_tls(
            gate.port, wire.tls_context(gate.pki, authority.issue("/O=Visitors/CN=evil\nforged: line"))
        )
    with pytest.raises(wire.Closed):
        wire.connect_tls(gate.port, wire.tls_context(gate.pki, authority.issue("/O=Visitors/CN=after evil")))
    upstream.poll(lambda: "after evil" in gate.log())
    assert not any(line.startswith("forged") for line in gate.log().splitlines()[before:])


def test_certificate_with_an_identity_comes_in(scratch, running_suite, authority):
    """The same certificate, before and after a policy file names it; each identity has a worker of its
    own.
    """
    pki = authority.pkipath(scratch / "second-pki", "/O=Visitors/CN=second")
    two = running_suite.sibling(scratch / "identity")
    with two:
        assert list_domains(two.uri(pki=pki)).returncode == 1
        assert list_domains(two.uri()).returncode == 0
    two.add_policy("20-visitor.toml", POLICY.format(name="visitor", cn="second", o="Visitors"))
    with two:
        assert list_domains(two.uri(pki=pki)).stdout.strip() == "test"
        with two.open("test:///default") as first, two.connect(context=wire.tls_context(pki)) as second:
            second.open("test:///default")
            assert len(two.pids("virtgate-worker")) == 2
            assert first.ask(wire.GET_TYPE).payload == second.ask(wire.GET_TYPE).payload
        with pytest.raises(wire.Closed):
            two.connect(context=wire.tls_context(pki, authority.issue("/O=Visitors/CN=third")))


def test_error_in_the_policy_is_reported_with_its_place(scratch, running_suite):
    """A policy that does not compile lets nobody in, and the log says where it is wrong."""
    broken = running_suite.sibling(scratch / "broken-policy")
    with broken:
        pass
    broken.add_policy("30-broken.toml", '[[binding]]\nidentity = "nobody"\nrole = "admin"\n')
    try:
        with broken:
            with pytest.raises(wire.Closed):
                broken.connect()
    except AssertionError:
        pass  # not starting at all is right too
    upstream.await_log(broken, "30-broken.toml:3")


@pytest.mark.parametrize("key_type", ["rsa", "ecdsa"])
def test_libvirts_clients_accept_both_kinds_of_keys(scratch, upstreams, key_type):
    """libvirt insists on the keyEncipherment bit, which certtool leaves out for ECDSA keys."""
    with suite.Suite(scratch / f"keys-{key_type}", upstreams, key_type=key_type) as started:
        assert list_domains(started.uri()).stdout.strip() == "test"
        path = started.directory / "pki" / "server" / "servercert.pem"
        shown = attempt("openssl", "x509", "-in", path, "-noout", "-text").stdout
        assert "Key Encipherment" in shown and ("rsaEncryption" in shown) == (key_type == "rsa")


def test_daemon_is_told_whom_it_serves(gate, back):
    """CONNECT_SET_IDENTITY comes from the worker, with what doorman found out; see libvirt's own log."""
    with gate.open(fixtures.RECORDED):
        (told,) = back.wait_frames(wire.SET_IDENTITY)
    assert wire.string("x509-distinguished-name") + wire.u32(7) in told.payload
    assert b"O=virtgate up" in told.payload and b"CN=admin" in told.payload
    back.forget()
    with wire.connect_unix(gate.local_socket) as client:
        client.open(fixtures.RECORDED)
        (told,) = back.wait_frames(wire.SET_IDENTITY)
    assert wire.string("process-id") + wire.u32(3) + wire.u64(os.getpid()) in told.payload
    assert wire.string("unix-user-id") + wire.u32(4) + wire.u64(os.getuid()) in told.payload
