# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lifecycle - start, end, and the death of each process alone."""

import os
import signal
import ssl

import pytest

from vgtest import libvirtd, processes, upstream, wire
from vgtest.clients import attempt
from vgtest.suite import BUILD

RECORDED = "qemu:///system"


def works(suite):
    """True if a new client is served."""
    try:
        with suite.open(RECORDED) as client:
            return client.ask(wire.GET_LIB_VERSION).status == wire.OK
    except (wire.Closed, TimeoutError, AssertionError, OSError):
        return False


def killed_and_back(suite, name):
    """Kill all processes of a program; wait until as many others run and clients are served."""
    before = suite.pids(name)
    assert before, f"no {name}"
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    upstream.poll(lambda: works(suite), 20, f"service after {name} was killed; log:\n{suite.log()[-2000:]}")
    upstream.poll(
        lambda: len(suite.pids(name)) >= len(before) and not set(suite.pids(name)) & set(before),
        20,
        f"a new {name}",
    )
    # Several gates share the listener: one that works says nothing about the others.
    upstream.poll(lambda: all(works(suite) for _ in range(6)), 20, f"service by every gate after {name} was killed")


def test_processes_are_those_of_the_design(fragile, recording):
    assert works(fragile)
    found = processes.by_name(fragile.process.pid)
    gates = len(found["virtgate-gate"])
    assert gates == len(os.sched_getaffinity(0)) and len(found["virtgate-keeper"]) == gates
    for single in ("virtgate", "virtgate-netd", "virtgate-doorman", "virtgate-workerd"):
        assert len(found[single]) == 1, found
    assert len(found["virtgate-worker"]) == 1


@pytest.mark.parametrize("name", ["virtgate-keeper", "virtgate-doorman"])
def test_sessions_notice_nothing_when_this_is_killed(fragile, recording, name):
    with fragile.open(RECORDED) as witness:
        killed_and_back(fragile, name)
        assert witness.ask(wire.GET_LIB_VERSION).status == wire.OK
        assert witness.alive()


def test_stopped_keeper_holds_up_no_session(fragile, recording):
    """A handshake waits for a signature; sessions of the same gate must not."""
    keepers = fragile.pids("virtgate-keeper")
    clients = [fragile.open(RECORDED) for _ in range(6)]
    for pid in keepers:
        os.kill(pid, signal.SIGSTOP)
    waiting = [wire.connect_tcp(fragile.port) for _ in range(4)]
    try:
        context = fragile.context()
        for sock in waiting:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            half = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
            with pytest.raises(ssl.SSLWantReadError):
                half.do_handshake()
            sock.sendall(outgoing.read())
        for client in clients:
            for _ in range(5):
                assert client.ask(wire.GET_LIB_VERSION, patience=2.0).status == wire.OK
    finally:
        for pid in keepers:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        for sock in waiting:
            sock.close()
        for client in clients:
            client.close()
    upstream.poll(lambda: works(fragile), 20)


def served_by(pid, clients):
    """Those of the clients whose connection the process holds, by the inodes in /proc."""
    inodes = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}
    mine = []
    for client in clients:
        port = client.sock.getsockname()[1]
        table = (
            open("/proc/net/tcp", encoding="ascii").readlines()
            + open("/proc/net/tcp6", encoding="ascii").readlines()
        )
        far_ends = [fields for fields in map(str.split, table) if ":" in fields[2]]  # without the headlines
        if any(int(far[2].split(":")[1], 16) == port and f"socket:[{far[9]}]" in inodes for far in far_ends):
            mine.append(client)
    return mine


def test_gate_that_dies_takes_only_its_own_sessions(fragile, recording):
    if os.geteuid() != 0:
        pytest.skip("only root sees which gate holds which connection")
    gates = fragile.pids("virtgate-gate")
    clients = [fragile.open(RECORDED) for _ in range(12)]
    owned = {pid: served_by(pid, clients) for pid in gates}
    assert sum(map(len, owned.values())) == len(clients)
    victim = max(gates, key=lambda pid: len(owned[pid]))
    os.kill(victim, signal.SIGKILL)
    for client in clients:
        if client in owned[victim]:
            assert client.rest() == []
        else:
            assert client.ask(wire.GET_LIB_VERSION).status == wire.OK
        client.close()
    upstream.poll(
        lambda: victim not in fragile.pids("virtgate-gate")
        and len(fragile.pids("virtgate-gate")) == len(gates),
        20,
        "a new gate",
    )
    upstream.poll(lambda: works(fragile), 20, "service")


def test_worker_that_dies_ends_its_sessions_with_errors(fragile, recording):
    recording.forget()
    recording.hold(wire.LOOKUP_BY_NAME)
    with fragile.open(RECORDED) as client:
        call = client.start(wire.LOOKUP_BY_NAME, wire.string("x"))
        recording.wait_held(1)
        client.log.clear()
        for pid in fragile.pids("virtgate-worker"):
            os.kill(pid, signal.SIGKILL)
        client.rest()
        assert [(f.serial, f.proc) for f in client.log] == [(call.serial, call.proc)]
        assert client.log[0].error()[2]
    recording.forget()
    upstream.poll(lambda: works(fragile), 20)


def test_workerd_that_dies_is_restarted(fragile, recording):
    """Sessions may end with it, but with an error or a close and not with silence."""
    with fragile.open(RECORDED) as client:
        killed_and_back(fragile, "virtgate-workerd")
        try:
            assert client.ask(wire.GET_LIB_VERSION, patience=5.0).status in (wire.OK, wire.ERROR)
        except wire.Closed:
            pass


def test_netd_that_dies_is_restarted_on_the_same_port(fragile, recording):
    killed_and_back(fragile, "virtgate-netd")


def test_reload_keeps_sessions_and_brings_new_gates(fragile, recording):
    """SIGHUP to netd: who is in stays with the old gate until it leaves, who comes meets a new one."""
    old = set(fragile.pids("virtgate-gate"))
    with fragile.open(RECORDED) as client:
        os.kill(fragile.pids("virtgate-netd")[0], signal.SIGHUP)
        upstream.poll(lambda: set(fragile.pids("virtgate-gate")) - old, 20, "new gates")
        upstream.poll(lambda: works(fragile), 20, "service by new gates")
        for _ in range(20):
            assert client.ask(wire.GET_LIB_VERSION).status == wire.OK
    upstream.poll(lambda: not set(fragile.pids("virtgate-gate")) & old, 20, "the end of the old gates")
    assert len(fragile.pids("virtgate-gate")) == len(old) and works(fragile)


def test_upstream_that_restarts_is_found_again(fragile, dying):
    dying.forget()
    with fragile.open("lxc:///system") as client:
        dying.stop()
        client.rest()
    dying.start()
    with fragile.open("lxc:///system") as client:
        assert client.ask(wire.GET_LIB_VERSION).status == wire.OK


def test_libvirtd_that_is_killed_gives_clients_an_error(scratch, running_suite):
    """A real libvirtd dies while a real client is connected; a session of another upstream goes on."""
    daemon = libvirtd.Libvirtd(scratch / "mortal-libvirtd").start()
    suite = running_suite.sibling(scratch / "mortal")
    suite.upstreams = {**suite.upstreams, "test:///default": daemon.socket}
    with suite:
        with suite.open("test:///default") as client, suite.open(RECORDED) as witness:
            assert client.ask(wire.GET_TYPE).status == wire.OK
            daemon.kill()
            try:
                client.ask(wire.GET_TYPE).error()
            except wire.Closed:
                pass
            assert witness.ask(wire.GET_LIB_VERSION).status == wire.OK
            with suite.connect() as late:
                assert late.ask(wire.CONNECT_OPEN, wire.open_args("test:///default")).error()[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_everything_in_time(scratch, running_suite, number):
    """With clients connected, a stream open and a call in flight. Suite.stop checks processes and files."""
    suite = running_suite.sibling(scratch / f"signal-{int(number)}").start()
    clients = [suite.open("test:///default") for _ in range(5)]
    silent = wire.connect_tcp(suite.port)
    clients[0].start(wire.GET_HOSTNAME)
    if number == signal.SIGINT:
        suite.process.send_signal(number)
        suite.process.wait(15)
    status = suite.stop()
    assert status == 0
    for client in clients:
        client.rest()
        client.close()
    silent.close()


def test_second_start_in_the_same_directory_keeps_keys_and_is_served(scratch, running_suite):
    suite = running_suite.sibling(scratch / "twice")
    with suite:
        keys = {p: p.read_bytes() for p in (suite.directory / "pki").rglob("*.pem")}
    with suite:
        assert keys == {p: p.read_bytes() for p in (suite.directory / "pki").rglob("*.pem")}
        assert works(suite)


def test_up_refuses_a_directory_that_is_in_use(fragile):
    second = attempt(BUILD / "virtgate", "up", "--dir", fragile.directory, "--tls-port", "0")
    assert second.returncode != 0 and second.stderr
    assert fragile.ready.exists() and works(fragile)


def test_killed_up_leaves_no_process_behind(scratch, running_suite):
    """SIGKILL cannot be handled: the processes end because their parent does."""
    suite = running_suite.sibling(scratch / "killed").start()
    with suite.open(RECORDED):
        suite.remember()
        suite.process.kill()
        suite.process.wait()
        assert processes.wait_gone(suite.seen, 10) == []
    with suite:  # and its directory can be used again
        assert works(suite)
