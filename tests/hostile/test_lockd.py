# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lockd - hostile clients of the lock daemon, and file systems that turn against it. After each of them the locks of
others are what they were, and the same locker serves.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading

import pytest

from vgtest import locks, processes, upstream, wire
from vgtest.locks import AUTOCREATE, LOCK, SHARED
from vgtest.wire import string, u32

BUSY = (locks.BUSY, locks.FROM_LOCK_SPACE)


@pytest.fixture(scope="module")
def lockd(scratch):
    with locks.Lockd(scratch / "hostile-lockd") as daemon:
        yield daemon


@pytest.fixture
def space(lockd, request):
    path = lockd.spaces / request.node.name.replace("/", "_")[:100]
    with lockd.connect() as client:
        assert client.open_space(path) is None
    return path


@pytest.fixture(autouse=True)
def a_lock_of_somebody_else(lockd):
    """It is held before and after, by a connection that stays; and nobody had to be started again."""
    path, before = lockd.spaces / "bystander", lockd.lockers
    with lockd.owner(555555) as bystander:
        assert bystander.open_space(path) is None
        assert bystander.acquire(path, "r", AUTOCREATE) is None
        yield
        assert not locks.is_free(path / "r")
        assert bystander.release(path, "r") is None
    assert lockd.lockers == before, f"a locker died:\n{lockd.log()[-3000:]}"


def named_in(payload):
    """Path and name of an ACQUIRE; what pads them may be anything."""
    size = struct.unpack(">I", payload[:4])[0]
    rest = payload[4 + size + -size % 4 :]
    return payload[4 : 4 + size], rest[4 : 4 + struct.unpack(">I", rest[:4])[0]]


def ends(client):
    """True if the daemon closes the connection and says nothing."""
    try:
        return client.rest(5.0) == []
    except TimeoutError:
        return False


@pytest.mark.parametrize("length", [0, 4, 5, 27, 33554437, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wrong_length_ends_the_connection(lockd, length):
    with lockd.connect() as client:
        client.send(struct.pack(">I", length) + b"\0" * 24)
        assert ends(client)


@pytest.mark.parametrize("size", [16385, 65536, 1 << 20, 32 << 20])
def test_a_long_message_is_refused_and_costs_no_memory(lockd, size):
    (locker,) = lockd.lockers
    before = processes.resident(locker)
    with lockd.connect() as client:
        client.send(wire.call(locks.ACQUIRE, b"\0" * (size - 28), 3, LOCK))
        assert client.receive().error()[:2] == (locks.RPC, locks.FROM_RPC)
        assert client.alive()
    assert processes.resident(locker) < before + (1 << 20)


def test_long_names_of_every_length_around_the_limits(lockd, space):
    with lockd.owner() as client:
        for size in (255, 256, 4000, 4095, 4096, 8000, 16000, 65535, 65536, 65537):
            answer = client.acquire(space, "n" * size, AUTOCREATE)
            assert (answer is None) == (size == 255), size
            assert answer is None or answer[0] in (locks.SYSTEM, locks.RPC)
            assert client.acquire("", f"{lockd.direct}/" + "n" * size) is not None
            assert client.open_space(f"{lockd.spaces}/" + "n" * size if size > 255 else space) is None or size > 255
        assert client.release(space, "n" * 255) is None
    assert os.listdir(space) == []


def test_every_byte_of_a_call_may_be_wrong(lockd, space):
    """Each byte of an ACQUIRE with other values: an answer or an end, and nothing that is not named in it is locked."""
    payload = string(str(space)) + string("victim") + u32(AUTOCREATE)
    good = wire.call(locks.ACQUIRE, payload, 9, LOCK).pack()
    for at in range(4, len(good)):
        for value in (0, 1, 0x7F, 0xFF, good[at] ^ 0x80):
            bad = good[:at] + bytes([value]) + good[at + 1 :]
            with lockd.owner(777) as client, contextlib.suppress(wire.Closed, TimeoutError):
                client.send(bad)
                client.send(wire.keepalive())
                frame = client.receive(2.0)
                if frame.prog == LOCK and frame.status == wire.OK and frame.proc == locks.ACQUIRE:
                    assert client.release(*named_in(bad[28:])) is None
    left = [path for path in lockd.spaces.rglob("*") if path.is_file() and path.parent != lockd.spaces / "bystander"]
    assert left == []


def test_random_bytes(lockd):
    noise = random.Random(6)
    for _ in range(200):
        with lockd.connect() as client, contextlib.suppress(wire.Closed, TimeoutError):
            body = noise.randbytes(noise.randrange(24, 400))
            client.send(struct.pack(">I", len(body) + 4) + body)
            header = struct.pack(">6I", LOCK, 1, noise.randrange(0, 12), noise.randrange(0, 7), 1, noise.randrange(0, 3))
            body = noise.randbytes(noise.randrange(0, 200))
            client.send(struct.pack(">I", len(body) + 28) + header + body)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../bystander/r", "/etc/passwd", "a/b", "a\0b", b"\xff\0", "../../direct/x", "x" * 256]
)
def test_names_that_lead_elsewhere(lockd, space, name):
    with lockd.owner() as client:
        for call in (client.acquire, client.create, client.delete, client.release):
            for flags in (0, AUTOCREATE) if call == client.acquire else (0,):
                assert call(space, name, flags) is not None
        assert client.alive()
    assert os.listdir(space) == []


@pytest.mark.parametrize("path", ["/etc", "/", "../spaces", "/proc/self/cwd", "/var/lib/libvirt/../../../etc"])
def test_lock_spaces_elsewhere(lockd, path):
    with lockd.owner() as client:
        assert client.open_space(path) is not None and client.new(path) is not None
        assert client.open_space(f"{lockd.spaces}/../direct/made") is not None
    assert not (lockd.direct / "made").exists()


def test_planted_links_are_not_followed(lockd, space, scratch):
    outside = scratch / "outside"
    outside.mkdir()
    (outside / "precious").write_text("data")
    (space / "file").symlink_to(outside / "precious")
    (space / "gone").symlink_to(outside / "made")
    (lockd.spaces / "way").symlink_to(outside)
    (lockd.direct / "way").symlink_to(outside)
    (lockd.direct / "disk").symlink_to(outside / "precious")
    with lockd.owner() as client:
        for flags in (0, AUTOCREATE, SHARED, AUTOCREATE | SHARED):
            for where, name in [
                (space, "file"),
                (space, "gone"),
                ("", lockd.direct / "disk"),
                ("", lockd.direct / "way" / "precious"),
            ]:
                code, _, text = client.acquire(where, name, flags)
                assert code == locks.SYSTEM and "a symbolic link is in the path" in text
                assert client.create(where, name) is not None and client.delete(where, name) is not None
        assert "symbolic link" in client.open_space(lockd.spaces / "way")[2]
        assert "symbolic link" in client.open_space(lockd.spaces / "way" / "deeper")[2]
    assert sorted(os.listdir(outside)) == ["precious"] and (outside / "precious").read_text() == "data"
    for link in (lockd.direct / "way", lockd.direct / "disk", lockd.spaces / "way"):
        link.unlink()


def test_a_name_that_is_exchanged_all_the_time_is_never_locked_twice(lockd, space):
    """Somebody replaces the file with a link, a directory and another file as fast as it can."""
    over = threading.Event()

    def exchange():
        while not over.is_set():
            for make in (
                lambda: os.symlink("/etc/passwd", space / "new"),
                lambda: (space / "new").mkdir(),
                lambda: (space / "new").touch(),
            ):
                with contextlib.suppress(OSError):
                    make()
                    if (space / "r").is_dir():
                        (space / "r").rmdir()
                    os.rename(space / "new", space / "r")

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        with lockd.owner() as one, lockd.owner(4243) as two:
            for _ in range(300):
                first, second = one.acquire(space, "r", AUTOCREATE), two.acquire(space, "r", AUTOCREATE)
                assert first is not None or second[:2] == BUSY
                for client, answer in ((one, first), (two, second)):
                    assert answer is not None or client.release(space, "r") is None
    finally:
        over.set()
        thread.join()
    shutil.rmtree(space)


def test_a_lock_space_that_is_removed_or_replaced(lockd, space):
    with lockd.owner() as client:
        assert client.acquire(space, "r", AUTOCREATE) is None
        shutil.rmtree(space)
        assert "removed or replaced" in client.acquire(space, "q", AUTOCREATE)[2]
        space.mkdir()
        assert "removed or replaced" in client.acquire(space, "q", AUTOCREATE)[2]
        assert client.acquire(space, "r", AUTOCREATE)[:2] == BUSY
        assert client.release(space, "r") is None
        assert client.new(space) is None and client.acquire(space, "q", AUTOCREATE) is None
        assert client.release(space, "q") is None


@pytest.mark.parametrize("trouble", ["read-only", "full"])
def test_a_file_system_that_takes_no_file(scratch, trouble):
    if os.geteuid() != 0:
        pytest.skip("takes root")
    with contextlib.ExitStack() as stack:
        lockd = locks.Lockd(scratch / f"disk-{trouble}")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=8", "tmpfs", lockd.spaces], check=True)
        stack.callback(subprocess.run, ["umount", "-l", lockd.spaces], check=True)
        (lockd.direct / "disk").touch()
        stack.enter_context(lockd)
        client = stack.enter_context(lockd.owner())
        space = lockd.spaces
        assert client.open_space(space) is None and client.acquire("", lockd.direct / "disk") is None
        assert client.create(space, "there") is None
        if trouble == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", space], check=True)
            assert "Read-only" in client.acquire(space, "there")[2]
        else:
            assert client.acquire(space, "there") is None
            with pytest.raises(OSError, match="No space"):
                for i in range(100):
                    (space / f"filler{i}").touch()
        expected = "Read-only" if trouble == "read-only" else "No space"
        for answer in (
            client.acquire(space, "new", AUTOCREATE),
            client.create(space, "new"),
            client.open_space(space / "new"),
        ):
            assert answer[0] == locks.SYSTEM and str(space) in answer[2] and expected in answer[2]
        if trouble == "full":
            assert client.release(space, "there") is None
        assert client.acquire("", lockd.direct / "disk")[:2] == BUSY
        assert client.release("", lockd.direct / "disk") is None


def test_descriptors_with_a_call_end_the_connection(lockd):
    with lockd.connect() as client:
        frame = wire.Frame(LOCK, 1, locks.RESTRICT, wire.CALL_WITH_FDS, 3, wire.OK, u32(1) + u32(0)).pack()
        socket.send_fds(client.sock, [frame], [0])
        assert ends(client)


def test_descriptors_that_nobody_asked_for_are_not_kept(lockd):
    (locker,) = lockd.lockers
    before = processes.descriptors(locker)
    with lockd.connect() as client:
        for _ in range(50):
            socket.send_fds(client.sock, [wire.keepalive().pack()], [0, 1, 2])
            assert client.receive().prog == wire.KEEPALIVE
        assert before is None or processes.descriptors(locker) <= before + 1


def test_a_client_that_does_not_read_is_not_read(lockd):
    with lockd.connect() as client:
        with pytest.raises(TimeoutError):
            while True:
                client.send(wire.keepalive().pack() * 1000, 1.0)
    upstream.poll(lambda: lockd.answers())


def test_connections_that_come_and_go_leave_nothing(lockd):
    (locker,) = lockd.lockers
    before = processes.descriptors(locker)
    for i in range(300):
        client = lockd.connect()
        if i % 3:
            client.send(wire.call(locks.RESTRICT, u32(0), 1, LOCK).pack()[: i % 33])
        client.close()
    upstream.poll(lambda: processes.descriptors(locker) in (before, None), what="descriptors to be closed")


def test_what_clients_call_things_cannot_forge_a_log_line(scratch):
    evil = "x\n<3>holder: forged\x1b[2J"

    def ready():
        client = lockd.connect()
        assert client.register(name=evil)[0] == locks.RPC, "no name has control bytes"
        assert client.register(name="x\u202e\x85\"forged") is None
        assert client.open_space(lockd.spaces / "forged") is None
        assert client.acquire(lockd.spaces / "forged", "r", AUTOCREATE) is None
        return client

    with locks.Lockd(scratch / "forged", log_level="info") as lockd:
        with lockd.owner() as client:
            assert client.new(f"{lockd.spaces}/{evil}") is None, "but directories may"
        with locks.guest(ready, leaves=True) as pid:
            assert os.WTERMSIG(locks.ended(pid, 5.0)) == signal.SIGTERM
    assert "is open" in lockd.log() and "SIGTERM" in lockd.log()
    for line in lockd.log().split("\n"):
        assert line.isprintable() and not line.startswith("<3>holder: forged"), line


def test_an_owner_cannot_have_somebody_else_ended(lockd, space):
    """The process in the message is that of another one: it is nobody's death that counts."""
    with locks.guest(lambda: lockd.connect()) as pid:
        with lockd.owner(pid) as client:
            assert client.acquire(space, "r", AUTOCREATE) is None
        assert locks.ended(pid, 1.0) is None
        with lockd.owner(pid) as client:
            assert client.release(space, "r") is None
