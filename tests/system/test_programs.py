# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_programs - a program of somebody else behind virtgate: docs/guides/programs.md word for word, and what it promises.

The guide's own commands build examples/inventory here, with what "make install-devel" installs.
"""

import json
import os
import pathlib
import re
import signal
import subprocess

import pytest

from vgtest import processes, suite, upstream, wire
from vgtest.clients import attempt, run

LENGTHY = True

TOP = pathlib.Path(__file__).parents[2]
GUIDE = (TOP / "docs/guides/programs.md").read_text()
INVENTORY = 0x20494E56
LIST_ITEMS, GET_ITEM, AUDIT_ITEMS = 1, 2, 5
URI = "inventory:///"
PATIENCE = 300  # for a compiler on a busy machine

# The build is of programs that sanitizers do not know of.
pytestmark = pytest.mark.skipif(
    "#define VIRTGATE_SANITIZERS" in (suite.BUILD / "config.h").read_text(),
    reason="libraries with sanitizers are not installed",
)


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", GUIDE, re.M | re.S)


@pytest.fixture(scope="module")
def environment(scratch):
    """What a machine has on which virtgate and its development files are installed."""
    root = scratch / "devel"
    # With another compiler, or another name for the directory, make would build everything anew.
    flags = (suite.BUILD / "flags").read_text()
    compiler, build = flags.split(" -I.")[0], re.search(r" -I(\S+)/gen ", flags)[1]
    run(
        "make",
        "-C",
        TOP,
        "-s",
        f"BUILD={build}",
        f"CXX={compiler}",
        f"prefix={root}",
        "install-devel",
        patience=PATIENCE,
    )
    examples = root / "share/doc/virtgate/examples"
    examples.parent.mkdir(parents=True)
    examples.symlink_to(TOP / "examples")
    directories = [root / "bin", suite.BUILD, "/usr/lib/ccache", os.environ["PATH"]]
    # The client has the shared library, and is told where that is. The service has the static one: workerd lets what it
    # starts load libraries from the system's directories only, and this is none.
    library = root / "lib"
    found = root / "bin" / "pkg-config"
    found.write_text(
        "#!/bin/sh\ncase \"$*\" in\n"
        "*--libs*virtgate-service*) /usr/bin/pkg-config --static \"$@\" | sed 's/-lvirtgate /-l:libvirtgate.a /' ;;\n"
        "*) exec /usr/bin/pkg-config \"$@\" ;;\nesac\n"
    )
    found.chmod(0o755)
    return {"PATH": ":".join(map(str, directories)), "PKG_CONFIG_PATH": f"{library}/pkgconfig", "LD_RUN_PATH": str(library)}


@pytest.fixture(scope="module")
def built(scratch, environment):
    """The directory "inventory" that the guide makes, and what its commands have said."""
    ends = "trap 'kill $(jobs -p) 2> /dev/null || true' EXIT"  # whatever fails
    script = "\n".join(["set -em", ends, *blocks("sh")])
    place = scratch / "g"
    place.mkdir()
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=place,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        start_new_session=True,
    )
    log = place / "inventory" / "try.log"
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{log.read_text()[-3000:] if log.exists() else ''}"
    return place / "inventory", done.stdout, done.stderr


def test_one_library_for_both(built):
    """Shared and static: both are linked with, as pkg-config says."""
    place, _, _ = built
    loads = {
        name: "libvirtgate.so.0" in run("readelf", "-d", place / name) for name in ("inventory", "inventory-client")
    }
    assert loads == {"inventory": False, "inventory-client": True}


def announce(directory, built, more="", name="inventory"):
    (directory / "items").mkdir(parents=True, exist_ok=True)
    programs = directory / "etc" / "programs.d"
    programs.mkdir(parents=True, exist_ok=True)
    (programs / f"{name}.toml").write_text(
        f'schema = "{built}/gen/proto/inventory.schema"\nexecutable = "{built}/inventory"\n'
        f'directories = ["{directory}/items"]\n{more}'
    )


POLICY = f"""
[identity.admin]
x509 = {{ CN = "admin" }}
[identity.clerk]
unix = {{ uid = {os.getuid()} }}
[role.all]
allow = ["@admin", "proc:inventory.*", "event:inventory.*"]
audit = "all"
[role.look]
allow = ["@connect-basic", "proc:inventory.GET_ITEM", "proc:inventory.set_item"]
deny = ["proc:inventory.SET_ITEM"]
[[binding]]
identity = "admin"
role = "all"
[[binding]]
identity = "clerk"
role = "look"
"""


@pytest.fixture(scope="module")
def house(scratch, built):
    """Two identities; one process for both, with one thread for what is slow."""
    started = suite.Suite(scratch / "programs", {})
    announce(started.directory, built[0], "shared = true\nthreads = 1\n")
    started.add_policy("10-local.toml", POLICY)
    with started:
        yield started


@pytest.fixture
def client(house, built):
    def call(*words, uri=None, **options):
        return run(built[0] / "inventory-client", uri or house.uri("inventory", "/"), *words, **options)

    return call


def name_of(text):
    return wire.string(text)


def open_raw(house):
    return house.open(URI)


def test_the_guide_runs_word_for_word(built):
    _, out, errors = built
    for shown in blocks("text"):
        assert shown in out, out
    assert "sold" in out and out.count("refused") == 2, out
    assert '"tag": "spare PSU"' in re.sub(r'"tag":\s*', '"tag": ', out), out
    assert "set_item" in errors.lower(), errors


def test_old_and_new_clients_see_the_same(client):
    client("set", "rack-1", "new")
    client("old-set", "rack-2", "old")
    assert client("old-list") == client("list")
    assert re.search(r"^rack-2 +old$", client("list"), re.M)


def test_versions_on_one_connection(house):
    with open_raw(house) as raw:
        replies = []
        for version in (1, 2, 3):
            raw.send(wire.call(LIST_ITEMS, b"", 100 + version, INVENTORY, version))
            replies.append(raw.until(lambda frame: frame.serial == 100 + version))
        assert [frame.status for frame in replies] == [wire.OK, wire.OK, wire.ERROR]
        assert f"Cannot find program {INVENTORY} version 3" in replies[2].error()[2]


def test_connect_open_comes_first_and_programs_keep_apart(house):
    with house.connect() as raw:
        assert raw.ask(wire.AUTH_LIST).status == wire.OK
        raw.send(wire.call(LIST_ITEMS, b"", 50, INVENTORY, 2))
        assert "connection not open" in raw.until(lambda frame: frame.serial == 50).error()[2]
    with house.open("virtgate:///") as raw:
        raw.send(wire.call(LIST_ITEMS, b"", 50, INVENTORY, 2))
        assert "Cannot find program" in raw.until(lambda frame: frame.serial == 50).error()[2]


def test_slow_calls_do_not_stop_others(house, client, built):
    client("set", "rack-3", "x")
    slow = [
        subprocess.Popen(
            [built[0] / "inventory-client", house.uri("inventory", "/"), "audit", "5000"], stdout=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    try:
        upstream.await_log(house, re.compile(r"(?s)(opens inventory:///.*){2}"))
        assert client("get", "rack-3") == "x\n"
        assert client("old-list")
        assert all(process.poll() is None for process in slow), "the audit was not slow"
    finally:
        for process in slow:
            process.kill()
            process.wait()


def test_events_come_to_those_who_watch(house, client, built):
    watcher = subprocess.Popen(
        [built[0] / "inventory-client", house.uri("inventory", "/"), "watch", "2"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert watcher.stdout.readline() == "watching\n"
        client("set", "rack-4", "first")
        client("old-set", "rack-4", "second")
        assert watcher.stdout.read() == "rack-4 is now first\nrack-4 is now second\n"
        assert watcher.wait(30) == 0
    finally:
        watcher.kill()
        watcher.wait()


def test_streams_go_both_ways(client):
    lines = "".join(f"bulk-{i:04}\ttag {i}\n" for i in range(300))
    client("import", stdin=lines)
    assert lines in client("export")


def test_what_no_role_allows_is_refused_and_recorded(house, client):
    client("set", "rack-5", "seen")
    clerk = house.local_uri("inventory", "/")
    assert client("get", "rack-5", uri=clerk) == "seen\n"
    for words in (("list",), ("set", "rack-5", "x"), ("old-set", "rack-5", "x"), ("watch", "1")):
        with pytest.raises(AssertionError, match="access denied"):
            client(*words, uri=clerk)
    audit = house.directory / "audit.jsonl"

    def refusals():
        records = map(json.loads, audit.read_text().splitlines()) if audit.exists() else ()
        return {json.dumps(record) for record in records if "SET_ITEM" in json.dumps(record)}

    upstream.poll(
        lambda: any('"inventory"' in line and "clerk" in line for line in refusals()), what="a record of SET_ITEM"
    )


def test_the_gate_refuses_what_the_schema_does_not_have(house):
    with open_raw(house) as raw:
        for payload, wrong in (
            (name_of(b"x" * 65), "too long"),
            (name_of(b"a\nb"), ""),
            (b"\0\0\0", ""),
        ):
            raw.send(wire.call(GET_ITEM, payload, raw.serial, INVENTORY, 2))
            serial, raw.serial = raw.serial, raw.serial + 1
            answer = raw.until(lambda frame, serial=serial: frame.serial == serial)
            assert "Unable to decode message payload" in answer.error()[2], (wrong, answer)
        raw.send(wire.call(AUDIT_ITEMS, wire.u32(10001), raw.serial, INVENTORY, 2))
        assert raw.until(lambda frame: frame.serial == raw.serial).status == wire.ERROR
    upstream.poll(lambda: "procedure 2 of program 0x20494e56" in house.log(), what="a line about what was refused")


def test_a_process_that_dies_takes_its_connections_only(house, client, built):
    client("set", "rack-6", "stays")
    with open_raw(house) as raw, house.open("virtgate:///") as other:
        raw.send(wire.call(AUDIT_ITEMS, wire.u32(10000), 500, INVENTORY, 2))
        raw.send(wire.call(LIST_ITEMS, b"", 501, INVENTORY, 2))
        assert raw.until(lambda frame: frame.serial == 501).status == wire.OK
        (pid,) = [
            pid
            for title, pids in processes.by_title(house.process.pid).items()
            if "program-inventory" in title
            for pid in pids
        ]
        os.kill(pid, signal.SIGKILL)
        lost = raw.until(lambda frame: frame.serial == 500)
        assert "the connection to the program's process was lost" in lost.error()[2]
        other.alive()

    # The next one is started after a moment.
    get = (built[0] / "inventory-client", house.uri("inventory", "/"), "get", "rack-6")
    upstream.poll(lambda: attempt(*get).stdout == "stays\n", what="another process")


def test_what_is_wrong_is_said_before_anything_starts(house, built, tmp_path):
    configuration = house.directory / "etc"
    programs = tmp_path / "programs.d"
    programs.mkdir()
    for daemon in ("netd", "workerd"):
        text = (configuration / f"{daemon}.toml").read_text()
        assert str(configuration / "programs.d") in text
        (tmp_path / f"{daemon}.toml").write_text(text.replace(str(configuration / "programs.d"), str(programs)))

    def complaints(text, schema=None):
        (programs / "inventory.toml").write_text(text)
        if schema is not None:
            (programs / "broken.schema").write_bytes(schema)
        done = [
            attempt(suite.BUILD / f"virtgate-{daemon}", "--config", tmp_path / f"{daemon}.toml", "--check")
            for daemon in ("netd", "workerd")
        ]
        assert [one.returncode for one in done] == [78, 78], done
        return [one.stderr for one in done]

    whole = (built[0] / "gen/proto/inventory.schema").read_bytes()
    good = f'schema = "{programs}/broken.schema"\nexecutable = "/bin/true"\n'
    for said in complaints(good, whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        assert re.search(r"inventory\.toml:1:10: error: .*broken\.schema: the schema's checksum is wrong", said), said
    for said in complaints(good + "thread = 1\n", whole):
        assert 'inventory.toml:3:1: error: unknown key "thread" (did you mean "threads"?)' in said, said
    assert "inventory:/// is libvirt's" not in complaints("schema = 1\n")[1]


def test_a_policy_that_names_what_is_not_there_is_refused(house, tmp_path):
    policy = tmp_path / "policy.d"
    policy.mkdir()
    (policy / "10.toml").write_text('version = 1\n[role.r]\nallow = ["proc:inventory.GET_ITEMS", "proc:inventry.X"]\n')
    text = (
        (house.directory / "etc/workerd.toml").read_text().replace(str(house.directory / "etc/policy.d"), str(policy))
    )
    (tmp_path / "workerd.toml").write_text(text)
    done = attempt(suite.BUILD / "virtgate-workerd", "--config", tmp_path / "workerd.toml", "--check")
    assert done.returncode == 78
    assert 'inventory has no call "GET_ITEMS" (did you mean "GET_ITEM"?)' in done.stderr, done.stderr
    assert '"inventry.X" begins with no program: remote, qemu, lxc, lock or inventory' in done.stderr, done.stderr
