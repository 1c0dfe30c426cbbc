# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_up_locks - `virtgate up` keeps lockd's descriptors in systemd's place."""

import contextlib
import os
import signal

import pytest

from vgtest import locks, upstream
from vgtest.locks import AUTOCREATE

OWNER = 424242  # nobody's pid


@pytest.fixture(scope="module")
def suite(scratch, running_suite):
    with running_suite.sibling(scratch / "up-locks") as started:
        yield started


def answers(suite):
    try:
        with locks.connect(suite.lock_socket) as client:
            return client.alive(1.0)
    except OSError:
        return False


@pytest.mark.parametrize("victims", [["virtgate-locker"], ["virtgate-lockd"], ["virtgate-lockd", "virtgate-locker"]])
def test_locks_outlive_whoever_dies(suite, victims):
    space = suite.directory / "lockspaces" / "-".join(victims)
    names = [f"disk-{number}" for number in range(50)]
    with locks.connect(suite.lock_socket) as client:
        assert client.register(OWNER) is None
        assert client.open_space(space) is None
        for name in names:
            assert client.acquire(space, name, AUTOCREATE) is None
    before = {name: suite.pids(name) for name in victims}
    for name in victims:
        for pid in before[name]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    free = []

    def are_back():
        free.extend(name for name in names if locks.is_free(space / name))
        return all(suite.pids(name) not in ([], before[name]) for name in victims) and answers(suite)

    upstream.poll(are_back, 15, lambda: suite.log()[-3000:])
    assert free == []
    with locks.connect(suite.lock_socket) as client:
        assert client.register(OWNER) is None
        for name in names:
            assert not locks.is_free(space / name)
            assert client.release(space, name) is None
            assert not (space / name).exists()


def test_a_reload_is_an_upgrade_in_place(suite):
    disk = suite.directory / "disk"
    disk.touch()
    (lockd,), lockers = suite.pids("virtgate-lockd"), suite.pids("virtgate-locker")
    with locks.connect(suite.lock_socket) as client:
        assert client.register(OWNER) is None
        assert client.acquire("", disk) is None
        os.kill(lockd, signal.SIGHUP)
        upstream.poll(lambda: suite.pids("virtgate-locker") not in ([], lockers), 10, lambda: suite.log()[-3000:])
        assert not locks.is_free(disk)
        assert client.release("", disk) is None
    assert suite.pids("virtgate-lockd") == [lockd]
