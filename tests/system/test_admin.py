# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_admin - administrators: virt-admin, `virtgate status`, `sessions`, `disconnect` and `drain`."""

import grp
import json
import os
import pathlib
import pty
import pwd
import re
import shutil
import socket
import subprocess

import pytest

from vgtest import upstream, wire
from vgtest.fixtures import RECORDED
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
    words = 2 if arguments[0] == "policy" else 1
    command = [BUILD / "virtgate", *arguments[:words], "--dir", suite.directory, *arguments[words:]]
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
        assert told["tls_x509_dname"] == session["certificate"] and "sasl_user_name" not in told
        assert told["virtgate_session"] == str(session["session"]) and told["virtgate_identity"] == session["identity"]
        assert session["connection"]["id"] == number and session["connection"]["calls"] >= 1
        assert session["certificate"] and session["peer"] is None and session["worker"] in suite.pids("virtgate-worker")
        counted = facts(virt_admin(suite, "srv-clients-info", SERVER))
        assert counted["nclients"] == "1" and counted["nclients_unauth"] == "0"
    upstream.poll(lambda: clients(suite) == {} and sessions(suite) == [])
    assert "there is no client" in virt_admin(suite, "client-info", SERVER, str(number), status=1)
    assert "no server" in virt_admin(suite, "srv-clients-list", "libvirtd", status=1)


def test_virt_admin_tells_who_is_at_a_unix_socket(suite):
    with wire.connect_unix(suite.local_socket) as client:
        client.open("test:///default")
        ((number, transport),) = clients(suite).items()
        told = facts(virt_admin(suite, "client-info", SERVER, str(number)))
        assert transport == "unix" and told["unix_process_id"] == str(os.getpid())
        assert (told["unix_user_id"], told["unix_group_id"]) == (str(os.getuid()), str(os.getgid()))
        assert told["unix_user_name"] == pwd.getpwuid(os.getuid()).pw_name
        assert told["unix_group_name"] == grp.getgrgid(os.getgid()).gr_name


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
        assert json.loads(virtgate(suite, "disconnect", "--json", str(one), "999", status=1)) == {"ended": [one], "missing": [999]}
        upstream.poll(lambda: sessions(suite) == [])
        assert json.loads(virtgate(suite, "disconnect", "--identity", identity, "--json", status=1)) == {"ended": [], "missing": []}
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
        assert json.loads(virtgate(suite, "drain", "--no-wait", "--json")) == {"drained": True, "clients": 1}
        assert json.loads(virtgate(suite, "drain", "--end", "--json")) == {"drained": False}


DRAINED = "the server is drained for maintenance: this connection ends"
OPERATION_FAILED = 9


def test_the_end_of_a_drain_is_an_error_that_clients_read(suite, recording):
    """The open call gets one, and so does the first call of a client that had none open; then both are closed."""
    recording.forget()
    recording.hold(wire.GET_HOSTNAME)
    try:
        with suite.open(RECORDED) as busy, suite.open("test:///default") as idle:
            asked = busy.start(wire.GET_HOSTNAME)
            recording.wait_held(1)
            virtgate(suite, "drain", "--no-wait", "--timeout", "1")
            assert busy.answer(asked).error()[0::2] == (OPERATION_FAILED, DRAINED)
            assert idle.ask(wire.GET_HOSTNAME).error()[0::2] == (OPERATION_FAILED, DRAINED)
            assert ended(busy) and ended(idle)
        assert "drained: nobody is here" in virtgate(suite, "drain", "--timeout", "1")
    finally:
        recording.forget()
        virtgate(suite, "drain", "--end")


def test_status_says_rates_if_asked_to_look_twice(suite):
    assert "rates" not in json.loads(virtgate(suite, "status", "--json"))["netd"]
    seen = json.loads(virtgate(suite, "status", "--json", "--interval", "1"))["netd"]["rates"]
    assert set(seen) == {"sessions", "calls", "bytes_in", "bytes_out"} and min(seen.values()) >= 0
    assert re.search(r"^  in a second: [\d.]+ sessions, [\d.]+ calls, ", virtgate(suite, "status", "--interval", "1"), re.M)


def test_the_end_of_a_drain_does_not_wait_for_who_says_nothing(suite):
    with suite.open("test:///default") as idle:
        assert json.loads(virtgate(suite, "drain", "--timeout", "1", "--json")) == {"drained": True, "clients": 0}
        assert ended(idle)
    virtgate(suite, "drain", "--end")


# --- the log ---


def log(suite, *arguments):
    return json.loads(virtgate(suite, "log", *arguments, "--json"))


def test_what_netd_and_workerd_log_changes_while_they_run(suite):
    before = log(suite)
    assert set(before) == {"netd", "workerd"}
    assert before["workerd"] == {"level": "info", "filters": [], "outputs": ["info:stderr"]}
    with suite.open("test:///default") as stays:
        (worker,) = suite.pids("virtgate-worker")
        # A worker that ran already says less now.
        changed = log(suite, "workerd", "--filters", "error:worker 1:auditor")
        assert changed["workerd"]["filters"] == ["error:worker", "debug:auditor"]
        start = len(suite.log())
        with suite.open("test:///default"):
            upstream.await_log(suite, "begins, from", start)  # the gate's line
        assert log(suite, "workerd", "--filters", "1:auditor")["workerd"]["filters"] == ["debug:auditor"]
        assert f"worker-admin[{worker}]: session" not in suite.log()[start:]
        start = len(suite.log())
        with suite.open("test:///default"):
            upstream.await_log(suite, f"worker-admin[{worker}]: session", start)
        assert stays.ask(wire.GET_HOSTNAME).status == wire.OK
    # The auditor, which ran already, says more now: of a worker that is new.
    os.kill(worker, 9)
    with suite.open("test:///default"):
        upstream.await_log(suite, re.compile(r"debug: .*auditor\[\d+\]: .*worker \d+ is that of admin"), start)
        assert log(suite, "--reset") == before
    assert log(suite, "--level", "error")["netd"]["level"] == "error"
    assert log(suite, "--reset")["workerd"]["level"] == "info"
    for wrong in (("workerd", "--filters", "debug:gate"), ("workerd", "--outputs", "tape"), ("netd", "--outputs", "file:x")):
        virtgate(suite, "log", *wrong, status=1)
    assert log(suite) == before
    for wrong in (("--filters", "debug:gate"), ("workerdd",), ("--level", "loud"), ("lockd",), ("--reset", "--level", "info")):
        virtgate(suite, "log", *wrong, status=64)
    text = virtgate(suite, "log", "workerd")
    assert text == "workerd\n  level    info\n  filters  none\n  outputs  info:stderr\n"


@pytest.mark.parametrize("daemon", ["netd", "workerd", "lockd"])
def test_the_log_of_the_file_is_read_anew(suite, daemon):
    """SIGHUP, as by systemctl reload: levels and outputs are those of the file from then on."""
    (pid,) = suite.pids(f"virtgate-{daemon}")
    words = pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    file = pathlib.Path(words[words.index("--config") + 1])
    good, there = file.read_text(), suite.directory / f"{daemon}.log"
    if daemon != "lockd":  # an output is opened with the rights that a daemon has kept: where it had one, or none is needed
        there = None
    try:
        outputs = f'log_outputs = ["debug:file:{there}"]\n' if there else 'log_outputs = ["debug:stderr"]\n'
        rest = re.sub(r"^log_\w+ = .*\n", "", good, flags=re.M)
        file.write_text('log_level = "debug"\n' + outputs + rest)
        start = len(suite.log())
        os.kill(pid, 1)
        if there:
            upstream.poll(lambda: there.exists() and "locker[" in there.read_text(), what=f"lines in {there}")
        else:
            upstream.poll(lambda: log(suite, daemon)[daemon] == {"level": "debug", "filters": [], "outputs": ["debug:stderr"]})
        file.write_text('log_level = "loud"\n' + rest)
        if daemon != "lockd":
            os.kill(pid, 1)
            upstream.await_log(suite, '"log_level" has to be', start)
            assert log(suite, daemon)[daemon]["level"] == "debug", "a wrong one leaves what was"
    finally:
        file.write_text(good)
        os.kill(pid, 1)
    if daemon != "lockd":
        upstream.poll(lambda: log(suite, daemon)[daemon]["level"] == "info")
    with suite.open("test:///default") as later:
        assert later.alive()


# --- the policy ---


def test_the_policy_is_read_anew_on_demand(suite):
    told = json.loads(virtgate(suite, "policy", "reload", "--json"))
    assert told["accepted"] is True and told["identities"] >= 1
    again = json.loads(virtgate(suite, "policy", "reload", "--json"))
    assert again["generation"] == told["generation"] + 1
    wrong = suite.directory / "etc" / "policy.d" / "99-wrong.toml"
    wrong.write_text("nonsense = 1\n")
    try:
        assert json.loads(virtgate(suite, "policy", "reload", "--json", status=1))["accepted"] is False
        assert "the one before stays in force" in virtgate(suite, "policy", "reload", status=1)
    finally:
        wrong.unlink()
    assert f"the policy is in force: {told['identities']} identities" in virtgate(suite, "policy", "reload")
