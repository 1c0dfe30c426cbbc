# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_store - the store and clients who mean it harm: names, links and devices planted in a pool, streams that break the
rules, sizes, a reader that does not read. The store's process is the same afterwards.
"""

import os
import socket
import time

import pytest

from vgtest import processes, suite, upstream, wire

MIB = 1 << 20
CREATE, LOOKUP, LOOKUP_PATH, DELETE, DOWNLOAD, REFRESH, LOOKUP_POOL, DEFINE = 93, 95, 97, 94, 209, 83, 84, 77


@pytest.fixture(scope="module")
def running(scratch):
    with suite.Suite(scratch / "hostile-store", {}) as started:
        yield started


@pytest.fixture
def store(running):
    before = running.pids("virtgate-store")
    assert len(before) == 1
    yield running
    assert running.pids("virtgate-store") == before, running.log()[-3000:]


@pytest.fixture
def client(store):
    with store.connect() as one:
        one.open("virtgate:///")
        yield one


@pytest.fixture
def pool(store):
    return store.directory / "pools" / "default"


def handle(client):
    """The pool "default" on the wire."""
    return client.ask(LOOKUP_POOL, wire.string("default")).payload


def create(client, name, capacity="1048576", more=""):
    xml = f"<volume><name>{name}</name><capacity>{capacity}</capacity>{more}</volume>"
    return client.ask(CREATE, handle(client) + wire.string(xml) + wire.u32(0))


def volume(pool, name):
    return wire.volume("default", name, f"{pool}/{name}")


def begin(client, proc, pool, name, offset=0, length=0, flags=0):
    call = client.start(proc, volume(pool, name) + wire.u64(offset) + wire.u64(length) + wire.u32(flags))
    return call, client.answer(call)


def is_last(call):
    return lambda frame: frame.type == wire.STREAM and frame.serial == call.serial and frame.status != wire.CONTINUE


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", "", "a&#10;b", "&#127;", "x" * 300, ".virtgate-new-1",
                                  "a.virtgate-partial"])
def test_names_that_are_none(client, pool, name):
    assert create(client, name).error()[0] == 27
    assert list(pool.iterdir()) == [] and not (pool.parent / "x").exists()


@pytest.mark.parametrize("capacity", ["9223372036854775808", "18446744073709551615", "-1", "1e3", "0x10",
                                      "99999999999999999999999"])
def test_sizes_that_are_none(client, pool, capacity):
    assert create(client, "size", capacity).error()[0] == 27
    assert list(pool.iterdir()) == []


def test_size_that_no_disk_has(client, pool):
    assert create(client, "size", "9223372036854775807").error()[0] == 38
    assert create(client, "size", "4611686018427387904", "<target><format type='qcow2'/></target>").error()[0] == 67
    assert list(pool.iterdir()) == []


def test_what_is_planted_is_no_volume(client, pool, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (pool / "link").symlink_to(secret)
    (pool / "outside").symlink_to("/etc")
    os.mkfifo(pool / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(pool / "socket"))
    names = ["link", "outside", "fifo", "socket"]
    if os.geteuid() == 0:
        os.mknod(pool / "null", 0o20666, os.makedev(1, 3))
        names.append("null")
    try:
        assert client.ask(REFRESH, handle(client) + wire.u32(0)).status == wire.OK
        for name in names:
            assert client.ask(LOOKUP, handle(client) + wire.string(name)).error()[0] == 50, name
            assert client.ask(LOOKUP_PATH, wire.string(f"{pool}/{name}")).error()[0] == 50, name
            assert begin(client, DOWNLOAD, pool, name)[1].error()[0] == 50, name
    finally:
        listener.close()
        for name in names:
            (pool / name).unlink()


def test_link_that_takes_a_volumes_place_is_not_followed(client, pool, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    assert create(client, "swapped").status == wire.OK
    (pool / "swapped").unlink()
    (pool / "swapped").symlink_to(secret)
    assert begin(client, DOWNLOAD, pool, "swapped")[1].error()[0] == 38
    call, answer = begin(client, wire.VOL_UPLOAD, pool, "swapped", 10, 5)
    assert answer.error()[0] == 38
    (pool / "swapped.virtgate-partial").symlink_to(secret)
    assert begin(client, wire.VOL_UPLOAD, pool, "swapped")[1].error()[0] == 38
    assert secret.read_text() == "secret"
    (pool / "swapped.virtgate-partial").unlink()
    assert client.ask(DELETE, volume(pool, "swapped") + wire.u32(0)).status == wire.OK


@pytest.mark.parametrize("path", ["/etc", "/proc/self/root/etc", "{pools}/../../etc", "{pools}/link/x", "etc", ""])
def test_pools_elsewhere(client, store, path):
    pools = store.directory / "pools"
    path = path.format(pools=pools)
    if "link" in path and not (pools / "link").is_symlink():
        (pools / "link").symlink_to("/tmp")
    xml = f"<pool type='dir'><name>bad</name><target><path>{path}</path></target></pool>"
    answer = client.ask(DEFINE, wire.string(xml) + wire.u32(0))
    if answer.status == wire.OK:
        assert client.ask(79, answer.payload + wire.u32(0)).status == wire.ERROR, "it was built"
        assert client.ask(82, answer.payload).status == wire.OK
        (pools / "link").unlink()
    else:
        assert answer.error()[0] in (27, 67)


def test_data_after_the_end_changes_nothing(client, pool):
    assert create(client, "ended").status == wire.OK
    call, answer = begin(client, wire.VOL_UPLOAD, pool, "ended")
    client.send(wire.stream(call, b"a" * MIB))
    client.send(wire.stream(call, b"", wire.OK))
    client.send(wire.stream(call, b"b" * 1000))
    client.send(wire.stream(call, b"", wire.OK))
    assert client.until(is_last(call)).status == wire.OK
    assert client.ask(wire.GET_TYPE).status == wire.OK
    assert (pool / "ended").read_bytes() == b"a" * MIB
    assert client.ask(DELETE, volume(pool, "ended") + wire.u32(0)).status == wire.OK


def test_endless_upload_ends_at_the_capacity(client, pool):
    assert create(client, "endless").status == wire.OK
    call, answer = begin(client, wire.VOL_UPLOAD, pool, "endless", 0, 0, 1)
    client.send(wire.hole(call, 2**62))
    last = client.until(is_last(call))
    assert last.status == wire.ERROR and last.error()[0] == 38
    calls = []

    def begins():  # the first one is being cleared away
        call, answer = begin(client, wire.VOL_UPLOAD, pool, "endless", 5, 10)
        calls.append(call)
        return answer.status == wire.OK

    upstream.poll(begins)
    client.send(wire.stream(calls[-1], b"x" * 11))
    assert client.until(is_last(calls[-1])).status == wire.ERROR
    assert (pool / "endless").stat().st_size == MIB
    upstream.poll(lambda: client.ask(DELETE, volume(pool, "endless") + wire.u32(0)).status == wire.OK)


def test_thousands_of_holes_and_bytes_stay_small(client, pool, store):
    assert create(client, "holes", str(1 << 40), "<allocation>0</allocation>").status == wire.OK
    call, answer = begin(client, wire.VOL_UPLOAD, pool, "holes", 0, 0, 1)
    for _ in range(200):
        client.send((wire.hole(call, 8192).pack() + wire.stream(call, b"x").pack()) * 100)
    client.send(wire.stream(call, b"", wire.OK))
    assert client.until(is_last(call)).status == wire.OK
    (pid,) = store.pids("virtgate-store")
    assert processes.resident(pid) < 128 * MIB
    assert (pool / "holes").stat().st_size == 1 << 40
    assert client.ask(DELETE, volume(pool, "holes") + wire.u32(0), patience=60).status == wire.OK


def test_reader_that_does_not_read_holds_nobody_up(client, pool, store):
    assert create(client, "slow", str(64 * MIB)).status == wire.OK
    with store.connect() as lazy:
        lazy.open("virtgate:///")
        begin(lazy, DOWNLOAD, pool, "slow")
        time.sleep(1.0)
        assert client.ask(wire.GET_TYPE).status == wire.OK
        call, answer = begin(client, DOWNLOAD, pool, "slow", 0, MIB)
        size = 0
        while size < MIB:
            size += len(client.until(lambda frame: frame.serial == call.serial and frame.type == wire.STREAM).payload)
        client.send(wire.stream(call, b"", wire.OK))
        assert client.until(is_last(call)).status == wire.OK
    assert client.ask(DELETE, volume(pool, "slow") + wire.u32(0)).status == wire.OK


def test_many_uploads_that_are_cut_off(store, pool):
    with store.connect() as one:
        one.open("virtgate:///")
        assert create(one, "cut").status == wire.OK
    for _ in range(20):
        with store.connect() as one:
            one.open("virtgate:///")
            call, answer = begin(one, wire.VOL_UPLOAD, pool, "cut")
            if answer.status == wire.OK:
                one.send(wire.stream(call, b"x" * 1000))
            one.reset()
    with store.connect() as one:
        one.open("virtgate:///")
        upstream.poll(lambda: one.ask(DELETE, volume(pool, "cut") + wire.u32(0)).status == wire.OK)
        one.ask(DELETE, volume(pool, "cut.virtgate-partial") + wire.u32(0))
    upstream.poll(lambda: list(pool.iterdir()) == [])
