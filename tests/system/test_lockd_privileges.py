# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lockd_privileges - virtgate-lockd without root, and with the two capabilities that it can be given."""

import os
import signal

import pytest

from vgtest import locks, processes, upstream
from vgtest.libvirtd import NOBODY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be another user and to give capabilities")

ROOTS_OWN = 0o600


@pytest.fixture(params=[(), ("dac_override", "kill")], ids=["without", "with"])
def lockd(request, scratch):
    directory = scratch / f"privileges-{len(request.param)}-{os.getpid()}-{request.node.name[:12]}"
    with locks.UnprivilegedLockd(directory, request.param) as made:
        made.has_capabilities = bool(request.param)
        yield made


def capabilities(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return {line.split()[0]: int(line.split()[1], 16) for line in status if line.startswith("Cap")}


def files_of_root(lockd, count):
    paths = [lockd.direct / f"image-{number}" for number in range(count)]
    for path in paths:
        path.write_bytes(b"x")
        path.chmod(ROOTS_OWN)
    return paths


def test_files_of_others_are_locked_only_with_the_capability(lockd):
    """At first, after the locker was killed, and after an upgrade in place."""
    first, second, third = files_of_root(lockd, 3)

    def attempt(path):
        with lockd.connect() as client:
            assert client.register(4242) is None
            answer = client.acquire("", path)
        assert locks.is_free(path) != lockd.has_capabilities
        return answer

    def check(answer):
        if lockd.has_capabilities:
            assert answer is None
        else:
            assert answer[0] == locks.SYSTEM and "Permission denied" in answer[2], answer

    check(attempt(first))
    (before,) = lockd.lockers
    lockd.kill_locker()
    check(attempt(second))
    (before,) = lockd.lockers
    lockd.process.send_signal(signal.SIGUSR1)
    lockd.wait_for_locker(before)
    check(attempt(third))


def test_nothing_else_is_kept(lockd):
    (locker,) = lockd.lockers
    kept = 1 << 1 | 1 << 5 if lockd.has_capabilities else 0
    assert capabilities(locker) == {"CapInh:": 0, "CapPrm:": kept, "CapEff:": kept, "CapBnd:": kept, "CapAmb:": 0}
    for pid in (lockd.process.pid, locker):
        assert os.stat(f"/proc/{pid}").st_uid in (0, NOBODY)  # root's where it is closed to others
    assert ("without CAP_KILL" in lockd.log()) != lockd.has_capabilities
    assert ("without CAP_DAC_OVERRIDE" in lockd.log()) != lockd.has_capabilities


def test_owners_of_another_user_are_ended_only_with_the_capability(lockd):
    """An owner that gives up its connection and lives on: its lock stays as long as it does."""
    (path,) = files_of_root(lockd, 1)
    os.chown(path, NOBODY, NOBODY)

    def ready():
        client = lockd.connect()
        assert client.register(os.getpid()) is None and client.acquire("", path) is None
        signal.signal(signal.SIGUSR1, lambda *_: client.close())
        return client

    with locks.guest(ready) as pid:
        os.kill(pid, signal.SIGUSR1)
        if lockd.has_capabilities:
            upstream.poll(lambda: not processes.running(pid), what="the end of the owner")
            upstream.poll(lambda: locks.is_free(path), what="the end of its lock")
        else:
            said = f"cannot end process {pid} (guest): Operation not permitted"
            upstream.poll(lambda: said in lockd.log(), what=lambda: f"{said}; log:\n{lockd.log()}")
            assert processes.running(pid) and not locks.is_free(path)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            upstream.poll(lambda: locks.is_free(path), what="the end of its lock")
