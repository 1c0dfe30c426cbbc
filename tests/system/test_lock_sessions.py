# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lock_sessions - clients of the front door call the lock program, as far as the policy lets them. What such a client says
of itself changes nothing: its locks are its session's, and end with it, or its identity's where the policy says "keep".
"""

import contextlib
import json
import os
import re
import signal
import subprocess

import pytest

from vgtest import locks, processes, suite, upstream, wire
from vgtest.locks import AUTOCREATE, SHARED
from vgtest.wire import string, u32, u64

POLICY = """
[role.locks]
allow = ["@connect-basic", "@locks"]
audit = "all"

[role.watcher]
allow = ["@read-only"]

[identity.alice]
x509 = { CN = "alice" }
[identity.bob]
x509 = { CN = "bob" }
[identity.keeper]
x509 = { CN = "keeper" }
[identity.watcher]
x509 = { CN = "watcher" }

[[binding]]
identity = ["alice", "bob"]
role = "locks"
objects = { lock = ["SPACES/images", "glob:SPACES/images/*", "glob:SPACES/direct/*"] }
except = { lock = ["SPACES/images/secret"] }

[[binding]]
identity = "keeper"
role = "locks"
objects = { lock = ["glob:SPACES/images/*"] }
keep = true

[[binding]]
identity = "watcher"
role = "watcher"
objects = { domain = ["glob:*"] }
"""
ACCESS = (88, 55)
BUSY = (locks.BUSY, locks.FROM_LOCK_SPACE)
SESSION, BEGIN, RENEW, WITNESS = 0x5647000D, 1, 2, 3
LOCKS, LIST, BREAK = 0x5647000B, 1, 3


@pytest.fixture(scope="module")
def house(scratch, guard):
    name = "lock-sessions"
    spaces = scratch / name / "lockspaces"
    settings = {"lockd.direct": f'["{spaces}"]'}
    with guard(name, POLICY.replace("SPACES", str(spaces)), settings=settings) as made:
        made.spaces, made.images = spaces, spaces / "images"
        (spaces / "direct").mkdir()
        with locks.connect(made.lock_socket) as client:
            assert client.open_space(made.images) is None
        yield made


@contextlib.contextmanager
def session(house, who, registers=True, **facts):
    """A client of the front door that has been let in as `who`."""
    client = house.dial(who)
    try:
        speaker = locks.Locks(client.sock)
        if registers:
            assert speaker.register(**facts) is None
        yield speaker
    finally:
        client.close()


def listed(house):
    done = subprocess.run(
        [suite.BUILD / "virtgate", "locks", "--json", "--dir", house.directory],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)["locks"]


def is_freed(path):
    upstream.poll(lambda: locks.is_free(path), what=f"the end of the lock on {path}")


def test_a_client_takes_a_lock_and_releases_it(house):
    with session(house, "alice") as alice:
        assert alice.open_space(house.images) is None
        assert alice.acquire(house.images, "a", AUTOCREATE) is None
        assert not locks.is_free(house.images / "a")
        assert alice.acquire(house.images, "a")[:2] == BUSY
        assert alice.release(house.images, "a") is None
        assert not (house.images / "a").exists()
        assert alice.create(house.images, "b") is None and alice.delete(house.images, "b") is None
        assert alice.release(house.images, "b")[:2] == BUSY
        assert alice.alive()


def test_files_can_be_locked_themselves(house):
    disk = house.spaces / "direct" / "disk"
    disk.write_bytes(b"x")
    with session(house, "alice") as alice, session(house, "bob") as bob:
        assert alice.acquire("", disk) is None
        assert bob.acquire("", disk)[:2] == BUSY
        assert alice.release("", disk) is None and bob.acquire("", disk) is None
    is_freed(disk)
    assert disk.read_bytes() == b"x"


def test_the_lock_ends_with_the_session(house):
    with session(house, "alice") as alice, session(house, "bob") as bob:
        for client in (alice, bob):
            assert client.acquire(house.images, "shared", AUTOCREATE | SHARED) is None
        assert alice.acquire(house.images, "mine", AUTOCREATE) is None
        assert bob.acquire(house.images, "mine", AUTOCREATE)[:2] == BUSY
        assert "does not hold" in bob.release(house.images, "mine")[2], "not even by naming the same process"
        alice.sock.close()
        is_freed(house.images / "mine")
        assert not locks.is_free(house.images / "shared")
    is_freed(house.images / "shared")


def test_the_owner_is_the_session_whatever_the_client_says(house):
    """It names process 1, another client's process, and a process of this test: none is asked about or ended."""
    with subprocess.Popen(["sleep", "100"]) as victim:
        for pid in (1, victim.pid, os.getpid(), 0):
            with session(house, "alice", pid=pid, name="root", uuid=b"\1" * 16) as alice:
                assert alice.acquire(house.images, "a", AUTOCREATE) is None
                (lock,) = [lock for lock in listed(house) if lock["resource"] == "a"]
                owner = lock["owner"]
                assert (owner["kind"], owner["name"], owner["process"]) == ("session", "alice", 0)
                assert owner["uuid"] != "01" * 16 and owner["connected"]
                assert lock["through"]["session"] > 0
            is_freed(house.images / "a")
        assert victim.poll() is None
        victim.kill()


def test_sessions_of_one_identity_are_not_each_other(house):
    with session(house, "alice") as one, session(house, "alice") as two:
        assert one.acquire(house.images, "a", AUTOCREATE) is None
        assert two.acquire(house.images, "a")[:2] == BUSY
        assert "does not hold" in two.release(house.images, "a")[2]


def test_who_may_not_lock_gets_nothing(house):
    with session(house, "watcher", registers=False) as watcher:
        for answer in (
            watcher.register(), watcher.restrict(), watcher.new(house.images), watcher.open_space(house.images),
            watcher.create(house.images, "w"), watcher.delete(house.images, "w"),
            watcher.acquire(house.images, "w", AUTOCREATE), watcher.release(house.images, "w"),
        ):  # fmt: skip
            assert answer[:2] == ACCESS and "policy does not allow any call about locks" in answer[2]
        assert not (house.images / "w").exists()
        watcher.open(house.target)  # and nothing else is lost


def test_the_policy_names_what_may_be_locked(house):
    outside = house.spaces / "elsewhere"
    outside.mkdir(exist_ok=True)
    with session(house, "alice") as alice:
        for path, name in [
            (house.images, "secret"), (outside, "a"), ("", house.images / "secret"), ("", outside / "a"),
            ("", "/etc/passwd"), ("", ""), (house.spaces, "elsewhere"),
        ]:  # fmt: skip
            assert alice.acquire(path, name, AUTOCREATE)[:2] == ACCESS, (path, name)
            assert alice.create(path, name)[:2] == ACCESS and alice.delete(path, name)[:2] == ACCESS
            assert alice.release(path, name)[:2] == ACCESS
        assert alice.open_space(outside)[:2] == ACCESS and alice.new(outside)[:2] == ACCESS
        assert alice.open_space("")[:2] == ACCESS
    assert not (house.images / "secret").exists() and list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../elsewhere/a", "./a", "a/../b", "a//b", "a/.", "..", "a/", "\0", "a\0b", "\x1b[2J", "a" * 5000, "x/" * 300]
)
def test_names_that_lead_elsewhere_are_refused(house, name):
    (house.spaces / "elsewhere").mkdir(exist_ok=True)
    with session(house, "alice") as alice:
        for path, what in [(house.images, name), ("", f"{house.images}/{name}"), (f"{house.images}/{name}", "a")]:
            assert alice.acquire(path, what, AUTOCREATE) is not None
        assert alice.acquire(house.images, "good", AUTOCREATE) is None, "and the session goes on"
    is_freed(house.images / "good")
    assert list((house.spaces / "elsewhere").iterdir()) == []


def test_a_lock_that_is_kept_is_the_identitys(house):
    with session(house, "keeper") as first:
        assert first.acquire(house.images, "kept", AUTOCREATE) is None
    with session(house, "alice") as alice:
        assert alice.acquire(house.images, "kept")[:2] == BUSY
        assert "does not hold" in alice.release(house.images, "kept")[2]
    (lock,) = [lock for lock in listed(house) if lock["resource"] == "kept"]
    assert (lock["owner"]["kind"], lock["owner"]["name"]) == ("identity", "keeper")
    (locker,) = house.pids("virtgate-locker")
    os.kill(locker, signal.SIGKILL)
    upstream.poll(lambda: house.pids("virtgate-locker") not in ([], [locker]), what="a new locker")
    assert not locks.is_free(house.images / "kept")
    with session(house, "keeper") as second:
        assert second.release(house.images, "kept") is None
    assert locks.is_free(house.images / "kept")


def test_a_kept_lock_can_be_broken(house):
    with session(house, "keeper") as first:
        assert first.acquire(house.images, "kept", AUTOCREATE) is None
    (lock,) = [lock for lock in listed(house) if lock["resource"] == "kept"]
    words = ["locks", "break", house.images, "kept", "--owner", lock["owner"]["uuid"], "--reason", "test", "--yes"]
    subprocess.run([suite.BUILD / "virtgate", *words, "--dir", house.directory], timeout=60, check=True)
    assert locks.is_free(house.images / "kept")


def test_a_broken_lock_ends_the_session_that_had_it(house):
    with session(house, "alice") as alice, session(house, "bob") as bob:
        assert alice.acquire(house.images, "a", AUTOCREATE) is None
        assert bob.acquire(house.images, "b", AUTOCREATE) is None
        words = ["locks", "break", house.images, "a", "--reason", "test", "--yes", "--dir", house.directory]
        subprocess.run([suite.BUILD / "virtgate", *words], timeout=60, check=True)
        assert alice.rest(10.0) == []
        assert bob.release(house.images, "b") is None


def test_who_holds_locks_hears_of_the_lock_daemons_end(house):
    """The session with a lock ends, and its lock only then; another one goes on, and a new one may lock again."""
    with session(house, "alice") as alice, session(house, "bob", registers=False) as bob:
        assert alice.acquire(house.images, "a", AUTOCREATE) is None
        (locker,) = house.pids("virtgate-locker")
        os.kill(locker, signal.SIGKILL)
        assert alice.rest(10.0) == []
        is_freed(house.images / "a")
        upstream.poll(lambda: house.pids("virtgate-locker") not in ([], [locker]), what="a new locker")
        answer = bob.register()
        assert answer is not None and "a new connection may" in answer[2]
        bob.open(house.target)
    with session(house, "bob") as again:
        assert again.acquire(house.images, "a", AUTOCREATE) is None


def test_a_new_policy_holds_from_the_next_call_on(house):
    with session(house, "alice") as alice:
        assert alice.acquire(house.images, "old", AUTOCREATE) is None
        file = house.policy_directory / house.policy_file
        before = file.read_text()
        try:
            file.write_text(before.replace("images/secret", "images/new"))
            (broker,) = house.pids("virtgate-workerd")
            os.kill(broker, signal.SIGHUP)
            upstream.poll(
                lambda: (alice.create(house.images, "new") or (0, 0))[:2] == ACCESS, what="the new policy"
            )
        finally:
            file.write_text(before)
            os.kill(broker, signal.SIGHUP)
        assert alice.release(house.images, "old") is None
        upstream.poll(lambda: alice.acquire(house.images, "secret")[:2] == ACCESS, what="the old policy")


def acquisitions(house, **wanted):
    return house.wait_for_records(record="call", program="lock", procedure="ACQUIRE_RESOURCE", identity="alice", **wanted)


def test_decisions_are_recorded(house):
    with session(house, "alice") as alice:
        assert alice.acquire(house.images, "logged", AUTOCREATE) is None
        assert alice.acquire(house.images, "logged")[:2] == BUSY
        assert alice.acquire(house.images, "secret")[:2] == ACCESS
        refused = acquisitions(house, verdict="refused", reason="object")[-1]
        assert refused["objects"] == [{"kind": "lock", "name": f"{house.images}/secret", "known": True}]
        done, busy = acquisitions(house, verdict="allowed", result="done")[-1], acquisitions(house, result="error")[-1]
        for record in (done, busy):
            assert record["objects"][0]["name"] == f"{house.images}/logged" and record["role"] == "locks"
            assert record["session"] == refused["session"] and record["subject"].startswith("CN=alice")
        assert busy["error"] == locks.BUSY


def test_broken_lock_is_recorded(house):
    with session(house, "alice") as alice:
        assert alice.acquire(house.images, "broken", AUTOCREATE) is None
        words = ["locks", "break", house.images, "broken", "--reason", "its host burnt", "--yes", "--dir", house.directory]
        subprocess.run([suite.BUILD / "virtgate", *words], timeout=60, check=True)
        record = house.wait_for_records(record="lock-broken", detail="its host burnt")[0]
        assert (record["uid"], record["result"], record["owner_lives"]) == (os.geteuid(), "done", True)
        assert "alice" in record["owner"] and record["objects"][0]["name"] == f"{house.images}/broken"
    shown = subprocess.run(
        [suite.BUILD / "virtgate", "audit", "--file", house.records_file], capture_output=True, text=True, timeout=60
    ).stdout
    assert re.search(r"broke lock=\S*images/broken of .*alice.*its host burnt", shown), shown


def test_records_go_on_with_a_new_locker_and_a_new_auditor(house):
    for name, number in (
        ("virtgate-locker", signal.SIGKILL), ("virtgate-auditor", signal.SIGKILL), ("virtgate-lockd", signal.SIGUSR1)
    ):  # fmt: skip
        watched = "virtgate-locker" if name == "virtgate-lockd" else name
        before = house.pids(watched)
        os.kill(house.pids(name)[0], number)
        upstream.poll(lambda: house.pids(watched) not in ([], before), what=f"a new {watched}")
        count = iter(range(1000))

        def is_recorded():
            what = f"after-{name}-{next(count)}"
            with session(house, "alice") as alice:
                if alice.acquire(house.images, what, AUTOCREATE) is not None:
                    return False
            return any(f"{house.images}/{what}" in str(record) for record in house.records(record="call", program="lock"))

        upstream.poll(is_recorded, 15.0, f"records after the end of {name}")


def test_without_an_auditor_decisions_are_in_the_log(scratch, guard):
    spaces = scratch / "unrecorded" / "lockspaces"
    settings = {"workerd.audit.file": '""'}
    with guard("unrecorded", POLICY.replace("SPACES", str(spaces)), settings=settings) as house:
        with locks.connect(house.lock_socket) as client:
            assert client.open_space(spaces / "images") is None
        with session(house, "alice") as alice:
            assert alice.acquire(spaces / "images", "logged", AUTOCREATE) is None
            assert alice.acquire(spaces / "images", "secret")[:2] == ACCESS
            name = re.escape(str(spaces / "images"))
            upstream.await_log(house, re.compile(rf"session \d+ alice: allowed ACQUIRE_RESOURCE lock={name}/logged: allowed"))
            upstream.await_log(house, re.compile(rf"session \d+ alice: refused ACQUIRE_RESOURCE lock={name}/secret: object"))


def test_an_identity_cannot_have_all_locks(scratch, guard):
    """Not with many sessions either; another one gets its own."""
    spaces = scratch / "few-locks" / "lockspaces"
    settings = {"lockd.locks_per_identity": 4}
    with guard("few-locks", POLICY.replace("SPACES", str(spaces)), settings=settings) as house:
        images = spaces / "images"
        with locks.connect(house.lock_socket) as client:
            assert client.open_space(images) is None
        with session(house, "alice") as one, session(house, "alice") as two, session(house, "bob") as bob:
            assert [one.acquire(images, f"one-{n}", AUTOCREATE) for n in range(3)] == [None] * 3
            assert two.acquire(images, "two", AUTOCREATE) is None
            for client in (one, two):
                code, _, text = client.acquire(images, "more", AUTOCREATE)
                assert code == 9 and "alice has 4 locks" in text and "locks_per_identity" in text
            assert not (images / "more").exists()
            assert bob.acquire(images, "bob", AUTOCREATE) is None
            assert bob.acquire(images, "one-0")[:2] == BUSY
            assert one.release(images, "one-0") is None
            assert two.acquire(images, "more", AUTOCREATE) is None
            # A refusal counts as nothing.
            assert two.release(images, "more") is None
            for _ in range(6):
                assert two.acquire(images, "bob")[:2] == BUSY
            assert two.acquire(images, "more", AUTOCREATE) is None
            one.sock.close()
            upstream.poll(lambda: two.acquire(images, "again", AUTOCREATE) is None, what="locks of a session that ended")


def test_without_a_lock_daemon_there_is_a_clear_error(scratch, guard):
    policy = POLICY.replace("SPACES", "/srv")
    settings = {"workerd.lockd_socket": '"/nonexistent/lockd.sock"'}
    with guard("no-lockd", policy, settings=settings) as house, session(house, "alice", registers=False) as alice:
        answer = alice.register()
        assert answer[:2] == (9, locks.FROM_RPC) and "there was no lock daemon" in answer[2]
        alice.open(house.target)


# --- whoever has the descriptor of a session, or a way to the lock daemon's socket ---


def begin(identity="mallory", rights=b"", uuid=b"\7" * 16, broker=1, for_others=0):
    return u64(1) + uuid + string("tls") + string(identity) + string(rights) + u64(broker) + u32(for_others)


def rights_of(identity):
    """Everything about locks, and nothing else: identity_rights of proto/policy.x."""
    ceiling = u32(1) + u32(locks.LOCK) + u32(1) + string(b"\xff\xff")
    grant = string("r") + string("f") + u32(1) + ceiling + u32(0) + u32(0) + u32(0) + u32(1)
    grant += u32(0) * 2 + u32(0) * 2 + u32(0) * 3 + u32(3) + u32(0) * 2
    return u64(1) + string(identity) + u32(1) + grant + u32(0) * 8 + u32(0)


def test_a_session_cannot_become_another_one(house):
    """Not by the way to the lock daemon that a gate has: a connection that was begun."""
    with locks.connect(house.lock_socket) as gate:
        rights = rights_of("mallory")
        assert gate.ask(BEGIN, begin(rights=rights), prog=SESSION).status == wire.OK
        for prog, proc, payload in [
            (SESSION, BEGIN, begin("alice", rights_of("alice"))),
            (SESSION, BEGIN, begin(rights=rights)),
            (SESSION, RENEW, string("alice") + string(rights_of("alice"))),
            (SESSION, BEGIN, begin("alice", rights_of("alice"), for_others=1)),
            (SESSION, WITNESS, u64(1)),
            (LOCKS, LIST, u32(0) * 2),
            (LOCKS, BREAK, string("/") + string("a") + string("") + string("x")),
        ]:
            reply = gate.ask(proc, payload, prog=prog)
            assert reply.status == wire.ERROR and reply.error()[0] == locks.DENIED, (prog, proc)
        assert gate.register(1) is None and gate.acquire(house.images, "m", AUTOCREATE) is None
        (lock,) = [lock for lock in listed(house) if lock["resource"] == "m"]
        assert lock["owner"]["name"] == "mallory"
        assert gate.restrict() is None
        assert gate.acquire(house.images, "n")[0] == locks.DENIED
    is_freed(house.images / "m")


@pytest.mark.parametrize(
    "payload",
    [
        begin(rights=b""),
        begin(rights=b"\0" * 64),
        begin(rights=rights_of("alice")),
        begin("", rights_of("")),
        begin("a" * 129, rights_of("a" * 129)),
        begin(rights=rights_of("mallory"))[:-4],
        begin(rights=rights_of("mallory")) + b"\0\0\0\0",
        begin(rights=b"\0" * 15_000),
        b"",
    ],
)
def test_a_session_that_makes_no_sense_is_none(house, payload):
    with locks.connect(house.lock_socket) as client:
        assert client.ask(BEGIN, payload, prog=SESSION).status == wire.ERROR


def test_who_speaks_for_a_process_is_no_session(house):
    with locks.connect(house.lock_socket) as client:
        assert client.register(4711) is None
        assert client.ask(BEGIN, begin(rights=rights_of("mallory")), prog=SESSION).status == wire.ERROR


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be another user")
def test_only_the_broker_begins_sessions(scratch):
    """Another user may not; and whoever may, and nothing else, locks nothing by itself."""
    from vgtest.libvirtd import NOBODY

    code = """
import os, socket, struct, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
s = socket.socket(socket.AF_UNIX); s.connect({path!r})
for serial, (prog, proc, payload) in enumerate({calls!r}):
    s.sendall(struct.pack(">7I", 28 + len(payload), prog, 1, proc, 0, serial, 0) + payload)
    reply = s.recv(65536)
    print(struct.unpack(">7I", reply[:28])[6] == 0)
"""
    register = (locks.LOCK, locks.REGISTER, b"\1" * 16 + string("x") + u32(1) * 2 + u32(0))
    start = (SESSION, BEGIN, begin(rights=rights_of("mallory")))
    for setting, calls, expected in [
        ({"users": ["root", "nobody"]}, [start, register], ["False", "True"]),
        ({"session_users": ["nobody"]}, [register, start, register], ["False", "True", "True"]),
    ]:
        with locks.Lockd(scratch / f"lock-sessions-{next(iter(setting))}", **setting) as lockd:
            for directory in (lockd.directory, lockd.directory / "run"):
                directory.chmod(0o755)
            text = code.format(uid=NOBODY, path=str(lockd.socket), calls=calls)
            done = subprocess.run(["/usr/bin/python3", "-c", text], capture_output=True, text=True, timeout=60, check=False)
            assert done.stdout.split() == expected, done.stdout + done.stderr


def test_a_gate_has_no_other_way_to_the_lock_daemon(house):
    """Of all its descriptors only those of sessions lead there; closing the client's connection closes them."""

    def connections(pid):
        return len([link for link in set(processes.links(pid).values()) if link.startswith("socket:")])

    gates = house.pids("virtgate-gate")
    before = sum(map(connections, gates))
    with session(house, "alice") as alice:
        assert alice.acquire(house.images, "a", AUTOCREATE) is None
        assert sum(map(connections, gates)) - before == 3, "client, worker and lock daemon"
    upstream.poll(lambda: sum(map(connections, gates)) == before, what="closed descriptors")
