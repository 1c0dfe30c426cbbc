# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_store - virtgate:/// with the real virsh and libvirt-python: pools, volumes, transfers, events, and what is left
after the store was killed. VIRTGATE_STORE_KILLS says how often it is killed in the middle of an upload (5).
"""

import hashlib
import os
import pathlib
import random
import signal
import subprocess
import threading
import time

import pytest

from vgtest import suite, upstream, wire
from vgtest.clients import attempt, run

KILLS = int(os.environ.get("VIRTGATE_STORE_KILLS", "5"))
SEED = int(os.environ.get("VIRTGATE_SEED", random.SystemRandom().getrandbits(32)))
MIB = 1 << 20
PARTIAL = ".virtgate-partial"
BUSY, NO_SPACE = 87, 28


@pytest.fixture(scope="module")
def store(scratch):
    """Everything without any libvirt daemon."""
    with suite.Suite(scratch / "store", {}) as started:
        yield started


@pytest.fixture(scope="module")
def pool(store):
    return store.directory / "pools" / "default"


@pytest.fixture
def virsh(store):
    def call(*words, **options):
        return run("virsh", "-q", "-c", store.uri("virtgate", "/"), *map(str, words), **options)

    return call


def refused(store, *words):
    done = attempt("virsh", "-q", "-c", store.uri("virtgate", "/"), *map(str, words))
    assert done.returncode == 1, done.stdout
    return done.stderr


def connect(store):
    client = store.connect()
    client.open("virtgate:///")
    return client


def volume(pool, name):
    return wire.volume("default", name, f"{pool}/{name}")


def begin_upload(client, pool, name, offset=0, length=0, flags=0):
    call = client.start(wire.VOL_UPLOAD, volume(pool, name) + wire.u64(offset) + wire.u64(length) + wire.u32(flags))
    return call, client.answer(call)


def end(client, call, status=wire.OK):
    client.send(wire.stream(call, b"", status))
    return client.until(lambda frame: frame.type == wire.STREAM and frame.serial == call.serial)


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def wait_for(condition, what):
    upstream.poll(condition, 30.0, what)


def make_sparse(path, size, places):
    with open(path, "wb") as file:
        file.truncate(size)
        for place in places:
            file.seek(place)
            file.write(os.urandom(MIB))


def test_virsh_sees_the_machine(virsh):
    assert virsh("hostname").strip() == os.uname().nodename
    assert os.uname().machine in virsh("nodeinfo") and "total" in virsh("nodememstats")
    assert "idle" in virsh("nodecpustats") and "<arch>" in virsh("capabilities")


def test_no_uri_is_the_store_where_no_daemon_is(store):
    if pathlib.Path("/run/libvirt/libvirt-sock").exists():
        pytest.skip("a libvirt daemon is on this machine")
    with store.connect() as client:
        client.ask(wire.AUTH_LIST)
        client.ask(wire.CONNECT_OPEN, wire.u32(0) + wire.u32(0))
        assert wire.Reader(client.ask(wire.GET_URI).payload).text() == "virtgate:///"


def test_everything_else_is_not_supported(store):
    assert "not supported by the connection driver: virConnectNumOfDomains" in refused(store, "list")


def test_life_of_a_pool(store, virsh, scratch):
    target = store.directory / "pools" / "second"
    virsh("pool-define-as", "second", "dir", "--target", target)
    assert "inactive" in virsh("pool-list", "--all")
    assert "No such file" in refused(store, "pool-start", "second")
    virsh("pool-build", "second")
    virsh("pool-start", "second")
    virsh("pool-autostart", "second")
    assert "yes" in virsh("pool-info", "second") and "running" in virsh("pool-info", "second")
    xml = scratch / "second.xml"
    xml.write_text(virsh("pool-dumpxml", "second"))
    assert str(target) in xml.read_text()
    (target / "found").write_bytes(b"x" * 1000)
    assert "found" not in virsh("vol-list", "second")
    virsh("pool-refresh", "second")
    assert "found" in virsh("vol-list", "second")
    assert virsh("vol-pool", target / "found").strip() == "second"
    assert "is active" in refused(store, "pool-undefine", "second")
    virsh("pool-destroy", "second")
    virsh("pool-define", xml)
    (target / "found").unlink()
    virsh("pool-delete", "second")
    virsh("pool-undefine", "second")
    assert not target.exists() and "second" not in virsh("pool-list", "--all")


@pytest.mark.parametrize("target", ["/etc", "/", "{pools}/../etc", "{pools}x", "relative"])
def test_pools_are_in_the_configured_directories_alone(store, target):
    target = target.format(pools=store.directory / "pools")
    error = refused(store, "pool-define-as", "elsewhere", "dir", "--target", target)
    assert "target path" in error, error


def test_volumes_of_both_formats(store, virsh, pool):
    virsh("vol-create-as", "default", "raw", "10M", "--allocation", 0)
    virsh("vol-create-as", "default", "image", "10G", "--format", "qcow2")
    run("qemu-img", "check", pool / "image")
    assert "10 GiB" in run("qemu-img", "info", pool / "image")
    assert "qcow2" in virsh("vol-dumpxml", "image", "--pool", "default")
    assert virsh("vol-path", "raw", "--pool", "default").strip() == f"{pool}/raw"
    assert "already exists" in refused(store, "vol-create-as", "default", "raw", "1M")
    virsh("vol-resize", "raw", "20M", "--pool", "default")
    assert "capacity" in refused(store, "vol-resize", "raw", "5M", "--pool", "default")
    virsh("vol-resize", "raw", "5M", "--pool", "default", "--shrink")
    assert (pool / "raw").stat().st_size == 5 * MIB
    (pool / "raw").write_bytes(os.urandom(5 * MIB))
    virsh("vol-clone", "raw", "copy", "--pool", "default")
    assert digest(pool / "raw") == digest(pool / "copy")
    virsh("vol-wipe", "copy", "--pool", "default")
    assert not any((pool / "copy").read_bytes())
    assert "No space left" in refused(store, "vol-create-as", "default", "huge", "1000T")
    for name in ("raw", "image", "copy"):
        virsh("vol-delete", name, "--pool", "default")
    assert list(pool.iterdir()) == []


@pytest.mark.parametrize("sparse", [(), ("--sparse",)])
def test_transfers_keep_every_byte(virsh, pool, tmp_path, sparse):
    there, back = tmp_path / "there", tmp_path / "back"
    make_sparse(there, 200 * MIB, (0, 7 * MIB, 130 * MIB))
    virsh("vol-create-as", "default", "moved", "200M", "--allocation", 0)
    virsh("vol-upload", "moved", there, "--pool", "default", *sparse, patience=120)
    assert digest(pool / "moved") == digest(there)
    virsh("vol-download", "moved", back, "--pool", "default", *sparse, patience=120)
    assert digest(back) == digest(there)
    if sparse:
        for path in (pool / "moved", back):
            assert path.stat().st_blocks * 512 <= 4 * MIB, f"{path} has no holes"
    virsh("vol-download", "moved", back, "--pool", "default", "--offset", 5 * MIB, "--length", 3 * MIB)
    assert back.read_bytes() == there.read_bytes()[5 * MIB : 8 * MIB]
    piece = tmp_path / "piece"
    piece.write_bytes(b"in place")
    virsh("vol-upload", "moved", piece, "--pool", "default", "--offset", 1000, "--length", 8)
    assert (pool / "moved").read_bytes()[1000:1008] == b"in place"
    virsh("vol-delete", "moved", "--pool", "default")


def test_two_clients_share_a_volume_in_order(store, virsh, pool):
    virsh("vol-create-as", "default", "shared", "1M")
    with connect(store) as one, connect(store) as two:
        call, answer = begin_upload(one, pool, "shared")
        assert answer.status == wire.OK
        assert begin_upload(two, pool, "shared")[1].error()[0] == BUSY
        assert "being uploaded" in refused(store, "vol-delete", "shared", "--pool", "default")
        one.send(wire.stream(call, b"a" * MIB))
        assert end(one, call).status == wire.OK
        assert begin_upload(two, pool, "shared")[1].status == wire.OK
    wait_for(lambda: (pool / "shared").read_bytes() == b"a" * MIB, "the content")
    wait_for(lambda: attempt("virsh", "-c", store.uri("virtgate", "/"), "vol-delete", "shared", "--pool",
                                  "default").returncode == 0, "the second upload's end")


def test_an_upload_is_whole_or_goes_on(store, virsh, pool, tmp_path):
    virsh("vol-create-as", "default", "whole", "4M")
    with connect(store) as client:
        call, _ = begin_upload(client, pool, "whole")
        client.send(wire.stream(call, b"1" * (2 * MIB)))
        assert end(client, call, wire.ERROR).status == wire.OK
    assert not any((pool / "whole").read_bytes()), "the old content has changed"
    wait_for(lambda: f"whole{PARTIAL}" in virsh("vol-list", "default"), "the partial volume")
    rest = tmp_path / "rest"
    rest.write_bytes(b"2" * (2 * MIB))
    virsh("vol-upload", f"whole{PARTIAL}", rest, "--pool", "default", "--offset", 2 * MIB)
    assert (pool / "whole").read_bytes() == b"1" * (2 * MIB) + b"2" * (2 * MIB)
    assert PARTIAL not in virsh("vol-list", "default")
    virsh("vol-delete", "whole", "--pool", "default")


def test_what_is_too_much_is_refused_and_the_old_content_stays(store, virsh, pool):
    virsh("vol-create-as", "default", "small", "1M")
    with connect(store) as client:
        call, _ = begin_upload(client, pool, "small")
        client.send(wire.stream(call, b"x" * (MIB + 1)))
        last = client.until(lambda frame: frame.type == wire.STREAM and frame.serial == call.serial)
        assert last.status == wire.ERROR and last.error()[0] == 38, last
    assert not any((pool / "small").read_bytes())
    for name in ("small", f"small{PARTIAL}"):
        wait_for(lambda: attempt("virsh", "-c", store.uri("virtgate", "/"), "vol-delete", name, "--pool",
                                 "default").returncode == 0, "the end of the upload")


def test_events_reach_another_connection(store, virsh):
    program = subprocess.Popen(
        ["stdbuf", "-oL", "virsh", "-q", "-c", store.uri("virtgate", "/"), "pool-event", "--event", "lifecycle", "--loop",
         "--timeout", "30"], stdout=subprocess.PIPE, text=True)
    lines = []
    threading.Thread(target=lambda: lines.extend(program.stdout), daemon=True).start()
    target = store.directory / "pools" / "told"

    def seen():
        # It cannot say when it has registered.
        virsh("pool-define-as", "told", "dir", "--target", target)
        virsh("pool-undefine", "told")
        return all(any("told" in line and what in line for line in lines) for what in ("Defined", "Undefined"))

    try:
        wait_for(seen, "events")
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait(10)
    assert any("told" in line and "Defined" in line for line in lines), lines


def test_changed_volumes_are_a_refreshed_pool(store, virsh):
    import libvirt

    libvirt.virEventRegisterDefaultImpl()
    connection = libvirt.open(store.uri("virtgate", "/"))
    refreshed = []
    connection.storagePoolEventRegisterAny(
        None, libvirt.VIR_STORAGE_POOL_EVENT_ID_REFRESH, lambda _, which, __: refreshed.append(which.name()), None)
    virsh("vol-create-as", "default", "event", "1M")
    deadline = time.monotonic() + 20
    while not refreshed and time.monotonic() < deadline:
        timer = libvirt.virEventAddTimeout(200, lambda *_: None, None)
        libvirt.virEventRunDefaultImpl()
        libvirt.virEventRemoveTimeout(timer)
    connection.close()
    virsh("vol-delete", "event", "--pool", "default")
    assert "default" in refreshed


def kill_store(store):
    for pid in store.pids("virtgate-store"):
        os.kill(pid, signal.SIGKILL)


def test_killed_store_leaves_old_or_new_content(store, virsh, pool, tmp_path):
    """What is under the volume's name is always one of the two contents; the pool is there again."""
    random.seed(SEED)
    size = 24 * MIB
    contents = [bytes([n]) * size for n in (1, 2)]
    virsh("vol-create-as", "default", "victim", size)
    (pool / "victim").write_bytes(contents[0])
    sources = [tmp_path / "one", tmp_path / "two"]
    for path, content in zip(sources, contents):
        path.write_bytes(content)
    for kill in range(KILLS):
        wait_for(lambda: attempt("virsh", "-c", store.uri("virtgate", "/"), "vol-info", "victim", "--pool",
                                      "default").returncode == 0, f"the store after kill {kill}")
        upload = subprocess.Popen(
            ["virsh", "-c", store.uri("virtgate", "/"), "vol-upload", "victim", sources[kill % 2], "--pool", "default"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0.05, 0.6))
        kill_store(store)
        upload.wait(30)
        assert (pool / "victim").read_bytes() in contents, f"half a file after kill {kill}, seed {SEED}"
        left = {path.name for path in pool.iterdir()}
        assert left <= {"victim", f"victim{PARTIAL}"}, left
    wait_for(lambda: attempt("virsh", "-c", store.uri("virtgate", "/"), "vol-upload", "victim", sources[1],
                                  "--pool", "default").returncode == 0, "the last upload")
    assert (pool / "victim").read_bytes() == contents[1]
    virsh("vol-delete", "victim", "--pool", "default")
    assert list(pool.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_full_disk_keeps_the_old_content(scratch):
    place = scratch / "tiny"
    pools = place / "pools"
    pools.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", pools], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        with suite.Suite(place, {}) as tiny:
            pool = pools / "default"
            uri = tiny.uri("virtgate", "/")
            run("virsh", "-q", "-c", uri, "vol-create-as", "default", "old", "6M", "--allocation", "0")
            (pool / "old").write_bytes(b"old" * 1000)
            run("virsh", "-q", "-c", uri, "vol-resize", "old", "20M", "--pool", "default")
            with connect(tiny) as client:
                call, answer = begin_upload(client, pool, "old")
                assert answer.status == wire.OK
                for _ in range(20):
                    client.send(wire.stream(call, b"n" * MIB))
                last = client.until(lambda frame: frame.type == wire.STREAM and frame.serial == call.serial)
                assert last.status == wire.ERROR and last.error()[0] == 38, last
            assert (pool / "old").read_bytes()[:3000] == b"old" * 1000
            run("virsh", "-q", "-c", uri, "pool-refresh", "default")
            run("virsh", "-q", "-c", uri, "vol-delete", f"old{PARTIAL}", "--pool", "default")
    finally:
        subprocess.run(["umount", "-l", pools], check=True)


def test_readers_change_nothing(store):
    done = attempt("virsh", "-q", "-r", "-c", store.uri("virtgate", "/"), "vol-create-as", "default", "no", "1M")
    assert done.returncode == 1 and "read only access" in done.stderr, done.stderr
    assert "default" in run("virsh", "-q", "-r", "-c", store.uri("virtgate", "/"), "pool-list")
