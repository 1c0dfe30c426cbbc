# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lock_tools - "virtgate locks": what it lists, what becomes of a broken lock, and who may ask at all."""

import json
import os
import re
import socket
import subprocess
import threading

import pytest

from vgtest import locks, suite, upstream, wire
from vgtest.libvirtd import NOBODY
from vgtest.locks import AUTOCREATE, SHARED
from vgtest.wire import string, u32

LOCKS = 0x5647000B
LIST, SPACES, BREAK = 1, 2, 3
UUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"
REFUSED, USAGE, UNAVAILABLE, SYSTEM = 1, 64, 69, 71


@pytest.fixture(scope="module")
def lockd(scratch):
    with locks.Lockd(scratch / "lock-tools", max_clients=4096) as daemon:
        yield daemon


@pytest.fixture
def space(lockd, request):
    path = lockd.spaces / re.sub(r"\W", "_", request.node.name)[:60]
    with lockd.connect() as client:
        assert client.open_space(path) is None
    return path


def virtgate(lockd, *words, answer=None):
    """The exit status, and what was said on standard output and standard error."""
    done = subprocess.run(
        [suite.BUILD / "virtgate", "locks", *map(str, words), "--socket", lockd.socket],
        capture_output=True,
        input=answer,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def listed(lockd, space=None):
    words = ["--json"] if space is None else ["--json", "--space", space]
    status, output, error = virtgate(lockd, *words)
    assert status == 0, error
    return json.loads(output)["locks"]


def test_a_lock_is_listed_with_all_that_is_known(lockd, space):
    with lockd.owner(4711, name="web") as owner, lockd.owner(os.getpid(), name="this one") as connected:
        assert owner.acquire(space, "disk", AUTOCREATE) is None
        assert connected.acquire(space, "mine", AUTOCREATE | SHARED) is None
        first, second = listed(lockd, space)
        assert (first["space"], first["resource"], first["mode"]) == (str(space), "disk", "exclusive")
        assert first["owner"] == {"kind": "process", "name": "web", "uuid": UUID, "id": 1, "process": 4711, "connected": False}
        assert first["through"] == {"listener": "socket", "uid": os.geteuid(), "process": os.getpid(), "session": None}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first["since"]) and first["token"] is None
        assert second["mode"] == "shared" and second["owner"]["connected"]
        status, text, _ = virtgate(lockd, "list", "--space", space)
        assert status == 0 and len(text.splitlines()) == 3
        header, one, two = text.splitlines()
        column = header.index("OWNER")
        assert one[column:].startswith("web ") and two[column:].startswith('"this one"')
        assert f"{os.getpid()}, connected" in two
        assert owner.release(space, "disk") is None and connected.release(space, "mine") is None
    assert listed(lockd, space) == []


def test_files_that_are_locked_themselves_are_a_space_called_direct(lockd):
    disk = lockd.direct / "a disk"
    disk.touch()
    with lockd.owner(4712) as owner:
        assert owner.acquire("", disk) is None
        (lock,) = listed(lockd, "direct")
        assert lock["space"] == "" and lock["resource"] == str(disk)
        _, text, _ = virtgate(lockd, "--space", "direct")
        assert text.splitlines()[1].startswith(f'direct  "{disk}"  exclusive')
        assert owner.release("", disk) is None


def test_spaces_are_listed_and_one_whose_directory_was_replaced_is_not_usable(lockd, space):
    status, output, _ = virtgate(lockd, "spaces", "--json")
    assert status == 0
    spaces = {one["space"]: one for one in json.loads(output)["spaces"]}
    assert spaces[""]["kind"] == "files" and spaces[str(space)] == {
        "space": str(space), "kind": "directory", "held": 0, "usable": True,
    }  # fmt: skip
    space.rename(space.with_name("elsewhere"))
    space.mkdir()
    _, text, _ = virtgate(lockd, "spaces")
    assert re.search(rf"(?m)^{re.escape(str(space))} +directory +0 +not usable$", text)


def test_names_stay_inside_their_column(lockd, space):
    """Whatever a client has chosen, a lock is one line, and no terminal obeys it."""
    texts = ["schl\u00fcssel", "disk  exclusive  root", "\u202egnp", "\u200b", " ", '"', "\x85", "\u2028x"]
    names = [text.encode() for text in texts]
    with lockd.connect() as client:
        assert client.register(4713, name="\x1b]0;title\x07") is not None, "a terminal's words are no name"
    with lockd.owner(4713, name="\u202eeman a  root") as owner:
        taken = [name for name in names if owner.acquire(str(space).encode(), name, AUTOCREATE) is None]
        assert len(taken) >= len(names) - 1, "all but the control character"
        names = taken
        _, text, _ = virtgate(lockd, "--space", space)
        assert len(text.splitlines()) == len(names) + 1
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert len(listed(lockd, space)) == len(names)
        for name in names:
            assert owner.release(str(space).encode(), name) is None


def test_a_broken_lock_is_free_and_its_owner_is_told(lockd, space):
    with lockd.owner(4714, name="gone") as owner, lockd.owner(4715) as next_one:
        assert owner.acquire(space, "disk", AUTOCREATE) is None
        status, output, error = virtgate(lockd, "break", space, "disk", "--reason", "host kvm3 burnt", "--yes")
        assert status == 0, error
        assert output == f'broken: the lock of "gone" ({UUID}), process 4714\n'
        assert next_one.acquire(space, "disk", AUTOCREATE) is None
        assert owner.rest(10.0) == [], "a connection that speaks for it is ended"
        with lockd.owner(4714) as again:
            answer = again.release(space, "disk")
            assert answer is not None and "owner 4714 does not hold" in answer[2]
        assert next_one.release(space, "disk") is None
    line = next(line for line in lockd.log().splitlines() if "broke the lock" in line and "kvm3" in line)
    assert f"user {os.geteuid()} (process " in line and '"disk"' in line and "process 4714" in line
    assert 'reason: "host kvm3 burnt"' in line


def test_only_the_owner_that_was_named_loses_a_shared_lock(lockd, space):
    other = "7a0bb41b-68b2-4683-84e5-9502892bea09"
    with lockd.owner(4716) as one, lockd.owner(4717, uuid=bytes.fromhex(other.replace("-", ""))) as two:
        for client in (one, two):
            assert client.acquire(space, "disk", AUTOCREATE | SHARED) is None
        wrong = ["break", space, "disk", "--owner", other[::-1], "--reason", "x", "--yes"]
        status, _, error = virtgate(lockd, *wrong)
        assert status == REFUSED and "not the owner with this UUID" in error
        assert virtgate(lockd, "break", space, "disk", "--owner", other, "--reason", "x", "--yes")[0] == 0
        assert [lock["owner"]["process"] for lock in listed(lockd, space)] == [4716]
        assert not locks.is_free(space / "disk")
        assert one.release(space, "disk") is None


def test_a_living_owner_is_told_of_and_is_not_ended(lockd, space):
    """It has a connection of its own and two locks: it loses one, and lives; the other one ends with it."""
    def ready():
        client = lockd.owner(os.getpid(), name="alive")
        for name in ("one", "two"):
            assert client.acquire(space, name, AUTOCREATE) is None
        return client

    with locks.guest(ready) as pid:
        status, output, _ = virtgate(lockd, "break", space, "one", "--reason", "test", "--yes")
        assert status == 0 and f"process {pid}, which lives and may go on writing" in output
        assert [lock["resource"] for lock in listed(lockd, space)] == ["two"]
        assert locks.is_free(space / "one") and not locks.is_free(space / "two")
        lockd.kill_locker()
        assert [lock["resource"] for lock in listed(lockd, space)] == ["two"]
        assert locks.ended(pid, 2.5) is None, "it was ended"
    upstream.poll(lambda: listed(lockd, space) == [], what="the end of the other lock")


def test_it_asks_before_it_breaks(lockd, space):
    with lockd.owner(4718) as owner:
        assert owner.acquire(space, "disk", AUTOCREATE) is None
        status, _, error = virtgate(lockd, "break", space, "disk", "--reason", "x", answer="y\n")
        assert status == USAGE and "--yes" in error, "a pipe is nobody to be asked"
        leader, follower = os.openpty()
        command = [suite.BUILD / "virtgate", "locks", "break", space, "disk", "--reason", "x", "--socket", lockd.socket]
        for word, expected in (("n", REFUSED), ("y", 0)):
            os.write(leader, f"{word}\n".encode())
            done = subprocess.run(
                list(map(str, command)), stdin=follower, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == expected, done.stderr
            assert "Break this lock?" in done.stdout
            assert bool(listed(lockd, space)) == (word == "n")
        os.close(leader)
        os.close(follower)


@pytest.mark.parametrize(
    "words, status, text",
    [
        (["break", "/no/such", "disk", "--reason", "x", "--yes"], REFUSED, "Lockspace for path /no/such does not exist"),
        (["break", "SPACE", "disk", "--reason", "x", "--yes"], REFUSED, "nobody holds a lock on 'disk'"),
        (["break", "SPACE", "disk", "--reason", "  ", "--yes"], USAGE, "for a reason"),
        (["break", "SPACE", "disk", "--reason", "a\nb", "--yes"], REFUSED, "in plain text"),
        (["break", "SPACE", "disk", "--yes"], USAGE, "--reason"),
        (["break", "SPACE", "disk", "--owner", "me", "--reason", "x", "--yes"], USAGE, "32 hexadecimal digits"),
        (["--space", "/no/such"], REFUSED, "there is no lock space"),
    ],
)
def test_what_cannot_be_is_refused(lockd, space, words, status, text):
    got, _, error = virtgate(lockd, *[space if word == "SPACE" else word for word in words])
    assert got == status and text in error, error


def test_a_lock_daemon_that_is_not_there(scratch):
    class Nobody:
        socket = scratch / "no-lockd.sock"

    status, _, error = virtgate(Nobody)
    assert status == UNAVAILABLE and "cannot reach the lock daemon" in error
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(Nobody.socket))
        listener.listen()

        def hang_up():
            listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        status, _, error = virtgate(Nobody)
        thread.join()
    assert status == SYSTEM and "closed the connection" in error


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be another user")
def test_another_user_is_told_that_it_may_not(scratch):
    """One that may lock is told so in words, whatever it calls; one that may not even connect is closed."""
    with locks.Lockd(scratch / "lock-tools-users", users=["root", "nobody"]) as lockd:
        for directory in (lockd.directory, lockd.directory / "run"):
            directory.chmod(0o755)
        space = lockd.spaces / "s"
        with lockd.owner(4719) as owner:
            assert owner.open_space(space) is None and owner.acquire(space, "disk", AUTOCREATE) is None
            asks = f"""
import os, socket, struct
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
s = socket.socket(socket.AF_UNIX); s.connect({str(lockd.socket)!r})
for serial, (proc, payload) in enumerate(((1, b"\\0" * 8), (2, b"\\0" * 4), (3, {_break(space, "disk")!r}))):
    s.sendall(struct.pack(">7I", 28 + len(payload), {LOCKS}, 1, proc, 0, serial, 0) + payload)
    print(s.recv(65536))
"""
            done = subprocess.run(["/usr/bin/python3", "-c", asks], capture_output=True, text=True, timeout=60, check=False)
            assert done.stdout.count("only root and the user of the lock daemon") == 6, done.stdout + done.stderr
            assert len(listed(lockd)) == 1
            assert "may not administer locks" in lockd.log()
            assert owner.release(space, "disk") is None


def _break(space, name, uuid=b"", reason=b"test"):
    return string(str(space)) + string(name) + string(uuid) + string(reason)


def test_wrong_arguments_are_errors_and_change_nothing(lockd, space):
    with lockd.owner(4720) as owner, lockd.connect() as client:
        assert owner.acquire(space, "disk", AUTOCREATE) is None
        for proc, payload in [
            (BREAK, _break(space, "disk", reason=b"")),
            (BREAK, _break(space, "disk", reason=b"a\0b")),
            (BREAK, _break(space, "disk", reason=b"\xff")),
            (BREAK, _break(space, "disk", reason=b"x" * 513)),
            (BREAK, _break(space, "disk", uuid=b"\1" * 15)),
            (BREAK, _break(space, "disk", uuid=b"\1" * 17)),
            (BREAK, _break(space, b"disk\0")),
            (BREAK, _break(str(space) + "/../" + space.name, "disk")),
            (BREAK, _break(space, "disk")[:-4]),
            (BREAK, _break(space, "disk") + b"\0\0\0\0"),
            (LIST, b""),
            (LIST, u32(1) + string("a" * 4097) + string("") + u32(0) + u32(0)),
            (LIST, u32(1) + string("") + string("") + u32(65536) + u32(0)),
            (SPACES, u32(2)),
            (5, b""),
            (0, b""),
        ]:
            reply = client.ask(proc, payload, prog=LOCKS)
            assert reply.status == wire.ERROR, (proc, payload)
        assert len(listed(lockd, space)) == 1
        assert owner.release(space, "disk") is None


def test_a_lock_is_broken_while_its_owner_releases_it(lockd, space):
    """In each round one of the two was first, both get an answer, and the lock is free."""
    with lockd.connect() as breaker:
        for _ in range(200):
            with lockd.owner(4721) as owner:
                assert owner.acquire(space, "disk", AUTOCREATE) is None
                owner.send(wire.call(locks.RELEASE, string(str(space)) + string("disk") + u32(0), 77, locks.LOCK))
                reply = breaker.ask(BREAK, _break(space, "disk"), prog=LOCKS)
                assert reply.status == wire.OK or "nobody holds" in reply.error()[2]
                assert locks.is_free(space / "disk")
    assert listed(lockd, space) == []


def test_ten_thousand_locks_are_listed_in_parts(lockd, space):
    count = 10_000
    with lockd.owner(4722) as owner:
        for number in range(count):
            assert owner.acquire(space, f"disk-{number:05}", AUTOCREATE) is None
        found = [lock["resource"] for lock in listed(lockd, space)]
        assert found == [f"disk-{number:05}" for number in range(count)]
        with lockd.connect() as client:
            reply = client.ask(LIST, u32(0) * 2, prog=LOCKS)
            assert reply.status == wire.OK and len(reply.payload) < 100_000
    # The connection is somebody else's, so its end changes nothing.
    assert len(listed(lockd, space)) == count
