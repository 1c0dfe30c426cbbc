# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_admin - administrators: virt-admin, `virtgate status`, `sessions`, `disconnect` and `drain`."""

import json
import os
import pty
import re
import shutil
import socket
import subprocess

import pytest

from vgtest import upstream
from vgtest.suite import BUILD

SERVER = "virtgate-netd"


@pytest.fixture(scope="module")
def suite(scratch, running_suite):
    with running_suite.sibling(scratch / "admin", {"netd.gates": 2}) as started:
        yield started


def virt_admin(suite, *arguments, status=0):
    uri = f"virtproxyd:///system?socket={suite.admin_socket}"
    done = subprocess.run(["virt-admin", "-c", uri, *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == status, (arguments, done)
    return done.stderr if status else done.stdout


def virtgate(suite, *arguments, status=0):
    command = [BUILD / "virtgate", arguments[0], "--dir", suite.directory, *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, (arguments, done)
    return done.stderr if status and not done.stdout else done.stdout


def sessions(suite, *arguments):
    return json.loads(virtgate(suite, "sessions", "--json", *arguments))["sessions"]


def clients(suite):
    rows = virt_admin(suite, "srv-clients-list", SERVER).splitlines()[2:]
    return {int(row.split()[0]): row.split()[1] for row in rows if row.strip()}


def ended(client):
    client.rest()  # fails if the other end does not close
    return True


def facts(text):
    return {key.strip(): value.strip() for key, value in (line.split(":", 1) for line in text.splitlines() if ":" in line)}


def test_virt_admin_lists_servers_and_clients(suite):
    assert re.findall(r"^ \d +(\S+)$", virt_admin(suite, "srv-list"), re.M) == [SERVER, "admin"]
    assert clients(suite) == {}
    with suite.open("test:///default"):
        ((number, transport),) = clients(suite).items()
        assert transport == "tls"
        told = facts(virt_admin(suite, "client-info", SERVER, str(number)))
        (session,) = sessions(suite)
        assert told["readonly"] == "no" and told["sock_addr"].startswith(("127.0.0.1:", "[::1]:"))
        assert told["virtgate_session"] == str(session["session"]) and told["virtgate_identity"] == session["identity"]
        assert session["connection"]["id"] == number and session["connection"]["calls"] >= 1
        assert session["certificate"] and session["peer"] is None and session["worker"] in suite.pids("virtgate-worker")
        counted = facts(virt_admin(suite, "srv-clients-info", SERVER))
        assert counted["nclients"] == "1" and counted["nclients_unauth"] == "0"
    upstream.poll(lambda: clients(suite) == {} and sessions(suite) == [])
    assert "there is no client" in virt_admin(suite, "client-info", SERVER, str(number), status=1)
    assert "no server" in virt_admin(suite, "srv-clients-list", "libvirtd", status=1)


def test_virt_admin_disconnects_one_client_and_no_other(suite):
    with suite.open("test:///default") as stays:
        (first,) = clients(suite)
        with suite.open("test:///default") as goes:
            (second,) = set(clients(suite)) - {first}
            virt_admin(suite, "client-disconnect", SERVER, str(second))
            assert ended(goes)
            upstream.poll(lambda: list(clients(suite)) == [first])
        assert stays.alive()
    upstream.await_log(suite, re.compile(rf"user {os.getuid()} \(process \d+\) closes connection {second} "))


def test_limits_that_were_changed_take_effect(suite):
    virt_admin(suite, "srv-clients-set", SERVER, "--max-clients", "2", "--max-unauth-clients", "2")
    told = facts(virt_admin(suite, "srv-clients-info", SERVER))
    assert (told["nclients_max"], told["nclients_unauth_max"]) == ("2", "2")
    assert "there cannot be more" in virt_admin(suite, "srv-clients-set", SERVER, "--max-clients", "1", status=1)
    with suite.open("test:///default"), suite.open("test:///default"):
        with socket.create_connection(("localhost", suite.port), 10) as waits:
            counted = facts(virt_admin(suite, "srv-clients-info", SERVER))
            assert counted["nclients"] == "2", "a third one was accepted"
            virt_admin(suite, "srv-clients-set", SERVER, "--max-clients", "100", "--max-unauth-clients", "50")
            waits.sendall(b"\x16")
            upstream.poll(lambda: len(clients(suite)) == 3)
    assert "not supported" in virt_admin(suite, "srv-threadpool-set", SERVER, "--max-workers", "9", status=1)
    assert facts(virt_admin(suite, "srv-threadpool-info", SERVER))["nWorkers"] == "2"
    assert "not supported" in virt_admin(suite, "daemon-timeout", "--timeout", "9", status=1)


def test_what_is_logged_changes_while_it_runs(suite):
    try:
        virt_admin(suite, "daemon-log-outputs", "--outputs", "4:stderr")
        assert "4:stderr" in virt_admin(suite, "daemon-log-outputs")
        virt_admin(suite, "daemon-log-filters", "--filters", "1:steward")
        assert "1:steward" in virt_admin(suite, "daemon-log-filters")
        upstream.await_log(suite, re.compile(r"debug: .*steward\[\d+\]"))
        assert "a new start" in virt_admin(suite, "daemon-log-outputs", "--outputs", "1:journald", status=1)
        virt_admin(suite, "daemon-log-filters", "--filters", "1:nobody", status=1)
        assert "1:steward" in virt_admin(suite, "daemon-log-filters"), "a wrong one leaves what was"
    finally:
        virt_admin(suite, "daemon-log-filters", "--filters", "")
        virt_admin(suite, "daemon-log-outputs", "--outputs", "")
    assert "2:stderr" in virt_admin(suite, "daemon-log-outputs")


def test_certificates_are_read_anew_and_a_broken_one_changes_nothing(suite):
    with suite.open("test:///default") as stays:
        gates = set(suite.pids("virtgate-gate"))
        virt_admin(suite, "server-update-tls", SERVER)
        assert len(set(suite.pids("virtgate-gate")) - gates) == 2
        assert stays.alive() and len(clients(suite)) == 1, "a gate that drains is asked, too"
        certificate = suite.directory / "pki" / "server" / "servercert.pem"
        good = certificate.read_bytes()
        try:
            certificate.write_bytes(b"nonsense")
            assert "not a PEM file" in virt_admin(suite, "server-update-tls", SERVER, status=1)
        finally:
            certificate.write_bytes(good)
    with suite.open("test:///default") as later:
        assert later.alive()


def test_disconnect_ends_a_session_with_a_reason_and_no_other(suite):
    with suite.open("test:///default") as stays, suite.open("test:///default") as goes:
        one, two = (each["session"] for each in sessions(suite))
        assert f"session {two} ends" in virtgate(suite, "disconnect", str(two), "--reason", "no more")
        assert ended(goes) and stays.alive()
        upstream.poll(lambda: [each["session"] for each in sessions(suite)] == [one])
        assert "there is no session 999" in virtgate(suite, "disconnect", "999", status=1)
        virtgate(suite, "disconnect", str(one), "--identity", "somebody-else", status=1)
        assert stays.alive()
        identity = sessions(suite)[0]["identity"]
        assert f"session {one} ends" in virtgate(suite, "disconnect", "--identity", identity)
        assert ended(stays)
    upstream.await_log(suite, re.compile(rf'user {os.getuid()} \(process \d+\) ends 1 sessions: "no more"'))
    assert "name sessions" in virtgate(suite, "disconnect", status=64)


def test_status_tells_what_runs(suite):
    with suite.open("test:///default"):
        told = json.loads(virtgate(suite, "status", "--json"))
        netd, workerd = told["netd"], told["workerd"]
        assert netd["pid"] in suite.pids("virtgate-netd") and netd["clients"]["connections"] == 1
        running = {each["name"]: each["pid"] for each in netd["processes"]}
        assert running["doorman"] in suite.pids("virtgate-doorman")
        assert running["steward"] in suite.pids("virtgate-steward")
        assert [each["days_left"] > 0 for each in netd["certificates"]] == [True, True]
        assert workerd["sessions"] == 1 and workerd["policy"]["identities"] >= 1
        assert workerd["workers"][0]["pid"] in suite.pids("virtgate-worker")
        assert told["lockd"]["locks"] == 0
        text = virtgate(suite, "status")
        assert "virtgate-netd" in text and "days left" in text and "gate-" in text
        assert sessions(suite, "--identity", "nobody") == [] and len(sessions(suite, "--source", "127.0.0.1")) <= 1
    command = [BUILD / "virtgate", "status", "--dir", "/nonexistent", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1, done
    nothing = json.loads(done.stdout)
    assert "does not run" in nothing["netd"]["error"]


def test_top_needs_a_terminal_and_ends_with_q(suite):
    assert "needs a terminal" in virtgate(suite, "top", status=71)
    command = [str(BUILD / "virtgate"), "top", "--dir", str(suite.directory), "--interval", "1"]
    with suite.open("test:///default"):
        child, terminal = pty.fork()
        if child == 0:
            os.execv(command[0], command)
        shown = b""
        while b"1 sessions" not in shown or b"q: end" not in shown.split(b"1 sessions")[-1]:
            shown += os.read(terminal, 65536)
        os.write(terminal, b"q")
        _, status = os.waitpid(child, 0)
        os.close(terminal)
    assert status == 0 and b"CALLS/S" in shown


def test_garbage_and_a_crowd_at_the_admin_socket_harm_nobody(suite):
    before = suite.pids("virtgate-steward")
    for garbage in (b"\0\0\0\1", b"\xff" * 4096, b"GET / HTTP/1.0\r\n\r\n", bytes(64)):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(suite.admin_socket))
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
    crowd = []
    for _ in range(31):
        crowd.append(socket.socket(socket.AF_UNIX))
        crowd[-1].connect(str(suite.admin_socket))
    virt_admin(suite, "srv-list")
    for client in crowd:
        client.close()
    virt_admin(suite, "srv-list")
    assert suite.pids("virtgate-steward") == before


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root")
def test_another_user_is_sent_away(suite):
    path = suite.admin_socket
    assert path.stat().st_mode & 0o777 == 0o600
    script = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); print(s.recv(1))"
    stranger = ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    # Even where the file lets him: the kernel says who he is.
    modes = {each: each.stat().st_mode for each in (path, path.parent, suite.directory, *suite.directory.parents)}
    try:
        path.chmod(0o666)
        for each in list(modes)[1:-1]:
            each.chmod(modes[each] & 0o7777 | 0o111)
        done = subprocess.run([*stranger, "/usr/bin/python3", "-c", script], capture_output=True, text=True, timeout=20)
        assert done.stdout.strip() == "b''" or "ConnectionReset" in done.stderr, done
    finally:
        for each, mode in modes.items():
            if each.stat().st_mode != mode:
                each.chmod(mode & 0o7777)
    upstream.await_log(suite, re.compile(r"of user 65534 may not administer"))


def test_a_steward_that_is_killed_comes_back_and_clients_stay(suite):
    with suite.open("test:///default") as stays:
        before = list(clients(suite))
        (old,) = suite.pids("virtgate-steward")
        os.kill(old, 9)
        upstream.poll(lambda: suite.pids("virtgate-steward") not in ([], [old]))
        assert stays.alive() and list(clients(suite)) == before, "the number is another one"


def test_drain_lets_nobody_in_and_resume_does(suite):
    with suite.open("test:///default") as stays:
        virtgate(suite, "drain", "--no-wait")
        assert json.loads(virtgate(suite, "status", "--json"))["netd"]["drained"] is True
        assert "drain --end" in virt_admin(suite, "server-update-tls", SERVER, status=1)
        with socket.create_connection(("localhost", suite.port), 10):
            assert stays.alive() and len(clients(suite)) == 1
        assert "let in again" in virtgate(suite, "drain", "--end")
        with suite.open("test:///default") as later:
            assert later.alive() and stays.alive()
        assert "it is not drained" in virtgate(suite, "drain", "--end", status=1)
        assert "drained: nobody is here" in virtgate(suite, "drain", "--timeout", "1")
        assert ended(stays)
        virtgate(suite, "drain", "--end")
