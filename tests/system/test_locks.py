# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_locks - the lock program: our daemon against its description, against Debian's virtlockd, and beside it."""

import os
import signal
import time

import pytest

from vgtest import locks, upstream, wire
from vgtest.locks import AUTOCREATE, SHARED
from vgtest.wire import string, u32

BUSY = (locks.BUSY, locks.FROM_LOCK_SPACE)
UNKNOWN_PID = 424242  # above pid_max of this machine, or nobody's


@pytest.fixture(scope="module")
def lockd(scratch):
    with locks.Lockd(scratch / "lockd") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def virtlockd(scratch):
    assert locks.virtlockd_available(), "virtlockd is not installed (Debian: libvirt-daemon)"
    with locks.Virtlockd(scratch / "virtlockd") as daemon:
        yield daemon


@pytest.fixture
def space(lockd, request):
    """A lock space of this test's own."""
    path = lockd.spaces / request.node.name
    with lockd.connect() as client:
        assert client.open_space(path) is None
    return path


def replies_of(daemon):
    """What a fixed sequence of calls is answered, with all paths as if the daemon lived in /D."""
    space, disk = daemon.spaces / "same", daemon.direct / "disk"
    disk.touch()
    one, two, unknown = daemon.connect(), daemon.connect(), daemon.connect()
    answers = [
        unknown.acquire("", disk),
        unknown.acquire("", disk, 64),
        unknown.restrict(),
        unknown.new(space),
        unknown.open_space(""),
        one.register(UNKNOWN_PID, number=0),
        one.register(UNKNOWN_PID),
        two.register(UNKNOWN_PID + 1),
        one.new(""),
        one.new(space),
        one.new(space),
        one.open_space(space),
        one.create("/no/such", "r"),
        one.acquire("/no/such", "r"),
        one.release("/no/such", "r"),
        one.create(space, "r"),
        one.create(space, "r"),
        one.delete(space, "never-was"),
        one.acquire(space, "r"),
        one.acquire(space, "r"),
        two.acquire(space, "r", SHARED),
        two.create(space, "r"),
        two.delete(space, "r"),
        two.release(space, "r"),
        one.release(space, "r"),
        one.release(space, "r"),
        one.delete(space, "r"),
        one.acquire(space, "missing"),
        one.acquire(space, "made", AUTOCREATE | SHARED),
        two.acquire(space, "made", SHARED),
        two.acquire(space, "made", AUTOCREATE),
        one.release(space, "made"),
        one.release(space, "made"),
        two.release(space, "made"),
        two.acquire(space, "made"),
        one.acquire("", disk),
        two.acquire("", disk),
        two.release("", disk),
        one.release("", disk),
        one.acquire("", daemon.direct / "missing"),
        one.restrict(),
        one.restrict(),
        one.register(UNKNOWN_PID),
        one.acquire(space, "r"),
        one.open_space(space),
    ]
    return [a and (a[0], a[1], a[2].replace(str(daemon.directory), "/D")) for a in answers]


def test_every_step_of_a_sequence_is_answered_as_by_virtlockd(lockd, virtlockd):
    ours, theirs = replies_of(lockd), replies_of(virtlockd)
    # Which function refused a flag is of no use to anybody else.
    cut = [a and (*a[:2], a[2].split(" in ")[0]) if a and a[0] == locks.INVALID_ARGUMENT else a for a in theirs]
    mine = [a and (*a[:2], a[2].split(" in ")[0]) if a and a[0] == locks.INVALID_ARGUMENT else a for a in ours]
    assert mine == cut
    assert sum(1 for a in mine if a) > 20 and sum(1 for a in mine if a is None) > 15


def test_wrong_headers_are_answered_as_by_virtlockd(lockd, virtlockd):
    wrong = [
        wire.Frame(locks.LOCK, 1, 9, wire.CALL, 7, wire.OK),
        wire.Frame(locks.LOCK, 1, 0, wire.CALL, 7, wire.OK),
        wire.Frame(locks.LOCK, 2, 1, wire.CALL, 7, wire.OK),
        wire.Frame(wire.REMOTE, 1, 1, wire.CALL, 7, wire.OK),
        wire.Frame(locks.LOCK, 1, 7, wire.CALL, 7, wire.ERROR),
        wire.Frame(locks.LOCK, 1, 99, wire.CALL, 7, wire.CONTINUE),
        wire.Frame(locks.LOCK, 1, 7, wire.CALL, 7, wire.OK, u32(3)),
        wire.Frame(locks.LOCK, 1, 2, wire.CALL_WITH_FDS, 7, wire.OK, u32(0) + u32(0)),
        wire.Frame(wire.KEEPALIVE, 1, 1, wire.CALL, 7, wire.OK),
    ]
    answers = []
    for daemon in (lockd, virtlockd):
        with daemon.connect() as client:
            for frame in wrong:
                client.send(frame)
            answers.append([client.receive() for _ in wrong])
            for kind in (wire.REPLY, wire.MESSAGE, wire.STREAM, wire.REPLY_WITH_FDS, wire.HOLE, 7):
                client.send(wire.Frame(locks.LOCK, 1, 7, kind, 7, wire.OK, u32(0)))
            assert client.alive()
            assert client.log[len(wrong) :][0].prog == wire.KEEPALIVE, "something was answered that is no call"
    assert answers[0] == answers[1]


@pytest.mark.parametrize("direct", [False, True], ids=["lock space", "direct"])
@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
def test_ours_and_virtlockd_exclude_each_other(scratch, virtlockd, direct, ours_first, request):
    """Both serve the same directory, as two hosts would."""
    shared = virtlockd.direct if direct else virtlockd.spaces / f"mixed-{ours_first}"
    shared.mkdir(exist_ok=True)
    where, name = ("", shared / "disk") if direct else (shared, "disk")
    (shared / "disk").touch()
    with locks.Lockd(scratch / f"mixed-{direct}-{ours_first}", lock_spaces=[shared], direct=[shared]) as ours:
        first, second = (ours, virtlockd) if ours_first else (virtlockd, ours)
        with first.owner() as a, second.owner() as b:
            for client in (a, b):
                assert direct or client.open_space(shared) is None
            assert a.acquire(where, name) is None
            assert b.acquire(where, name)[:2] == BUSY
            assert b.acquire(where, name, SHARED)[:2] == BUSY
            assert a.release(where, name) is None
            assert b.acquire(where, name, SHARED) is None
            assert a.acquire(where, name)[:2] == BUSY
            assert a.acquire(where, name, SHARED) is None
            assert a.release(where, name) is None
            assert b.release(where, name) is None
            assert a.acquire(where, name) is None
            assert a.release(where, name) is None


def test_a_lock_is_held_as_long_as_it_is_owned(lockd, space):
    with lockd.owner() as client:
        assert client.acquire(space, "r", AUTOCREATE) is None
        assert not locks.is_free(space / "r", shared=True)
        assert client.release(space, "r") is None
        assert not (space / "r").exists(), "the file goes with the lock that it was made for"


def test_a_connection_of_somebody_else_ends_without_any_effect(lockd, space):
    with lockd.owner() as client:
        assert client.acquire(space, "r", AUTOCREATE) is None
    time.sleep(0.2)
    assert not locks.is_free(space / "r")
    with lockd.owner() as client:
        assert client.release(space, "r") is None


def test_a_locks_ends_with_the_process_that_registered_itself(lockd, space):
    def ready():
        client = lockd.connect()
        assert client.register() is None and client.restrict() is None
        return client

    with locks.guest(ready) as pid, lockd.owner(pid) as client:
        for name in ("a", "b"):
            assert client.acquire(space, name, AUTOCREATE) is None
        assert client.acquire(space, "shared", AUTOCREATE | SHARED) is None
        assert client.acquire(space, "shared", SHARED) is None
        with lockd.owner() as other:
            assert other.acquire(space, "shared", SHARED) is None
            os.kill(pid, signal.SIGKILL)
            upstream.poll(lambda: not (space / "a").exists() and not (space / "b").exists(), what="released locks")
            assert not locks.is_free(space / "shared"), "the other owner still has it"
            assert other.release(space, "shared") is None
    assert not (space / "shared").exists()


@pytest.mark.parametrize("deaf", [False, True], ids=["ends by SIGTERM", "ignores SIGTERM"])
def test_an_owner_that_gives_up_its_connection_and_lives_on_is_ended(lockd, space, deaf):
    def ready():
        client = lockd.connect()
        assert client.register() is None
        assert client.acquire(space, "r", AUTOCREATE) is None
        return client

    begun = time.monotonic()
    with locks.guest(ready, deaf, leaves=True) as pid:
        if deaf:
            time.sleep(0.8)
            assert not locks.is_free(space / "r"), "the lock was let go while its owner ran"
            with lockd.owner() as other:
                assert other.acquire(space, "r")[:2] == BUSY, "and the daemon serves meanwhile"
        status = locks.ended(pid, 4.0)
        assert status is not None and os.WTERMSIG(status) == (signal.SIGKILL if deaf else signal.SIGTERM)
        assert not deaf or 1.5 < time.monotonic() - begun < 3.0
        upstream.poll(lambda: not (space / "r").exists(), what="the released lock")


def test_an_owner_without_a_lock_may_give_up_its_connection(lockd, space):
    def ready():
        client = lockd.connect()
        assert client.register() is None
        assert client.acquire(space, "r", AUTOCREATE) is None and client.release(space, "r") is None
        return client

    with locks.guest(ready, leaves=True) as pid:
        assert locks.ended(pid, 1.0) is None


def test_without_fencing_the_owner_lives_and_its_locks_end_with_it(scratch):
    with locks.Lockd(scratch / "harmless", fencing=False) as lockd:
        space = lockd.spaces

        def ready():
            client = lockd.connect()
            assert client.open_space(space) is None and client.register() is None
            assert client.acquire(space, "r", AUTOCREATE) is None
            return client

        with locks.guest(ready, leaves=True) as pid:
            assert locks.ended(pid, 2.0) is None and not locks.is_free(space / "r")
            os.kill(pid, signal.SIGKILL)
            upstream.poll(lambda: not (space / "r").exists(), what="the released lock")


@pytest.mark.parametrize("way", ["kill_locker", "reload"])
def test_locks_and_owners_outlive_the_locker(scratch, way):
    with locks.Lockd(scratch / f"outlive-{way}") as lockd:
        space = lockd.spaces / "s"

        def ready():
            client = lockd.connect()
            assert client.register() is None and client.restrict() is None
            return client

        with locks.guest(ready) as pid, lockd.owner(pid) as client, lockd.owner() as other:
            assert client.open_space(space) is None
            assert client.acquire(space, "r", AUTOCREATE) is None
            assert other.acquire(space, "s", AUTOCREATE | SHARED) is None
            for _ in range(3):
                getattr(lockd, way)()
                assert not locks.is_free(space / "r") and not locks.is_free(space / "s")
                with lockd.owner() as again:
                    assert again.acquire(space, "r")[:2] == BUSY
                    assert again.new(space)[0] == locks.INTERNAL, "lock spaces stay"
                    assert again.acquire(space, "s", SHARED) is None
                    assert again.release(space, "s") is None
            if way == "reload":
                assert other.release(space, "s") is None, "connections stay, too"
            os.kill(pid, signal.SIGKILL)
            upstream.poll(lambda: not (space / "r").exists(), what="the end of its owner to be noticed")


def test_a_frame_may_be_cut_anywhere_by_a_hand_over(scratch):
    with locks.Lockd(scratch / "cut") as lockd:
        space = lockd.spaces
        with lockd.owner() as client:
            assert client.open_space(space) is None
            calls = [
                wire.call(locks.ACQUIRE, string(str(space)) + string("r") + u32(AUTOCREATE), 70, locks.LOCK),
                wire.call(locks.RELEASE, string(str(space)) + string("r") + u32(0), 71, locks.LOCK),
            ]
            data = b"".join(call.pack() for call in calls)
            for cut in (3, 4, 27, 28, 40, len(calls[0].pack()) - 1, len(calls[0].pack()) + 9):
                client.send(data[:cut])
                time.sleep(0.05)
                lockd.reload()
                client.send(data[cut:])
                assert [client.receive()[4:6] for _ in calls] == [(70, wire.OK), (71, wire.OK)], f"cut at {cut}"


def test_an_open_client_that_waits_for_its_answer_gets_it_over_hand_overs(scratch):
    with locks.Lockd(scratch / "pipelined") as lockd:
        with lockd.owner() as client:
            assert client.open_space(lockd.spaces) is None
            payload = string(str(lockd.spaces)) + string("r")
            for batch in range(20):
                serials = list(range(batch * 50, batch * 50 + 50))
                for serial in serials:
                    proc, flags = (locks.RELEASE, 0) if serial % 2 else (locks.ACQUIRE, AUTOCREATE)
                    client.send(wire.call(proc, payload + u32(flags), serial, locks.LOCK))
                if batch % 5 == 2:
                    lockd.process.send_signal(signal.SIGUSR1)
                answers = [client.receive() for _ in serials]
                assert [a.serial for a in answers] == serials
                assert all(a.status == wire.OK for a in answers)
        upstream.poll(lambda: lockd.log().count("took over") == 4, what="four hand-overs in the log")


def test_many_owners_share_until_a_record_is_full(lockd, space):
    with lockd.owner(name="n" * 200) as client:
        count = 0
        while (answer := client.acquire(space, "r", AUTOCREATE | SHARED)) is None:
            count += 1
        assert answer[0] == locks.INTERNAL and count > 100
        for _ in range(count):
            assert client.release(space, "r") is None
        assert client.release(space, "r")[:2] == BUSY and not (space / "r").exists()


def test_users_that_are_not_listed_are_closed_at_once(scratch):
    if os.geteuid() != 0:
        pytest.skip("takes root")
    with locks.Lockd(scratch / "lockd-users") as lockd:
        for path in (lockd.socket, lockd.socket.parent, lockd.directory):
            path.chmod(0o777)  # as if somebody had opened it: CVE-2019-10132
        os.seteuid(65534)
        try:
            with lockd.connect() as client, pytest.raises(wire.Closed):
                client.register()
        finally:
            os.seteuid(0)
        upstream.await_log(lockd, "may not connect")


def test_the_number_of_clients_is_bounded_and_more_wait(scratch):
    with locks.Lockd(scratch / "bounded", max_clients=3) as lockd:
        inside = [lockd.owner() for _ in range(3)]
        with lockd.connect() as waiting:
            waiting.send(wire.keepalive())
            with pytest.raises(TimeoutError):
                waiting.receive(0.5)
            inside.pop().close()
            assert waiting.receive().prog == wire.KEEPALIVE
        for client in inside:
            client.close()
