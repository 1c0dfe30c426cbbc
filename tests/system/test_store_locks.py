# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_store_locks - virtgate:/// writes no volume that a machine uses: it takes the lock that libvirt's plugin takes, in lockd,
before it writes, and has it until it has written. A client of lockd stands for the machines, and at the end there is a real one.
"""

import hashlib
import json
import os
import re
import signal
import subprocess

import pytest

from vgtest import libvirtd, locks, suite, upstream, wire
from vgtest.clients import attempt, run
from vgtest.locks import AUTOCREATE

BUSY, FAILED = 87, 9
MIB = 1 << 20
PARTIAL = ".virtgate-partial"
OLD, NEW = b"old content" * 1000, b"new content" * 1000


def make_suite(directory, **settings):
    return suite.Suite(directory, {}, settings=settings)


@pytest.fixture(scope="module")
def store(scratch):
    with make_suite(scratch / "store-locks") as started:
        yield started


@pytest.fixture(scope="module")
def pool(store):
    return store.directory / "pools" / "default"


@pytest.fixture
def disk(store, pool, request):
    """A volume with old content, for one test."""
    name = re.sub(r"\W", "-", request.node.name.removeprefix("test_"))
    make_volume(store, pool, name)
    return pool / name


def make_volume(house, pool, name):
    virsh(house, "vol-create-as", "default", name, f"{MIB}B")
    (pool / name).write_bytes(OLD.ljust(MIB, b"\0"))


def virsh(house, *words):
    return run("virsh", "-q", "-c", house.uri("virtgate", "/"), *map(str, words))


def refused(house, *words):
    done = attempt("virsh", "-q", "-c", house.uri("virtgate", "/"), *map(str, words))
    assert done.returncode == 1, done.stdout
    return done.stderr


def connect(house):
    client = house.connect()
    client.open("virtgate:///")
    return client


def volume(disk):
    return wire.volume("default", disk.name, str(disk))


def begin_upload(client, disk, offset=0, length=0):
    call = client.start(
        wire.VOL_UPLOAD, volume(disk) + wire.u64(offset) + wire.u64(length) + wire.u32(0)
    )
    return call, client.answer(call)


def end(client, call, status=wire.OK):
    client.send(wire.stream(call, b"", status))
    return client.until(lambda frame: frame.type == wire.STREAM and frame.serial == call.serial)


def listed(house):
    done = subprocess.run(
        [suite.BUILD / "virtgate", "locks", "--json", "--dir", house.directory],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)["locks"]


def machine(house, **facts):
    """A connection that speaks for a machine, as libvirt's plugin makes it."""
    client = locks.connect(house.lock_socket)
    assert client.register(424242, name="web", **facts) is None
    return client


def is_freed(path):
    upstream.poll(lambda: locks.is_free(path), what=f"the end of the lock on {path}")


@pytest.fixture
def content(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(NEW)
    return path


def test_what_a_machine_uses_is_not_written(store, pool, disk, content):
    before = disk.read_bytes()
    with machine(store) as client:
        assert client.acquire("", disk) is None
        for words in (
            ("vol-upload", disk.name, content, "--pool", "default"),
            ("vol-upload", disk.name, content, "--pool", "default", "--offset", "4096", "--length", "4096"),
            ("vol-resize", disk.name, "2M", "--pool", "default"),
            ("vol-wipe", disk.name, "--pool", "default"),
            ("vol-delete", disk.name, "--pool", "default"),
            ("vol-clone", disk.name, "clone", "--pool", "default"),
        ):
            said = refused(store, *words)
            assert f"volume '{disk.name}' is in use by \"web\" (process 424242)" in said, words
            assert "resource busy" in said, words
        assert disk.read_bytes() == before and not (pool / "clone").exists()
        assert not (pool / (disk.name + PARTIAL)).exists()
        with connect(store) as one:
            _, answer = begin_upload(one, disk)
            assert answer.error()[0] == BUSY
        # To look is allowed, as with libvirt.
        virsh(store, "vol-download", disk.name, content.with_name("copy"), "--pool", "default")
        assert client.release("", disk) is None
    virsh(store, "vol-upload", disk.name, content, "--pool", "default")
    assert disk.read_bytes() == NEW.ljust(MIB, b"\0")
    virsh(store, "vol-clone", disk.name, "clone", "--pool", "default")
    virsh(store, "vol-delete", "clone", "--pool", "default")
    virsh(store, "vol-delete", disk.name, "--pool", "default")
    assert listed(store) == []


def test_machines_that_share_a_disk_do_not_keep_it_from_being_copied(store, pool, disk):
    with machine(store) as client:
        assert client.acquire("", disk, locks.SHARED) is None
        assert "is in use by" in refused(store, "vol-wipe", disk.name, "--pool", "default")
        virsh(store, "vol-clone", disk.name, "of-shared", "--pool", "default")
        virsh(store, "vol-delete", "of-shared", "--pool", "default")
        assert client.release("", disk) is None


@pytest.mark.parametrize("where", [(0, 0), (4096, 4096)])
def test_what_is_uploaded_is_used_by_nobody(store, disk, where):
    with connect(store) as client, machine(store) as guest:
        call, answer = begin_upload(client, disk, *where)
        assert answer.status == wire.OK
        assert guest.acquire("", disk)[:2] == (BUSY, locks.FROM_LOCK_SPACE)
        assert not locks.is_free(disk)
        (lock,) = [lock for lock in listed(store) if lock["resource"] == str(disk)]
        assert lock["owner"]["kind"] == "session" and lock["owner"]["name"] == "the store (admin)"
        assert lock["through"]["session"] > 0
        client.send(wire.stream(call, NEW[:4096]))
        assert end(client, call).status == wire.OK
        assert guest.acquire("", disk) is None and guest.release("", disk) is None


def test_two_sessions_write_one_volume_one_after_the_other(store, disk):
    with connect(store) as one, connect(store) as two:
        call, answer = begin_upload(one, disk)
        assert answer.status == wire.OK
        assert begin_upload(two, disk)[1].error()[0] == BUSY
        end(one, call, wire.ERROR)
        is_freed(disk)


def wait_for_locker(house, before):
    upstream.poll(
        lambda: house.pids("virtgate-locker") not in ([], [before]), what="a new locker"
    )
    upstream.poll(lambda: lists(house), what="that it answers")


def lists(house):
    try:
        return listed(house) is not None
    except subprocess.CalledProcessError:
        return False


@pytest.mark.parametrize("where", [(0, 0), (4096, 65536)])
def test_end_of_the_lock_daemon_ends_an_upload(store, pool, disk, content, where):
    """It cannot know any more that nobody else writes. What was sent of a whole volume can be gone on with."""
    before = disk.read_bytes()
    with connect(store) as client:
        call, answer = begin_upload(client, disk, *where)
        assert answer.status == wire.OK
        client.send(wire.stream(call, NEW[:1000]))
        (locker,) = store.pids("virtgate-locker")
        os.kill(locker, signal.SIGKILL)
        over = client.until(lambda frame: frame.type == wire.STREAM and frame.serial == call.serial)
        assert over.status == wire.ERROR and "was lost" in over.error()[2]
    wait_for_locker(store, locker)
    is_freed(disk)
    if where == (0, 0):
        assert disk.read_bytes() == before
        partial = pool / (disk.name + PARTIAL)
        assert partial.read_bytes() == NEW[: len(partial.read_bytes())]
    # The next one finds the new locker.
    virsh(store, "vol-upload", disk.name, content, "--pool", "default")
    assert disk.read_bytes() == NEW.ljust(MIB, b"\0")


def test_lock_ends_with_the_store(store, disk, content):
    with connect(store) as client:
        _, answer = begin_upload(client, disk)
        assert answer.status == wire.OK
        assert not locks.is_free(disk)
        (pid,) = store.pids("virtgate-store")
        os.kill(pid, signal.SIGKILL)
        is_freed(disk)
    upstream.poll(lambda: store.pids("virtgate-store") not in ([], [pid]), what="a new store")
    upstream.poll(
        lambda: attempt("virsh", "-q", "-c", store.uri("virtgate", "/"), "vol-info", disk.name, "default").returncode == 0,
        what="that it answers",
    )
    virsh(store, "vol-upload", disk.name, content, "--pool", "default")
    assert listed(store) == []


def test_lock_that_is_broken_ends_the_upload(store, disk):
    before = disk.read_bytes()
    with connect(store) as client:
        call, answer = begin_upload(client, disk)
        assert answer.status == wire.OK
        words = ["locks", "break", "direct", str(disk), "--reason", "a test", "--yes", "--dir", store.directory]
        subprocess.run([suite.BUILD / "virtgate", *words], timeout=60, check=True)
        over = client.until(lambda frame: frame.type == wire.STREAM and frame.serial == call.serial)
        assert over.status == wire.ERROR and "was lost" in over.error()[2]
    assert disk.read_bytes() == before


def test_without_the_lock_daemon_nothing_is_written(scratch):
    with make_suite(scratch / "store-no-lockd", **{"workerd.lockd_socket": '"/nonexistent/lockd.sock"'}) as house:
        pool = house.directory / "pools" / "default"
        make_volume(house, pool, "disk")
        for words in (("vol-wipe",), ("vol-resize",), ("vol-delete",)):
            more = ["2M"] if words[0] == "vol-resize" else []
            said = refused(house, *words, "disk", *more, "--pool", "default")
            assert "cannot be locked" in said and "lock daemon" in said
        assert (pool / "disk").read_bytes() == OLD.ljust(MIB, b"\0")
        virsh(house, "vol-download", "disk", house.directory / "copy", "--pool", "default")


def test_it_may_be_told_that_there_is_none(scratch):
    with make_suite(scratch / "store-unlocked", **{"workerd.lockd_socket": '""'}) as house:
        make_volume(house, house.directory / "pools" / "default", "disk")
        virsh(house, "vol-wipe", "disk", "--pool", "default")
        upstream.await_log(house, "volumes are written without locks")


def test_lock_space_as_libvirts_plugin_has_it(scratch):
    directory = scratch / "store-lock-space"
    space = directory / "lockspaces" / "files"
    with make_suite(directory, **{"workerd.store.lock_space": f'"{space}"'}) as house:
        pool = house.directory / "pools" / "default"
        make_volume(house, pool, "disk")
        name = hashlib.sha256(str(pool / "disk").encode()).hexdigest()
        with connect(house) as client, machine(house) as guest:
            call, answer = begin_upload(client, pool / "disk")
            assert answer.status == wire.OK
            assert not locks.is_free(space / name)
            assert guest.acquire(space, name, AUTOCREATE)[:2] == (BUSY, locks.FROM_LOCK_SPACE)
            end(client, call, wire.ERROR)
            upstream.poll(lambda: guest.acquire(space, name, AUTOCREATE) is None, what="the end of the lock")
            assert "is in use by \"web\"" in refused(house, "vol-wipe", "disk", "--pool", "default")
            # Its name is locked, too, while it is made.
            new = hashlib.sha256(str(pool / "new").encode()).hexdigest()
            assert guest.acquire(space, new, AUTOCREATE) is None
            assert "is in use by" in refused(house, "vol-create-as", "default", "new", "1M")
            assert guest.release(space, new) is None and guest.release(space, name) is None
        virsh(house, "vol-create-as", "default", "new", "1M")
        upstream.poll(lambda: list(space.iterdir()) == [], what="that the lock files go with their locks")


EMULATOR = "/usr/bin/qemu-system-x86_64"


@pytest.mark.skipif(
    not os.path.exists(EMULATOR) or not libvirtd.available(), reason="needs QEMU and libvirtd"
)
def test_real_machine_and_store_exclude_each_other(scratch):
    """libvirt's QEMU driver with our lockd, and a store whose pool is where the disks are."""
    from test_lock_manager import House

    with House(scratch / "store-machine", "") as machines:
        settings = {
            "workerd.lockd_socket": f'"{machines.lockd.socket}"',
            "workerd.store.directories": f'["{machines.disks}"]',
            "workerd.store.default_pool": f'"{machines.disks}"',
        }
        with make_suite(scratch / "store-machine-front", **settings) as house:
            # Daemons of root have none of its powers here, and lockd is another user's.
            machines.lockd.socket.chmod(0o666)
            machines.lockd.socket.parent.chmod(0o711)
            path = machines.disk("disk")
            path.chmod(0o666)
            virsh(house, "pool-refresh", "default")
            guest = machines.start("web", path)
            said = refused(house, "vol-wipe", "disk", "--pool", "default")
            assert "resource busy: volume 'disk' is in use by \"web\" (process" in said
            guest.destroy()
            with connect(house) as client:
                call = client.start(
                    wire.VOL_UPLOAD,
                    wire.volume("default", "disk", str(path)) + wire.u64(0) + wire.u64(4096) + wire.u32(0),
                )
                assert client.answer(call).status == wire.OK
                with pytest.raises(Exception, match="is locked"):
                    machines.start("web", path).destroy()
                end(client, call, wire.ERROR)
            upstream.poll(lambda: locks.is_free(path), what="the end of the lock")
            machines.start("web", path).destroy()
