# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_stories - what users of remote libvirt ask for, each as one test with real clients.

Some stories have had their tests before, and are told here by name only:
* a certificate is renewed under a hundred clients, a broken one changes nothing: test_renewal
* unmodified clients of several languages: test_virsh, test_go_libvirt, test_bindings
* a wrong certificate gives one line with the reason: test_identity, test_pki
"""

import datetime
import re
import resource
import shlex
import shutil

import pytest

from vgtest import guarded, sasl, upstream, wire
from vgtest.clients import attempt

DOMAINS = {
    "acme-web": "7a0bb41b-68b2-4683-84e5-9502892bea09",
    "acme-db": "7a0bb41b-68b2-4683-84e5-9502892bea0a",
    "other": "7a0bb41b-68b2-4683-84e5-9502892bea0b",
}
PASSWORD = "correct horse battery"
POLICY = """[role.monitor]
allow = ["@read-only", "@events"]
audit = "denied"
limits = { calls_per_second = 20, burst = 20 }

[role.console]
allow = ["@connect-basic", "proc:remote.DOMAIN_LOOKUP_BY_NAME", "proc:remote.DOMAIN_GET_STATE", "proc:remote.DOMAIN_GET_INFO", "@console"]
limits = { concurrent_streams = 1 }
audit = "all"

[identity.monitor]
any = [{ x509 = { CN = "monitor" } }, { sasl = "monitor" }]
[identity.alice]
x509 = { CN = "alice" }
[identity.boss]
x509 = { CN = "boss" }

[[binding]]
identity = "monitor"
role = "monitor"
objects = { domain = ["glob:*"], network = ["glob:*"], pool = ["glob:*"] }
[[binding]]
identity = "alice"
role = "console"
objects = { domain = ["acme-web"] }
[[binding]]
identity = "boss"
role = "admin"
"""
NUM_OF_DOMAINS, IDLE, CALLS = 51, 5000, 50


@pytest.fixture(scope="module")
def house(guard):
    """Three identities before the test driver with three domains; TLS takes a certificate or a password."""
    made = guard(
        "stories",
        POLICY,
        node=guarded.domains_xml(DOMAINS),
        settings={"netd.tls.authentication": '"x509-or-sasl"', "netd.limits.connections_per_source": "10000"},
    )
    sasl.add_user(made.directory / "etc" / "users", "monitor", PASSWORD)
    with made:
        yield made


def is_denied(done, procedure):
    assert done.returncode == 1 and f"access denied: no role allows {procedure}" in done.stderr, done
    return True


def test_monitor_with_a_certificate_lists_and_cannot_destroy(house):
    assert set(house.virsh("monitor", "list", "--all", "--name").stdout.split()) == set(DOMAINS)
    assert is_denied(house.virsh("monitor", "destroy", "other"), "domain_destroy")
    assert house.virsh("boss", "domstate", "other").stdout.strip() == "running"
    upstream.await_log(
        house, re.compile(r"domain_destroy: no-binding, role monitor at \S+20-stories\.toml:\d+")
    )
    record = house.wait_for_records(identity="monitor", procedure="DOMAIN_DESTROY")[-1]
    assert record["verdict"] == "refused" and record["reason"] == "no-binding", record
    assert record["subject"] == "CN=monitor" and record["source"] == "127.0.0.1", record
    assert record["objects"][0]["name"] == "other" and "20-stories.toml:" in record["rule"], record


def test_monitor_with_a_password_is_the_same_one(house, tmp_path):
    shutil.copy(house.pki / "cacert.pem", tmp_path)
    secret = sasl.auth_file(tmp_path / "auth.conf", "monitor", PASSWORD)
    uri = house.uri(path=house.path, pki=tmp_path) + f"&authfile={secret}"
    assert set(attempt("virsh", "-q", "-c", uri, "list", "--all", "--name").stdout.split()) == set(DOMAINS)
    assert is_denied(attempt("virsh", "-q", "-c", uri, "destroy", "acme-db"), "domain_destroy")
    record = house.wait_for_records(login="monitor", procedure="DOMAIN_DESTROY")[-1]
    assert record["mechanism"].startswith("SCRAM-SHA-") and record["identity"] == "monitor", record


def test_console_of_one_machine_only(house):
    """The test driver has no consoles: that it says so shows that the call went through."""

    def console(name):
        words = ["virsh", "-q", "-c", house.uri_of("alice"), "console", name]
        # virsh wants a terminal for this, which script(1) makes.
        return attempt("script", "-qec", shlex.join(words), "/dev/null").stdout

    assert "not supported by the connection driver" in console("acme-web")
    hidden = console("acme-db")
    assert "failed to get domain" in hidden and hidden.replace("acme-db", "no-such") == console("no-such")
    assert is_denied(house.virsh("alice", "shutdown", "acme-web"), "domain_shutdown")
    record = house.wait_for_records(identity="alice", procedure="DOMAIN_OPEN_CONSOLE", verdict="allowed")[-1]
    assert record["objects"][0]["name"] == "acme-web" and record["result"] == "error", record


def test_idle_connections_of_one_host_do_not_stop_another(house):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE, hard - 512)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    silent = []
    try:
        for _ in range(count):
            silent.append(wire.connect_tcp(house.port, source="127.0.0.9"))
        assert house.virsh("monitor", "list", "--all", "--name").returncode == 0
    finally:
        for sock in silent:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_keepalive_is_answered_whatever_limits_refuse(house):
    with house.open_as("monitor") as client:
        calls, pongs = {}, 0
        for number in range(CALLS):
            calls[client.start(NUM_OF_DOMAINS, b"").serial] = None
            if number % 5 == 0:
                client.send(wire.keepalive())
        while None in calls.values() or pongs < CALLS // 5:
            frame = client.receive()
            if frame.prog == wire.KEEPALIVE:
                pongs += 1
            elif frame.serial in calls:
                calls[frame.serial] = frame
        refused = [frame.error() for frame in calls.values() if frame.status == wire.ERROR]
        assert refused and all("calls_per_second=20" in error[2] for error in refused)


def test_why_was_alice_denied(house):
    """The question of the next morning, answered from the record and from the policy."""
    assert is_denied(house.virsh("alice", "reboot", "acme-web"), "domain_reboot")
    record = house.wait_for_records(identity="alice", procedure="DOMAIN_REBOOT")[-1]
    told = guarded.virtgate("audit", "--file", house.records_file, "--identity", "alice", "--refused")
    assert "DOMAIN_REBOOT" in told.stdout and "no-binding" in told.stdout, told
    moment = datetime.datetime.fromisoformat(record["time"]).isoformat()
    why = guarded.virtgate(
        "policy", "explain", "--identity", "alice", "--at", moment, "--file", house.records_file,
        "--dir", house.policy_directory,
    )  # fmt: skip
    assert "DOMAIN_REBOOT" in why.stdout and "DENY" in why.stdout and "20-stories.toml" in why.stdout, why
