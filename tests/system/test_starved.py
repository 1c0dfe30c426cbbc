# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_starved - a machine that has nothing left while it serves: those who are there go on, and it is not told each time."""

import contextlib
import os
import pathlib
import re
import resource
import socket

import pytest

from vgtest import upstream, wire


@pytest.fixture(scope="module")
def starved(scratch, running_suite):
    with running_suite.sibling(scratch / "starved", {"netd.gates": 1}) as started:
        yield started


@contextlib.contextmanager
def without_descriptors(pid):
    """The process gets no more of them, until the end of the block."""
    old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, old[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, old)


def cpu_time(pid):
    """Seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_gate_without_descriptors_waits_and_does_not_spin(starved):
    (gate,) = starved.pids("virtgate-gate")
    with starved.open("test:///default") as stays:
        start = len(starved.log())
        with without_descriptors(gate):
            with socket.create_connection(("127.0.0.1", starved.port), 10):
                upstream.await_log(starved, "cannot accept clients, 1 times so far: Too many open files (", start)
                before = cpu_time(gate)
                upstream.await_log(starved, "cannot accept clients, 8 times so far", start)
                assert cpu_time(gate) - before < 0.3, "it spins"
                assert stays.alive()
        with starved.open("test:///default") as later:
            assert later.alive() and stays.alive()
        assert starved.log()[start:].count("cannot accept clients") <= 24


def test_a_broker_without_descriptors_refuses_and_the_others_live_on(starved):
    (broker,) = starved.pids("virtgate-workerd")
    with starved.open("test:///default") as stays:
        start = len(starved.log())
        with without_descriptors(broker):
            for _ in range(40):
                with wire.connect_unix(starved.local_socket) as refused:
                    code, _, text = refused.ask(wire.AUTH_LIST).error()
                    assert "cannot serve this user now: try again" in text, (code, text)
            assert stays.ask(wire.GET_HOSTNAME).status == wire.OK
        with starved.open("test:///default") as later:
            assert later.alive() and stays.alive()
        lines = re.findall(r"no session for .* times so far: .*", starved.log()[start:])
        assert 1 <= len(lines) <= 20, "told each time"
        assert "Too many open files" in lines[0]
