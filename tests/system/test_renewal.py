# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_renewal - certificates and revocation lists change under load, and nobody is dropped who may stay."""

import os
import shutil
import signal
import threading
import time

import pytest

from vgtest import certificates, fixtures, upstream, wire
from vgtest.clients import attempt, run

CLIENTS = 100


@pytest.fixture(scope="module")
def renewing(scratch, running_suite):
    """A suite whose certificate files may be changed, with a revocation list."""
    directory = scratch / "renewing"
    fresh = running_suite.sibling(directory)
    ca = certificates.Authority(directory / "pki/ca/cacert.pem", directory / "pki/ca/cakey.pem", scratch / "renewals")
    crl = directory / "list.pem"
    ca.write_crl(crl, [])
    fresh.settings["netd.tls.crl"] = f'"{crl}"'
    with fresh:
        yield fresh, ca, crl


def serving(gate):
    """How often netd has said that it serves."""
    return gate.log().count("serving TLS on")


def await_serving(gate, before):
    upstream.poll(lambda: serving(gate) > before, what=lambda: f"a reload; log:\n{gate.log()[-2000:]}")


def server_serial(gate):
    with gate.connect() as client:
        return client.sock.getpeercert()["serialNumber"]


class Load:
    """Clients that call without a pause, each in a thread. `lost` has what went wrong."""

    def __init__(self, gate, count):
        self.clients = [gate.open("test:///default") for _ in range(count)]
        self.stop, self.lost, self.calls = threading.Event(), [], 0
        self.threads = [threading.Thread(target=self.run, args=(c,), daemon=True) for c in self.clients]
        for thread in self.threads:
            thread.start()

    def run(self, client):
        try:
            while not self.stop.is_set():
                answer = client.ask(wire.GET_TYPE)
                assert answer.status == wire.OK
                self.calls += 1
                time.sleep(0.05)
        except (wire.Closed, TimeoutError, AssertionError) as error:
            self.lost.append(repr(error))

    def finish(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(30)
        for client in self.clients:
            client.close()
        return self.lost


def replace_server(gate, ca, subject="/O=virtgate up/CN=localhost", **dates):
    """A new key and certificate, written one after the other as tools do."""
    certificate, key = ca.issue(subject, "server", **dates)
    server = gate.directory / "pki/server"
    for source, name in ((certificate, "servercert.pem"), (key, "serverkey.pem")):
        target = (server / name).resolve()
        shutil.copy(source, target.with_suffix(".new"))
        target.with_suffix(".new").chmod(0o600)
        os.replace(target.with_suffix(".new"), target)
        time.sleep(0.05)


def test_hundred_clients_do_not_notice_a_new_certificate(renewing):
    gate, ca, _ = renewing
    load = Load(gate, CLIENTS)
    before, old = serving(gate), server_serial(gate)
    replace_server(gate, ca)
    await_serving(gate, before)
    assert server_serial(gate) != old
    time.sleep(0.5)
    # And a reload that somebody asks for.
    before = serving(gate)
    os.kill(gate.pids("virtgate-netd")[0], signal.SIGHUP)
    await_serving(gate, before)
    assert load.finish() == [] and load.calls > CLIENTS
    assert run("virsh", "-q", "-c", gate.uri(), "list", "--name").strip() == "test"


@pytest.mark.parametrize(
    "kind, words",
    [
        ("of another key", "does not belong to the server's certificate"),
        ("expired", "has expired"),
        ("not PEM", "is not a PEM file"),
        ("a CA's", "it is a CA's certificate"),
    ],
)
def test_broken_certificate_leaves_the_old_one_in_force(renewing, kind, words):
    gate, ca, _ = renewing
    path = (gate.directory / "pki/server/servercert.pem").resolve()
    key = (gate.directory / "pki/server/serverkey.pem").resolve()
    kept = path.read_bytes(), key.read_bytes()
    old, mark = server_serial(gate), len(gate.log())
    with gate.open("test:///default") as client:
        if kind == "of another key":
            path.write_bytes(ca.issue("/CN=localhost", "server")[0].read_bytes())
        elif kind == "expired":
            replace_server(gate, ca, start="20200101000000Z", end="20200201000000Z")
        elif kind == "not PEM":
            path.write_bytes(b"garbage")
        else:
            shutil.copy(ca.certificate, path)
            key.write_bytes(ca.key.read_bytes())
        try:
            upstream.poll(lambda: words in gate.log()[mark:], what=lambda: gate.log()[mark:])
            said = [line for line in gate.log()[mark:].splitlines() if words in line]
            assert any(str(path.parent) in line or "pki/server" in line for line in said), said
            assert server_serial(gate) == old
            assert client.ask(wire.GET_TYPE).status == wire.OK
        finally:
            before = serving(gate)
            path.write_bytes(kept[0])
            key.write_bytes(kept[1])
            await_serving(gate, before)
    assert server_serial(gate) == old


def test_sessions_of_a_revoked_certificate_end_and_others_stay(renewing):
    gate, ca, crl = renewing
    gate.add_policy(
        "20-visitors.toml",
        '[identity.visitors]\nx509 = { O = "Visitors" }\n[[binding]]\nidentity = "visitors"\nrole = "admin"\n',
    )
    marks = gate.log().count("identities in force")
    os.kill(gate.pids("virtgate-workerd")[0], signal.SIGHUP)
    upstream.poll(lambda: gate.log().count("identities in force") > marks, what="the new policy")
    good, bad = (ca.issue(f"/O=Visitors/CN={name}") for name in ("good", "bad"))
    with gate.connect(context=wire.tls_context(gate.pki, good)) as stays, gate.connect(
        context=wire.tls_context(gate.pki, bad)
    ) as goes:
        stays.open("test:///default")
        goes.open(fixtures.RECORDED)
        before = serving(gate)
        ca.write_crl(crl, [bad[0]])
        await_serving(gate, before)
        assert all(frame.type != wire.CALL for frame in goes.rest())
        assert stays.ask(wire.GET_TYPE).status == wire.OK
        with pytest.raises(wire.Closed):
            gate.connect(context=wire.tls_context(gate.pki, bad))
        gate.connect(context=wire.tls_context(gate.pki, good)).close()
    upstream.await_log(gate, "revoked")


def test_revocation_list_that_is_broken_changes_nothing(renewing):
    gate, ca, crl = renewing
    kept, mark = crl.read_bytes(), len(gate.log())
    with gate.open("test:///default") as client:
        crl.write_bytes(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
        upstream.poll(lambda: "the reload failed" in gate.log()[mark:], what=lambda: gate.log()[mark:])
        upstream.await_log(gate, "list.pem", mark)
        assert client.ask(wire.GET_TYPE).status == wire.OK
        gate.connect().close()
        before = serving(gate)
        crl.write_bytes(kept)
        await_serving(gate, before)
    assert attempt("virsh", "-q", "-c", gate.uri(), "list").returncode == 0
