# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_sandbox_outside - what the kernel says of each process that runs: privileges, filters, namespaces, descriptors,
memory, limits.

Nothing here asks the processes themselves. A suite is looked at while it has clients over TLS, one of them in the middle of
a login, and at the UNIX socket.
"""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from vgtest import captured_program, mdns, metrics, processes, sasl, upstream, wire
from vgtest.suite import BUILD

TEST_DRIVER = "test:///default"
PASSWORD = "correct horse battery"
POLICY = """
[role.inventory]
allow = ["proc:inventory.*"]
[[binding]]
identity = "admin"
role = "inventory"
"""
CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP = 1, 5, 6, 7, 8
SUPERVISORS = ("netd", "workerd", "lockd")
# What is left of root's capabilities to those whose children may be other users, and to who locks the files of other
# users and ends their processes.
SWITCHES = {CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP}
LOCKS = {CAP_DAC_OVERRIDE, CAP_KILL}
KEPT = {"netd": SWITCHES, "workerd": SWITCHES, "lockd": LOCKS, "locker": LOCKS}
# Nobody starts a process but these; of them the login's own process does not.
STARTERS = (*SUPERVISORS, "sasl")
ROOT = os.geteuid() == 0

pytestmark = pytest.mark.skipif(
    "#define VIRTGATE_SANITIZERS" in (BUILD / "config.h").read_text(), reason="a build with sanitizers is not confined"
)
needs_root = pytest.mark.skipif(not ROOT, reason="what a closed process has is only seen by root")


class House:
    """`pids`: {what a process calls itself: its pids}. Of two "sasl" the second is the process of a login."""

    def __init__(self, suite):
        self.suite = suite
        self.pids = processes.by_title(suite.process.pid)

    def each(self):
        """(kind, pid) of every process; kind is "gate" of "gate-1"."""
        for title, pids in self.pids.items():
            for pid in pids:
                kind = re.match(r"[a-z]+", title)[0]
                yield "exchange" if kind == "sasl" and pid != pids[0] else kind, pid

    def all(self, kind):
        found = [pid for other, pid in self.each() if other == kind]
        assert found, f"no {kind}: {self.pids}"
        return found


@pytest.fixture(scope="module")
def house(scratch, running_suite):
    settings = {"netd.tls.authentication": '"x509-or-sasl"', **metrics.SETTINGS, **mdns.SETTINGS}
    suite = running_suite.sibling(scratch / "looked-at", settings)
    (suite.directory / "etc").mkdir()
    sasl.add_user(suite.directory / "etc" / "users", "alice", PASSWORD)
    captured_program.announce_inventory(suite)
    suite.add_policy("20-inventory.toml", POLICY)
    with mdns.bus_for(suite) as announces, suite:
        context = wire.tls_context(suite.pki, certificate=False)
        with (
            suite.open(TEST_DRIVER),
            suite.open("inventory:///"),
            wire.connect_unix(suite.local_socket) as local,
            suite.connect(context=context) as half,
        ):
            local.open(TEST_DRIVER)
            half.ask(sasl.INIT)
            answer = half.ask(sasl.START, sasl.start_args("SCRAM-SHA-256", sasl.Scram("alice", PASSWORD).first()))
            assert answer.status == wire.OK, answer.error()
            if announces:
                upstream.poll(lambda: suite.pids("virtgate-announcer"), what="an announcer")
            house = House(suite)
            assert {kind for kind, _ in house.each()} == set(MEANT) - (set() if announces else {"announcer"})
            yield house


def status(pid):
    return dict(re.findall(r"^(\w+):\t(.*)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M))


def read(pid, name):
    return pathlib.Path(f"/proc/{pid}/{name}").read_text(errors="replace")


def test_nobody_gets_more_rights_by_executing_anything(house):
    for kind, pid in house.each():
        assert status(pid)["NoNewPrivs"] == "1", kind


def test_everybody_has_filters(house):
    """A child has its parent's, too, and the process of a login one more."""
    for kind, pid in house.each():
        found = status(pid)
        least = 1 if kind in SUPERVISORS else 3 if kind == "exchange" else 2
        assert found["Seccomp"] == "2" and int(found["Seccomp_filters"]) >= least, (kind, found["Seccomp_filters"])


def test_all_threads_have_them(house):
    some = [(pid, 2) for pid in house.all("gate")]
    # Of a program: its loop, those for slow calls, of which its file has three, and two for calls with priority.
    some += [(pid, 1 + 3 + 2) for pid in house.all("program")]
    for pid, count in some:
        threads = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
        assert len(threads) == count
        for thread in threads:
            text = (thread / "status").read_text()
            assert re.search(r"^Seccomp:\t2$", text, re.M) and re.search(r"^NoNewPrivs:\t1$", text, re.M)


def test_nobody_has_capabilities_but_those_of_the_kind(house):
    for kind, pid in house.each():
        found = {name: int(status(pid)[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        kept = sum(1 << one for one in KEPT.get(kind, ())) if ROOT else 0
        assert found["CapPrm"] == found["CapEff"] == kept, (kind, found)
        # The holder's are for its locker.
        assert found["CapInh"] == found["CapAmb"] == (kept if kind == "lockd" else 0), (kind, found)
        if ROOT:
            assert found["CapBnd"] == 0, (kind, found)


# Those that go into namespaces of their own, and of these those that reach no file.
ALONE = {"gate", "keeper", "announcer", "exporter", "sasl", "exchange", "worker", "auditor"}
NAMELESS = {"gate", "keeper", "announcer", "exporter", "worker"}
SPACES = ("user", "net", "ipc", "uts")


def may_be_alone():
    """An answer of the kernel's, not of ours: the user namespace of a process without privileges."""
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", "unshare", "--user", "--net", "--ipc", "--uts", "true"]
    return subprocess.run(command, capture_output=True).returncode == 0


def spaces(pid):
    return [os.readlink(f"/proc/{pid}/ns/{name}") for name in SPACES]


@needs_root
def test_those_that_need_nobody_are_alone(house):
    if not may_be_alone():
        pytest.skip("nobody may make namespaces here")
    outside = spaces(os.getpid())
    found = {pid: (kind, spaces(pid)) for kind, pid in house.each()}
    for kind, mine in found.values():
        for own, others in zip(mine, outside):
            assert (own != others) == (kind in ALONE), (kind, mine, outside)
    # Nor are they with each other; the process of a login is where that is which made it.
    alone = [tuple(mine) for kind, mine in found.values() if kind in ALONE - {"exchange"}]
    assert len(set(alone)) == len(alone)
    (sasl_pid,), (exchange,) = house.all("sasl"), house.all("exchange")
    assert spaces(exchange) == spaces(sasl_pid)


@needs_root
def test_those_that_name_no_file_have_no_directory(house):
    if not may_be_alone():
        pytest.skip("nobody may make namespaces here")
    for kind, pid in house.each():
        try:
            has_files = bool(os.listdir(f"/proc/{pid}/root/"))
        except OSError:
            has_files = False
        assert has_files == (kind not in NAMELESS), kind
        assert os.path.exists(f"/proc/{pid}/cwd/.") == (kind not in NAMELESS), kind


# Whether it can be opened: for each of the pids a word.
OPENER = """
import os, sys
for pid in sys.argv[1:]:
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
        print("open")
    except PermissionError:
        print("closed")
"""


def try_to_open(pids):
    """{pid: whether a process of the same user, and without root's privileges, can open its memory}."""
    command = [sys.executable, "-c", OPENER, *map(str, pids)]
    done = subprocess.run([*without_privileges(), *command], capture_output=True, text=True, timeout=30, check=True)
    return dict(zip(pids, (word == "open" for word in done.stdout.split())))


def without_privileges():
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--"] if ROOT else []


def test_memory_is_closed_to_the_same_user(house):
    """A core file would be one more way; the process of another program shows that the attempt is a real one."""
    with subprocess.Popen([*without_privileges(), "sleep", "60"]) as other:
        try:
            upstream.poll(lambda: read(other.pid, "cmdline").startswith("sleep"), 5, "sleep")
            if not try_to_open([other.pid])[other.pid]:
                pytest.skip("here no process can look into another one")
            found = try_to_open([pid for _, pid in house.each()])
            assert not any(found.values()), [(kind, pid) for kind, pid in house.each() if found[pid]]
        finally:
            other.kill()
    for kind, pid in house.each():
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0, kind  # a closed process's files are root's


@needs_root
def test_no_memory_is_both_written_and_executed(house):
    for kind, pid in house.each():
        for line in read(pid, "maps").splitlines():
            rights = line.split()[1]
            assert "w" not in rights or "x" not in rights, f"{kind}: {line}"


def limits(pid):
    """{name: (soft, hard)}, in bytes or numbers; None for no limit."""
    found = {}
    for line in read(pid, "limits").splitlines()[1:]:
        name, soft, hard = re.match(r"(.{25}) (\S+) +(\S+)", line).groups()
        found[name.strip()] = tuple(None if word == "unlimited" else int(word) for word in (soft, hard))
    return found


@needs_root
def test_limits_are_those_of_the_kind(house):
    for kind, pid in house.each():
        found = limits(pid)
        assert found["Max core file size"] == (0, 0), kind
        assert found["Max msgqueue size"] == (0, 0), kind
        if kind not in STARTERS + ("exchange",):
            assert found["Max processes"] == (0, 0), kind
        if kind not in SUPERVISORS:
            assert found["Max locked memory"] == (0, 0), kind
        if kind not in (*SUPERVISORS, "sasl", "exchange", "auditor", "store", "program"):
            assert found["Max file size"] == (0, 0), kind
        if kind == "keeper":
            assert found["Max open files"] == (32, 32)


# --- descriptors ---

SEQPACKET, STREAM, DATAGRAM = 5, 1, 2
LISTENING_UNIX, LISTENING_TCP = 0x10000, "0A"


def sockets(pid):
    """{inode: what it is} of the network that the process is in now, which is not the one that its listeners are in."""
    found = {}
    for line in read(pid, "net/unix").splitlines()[1:]:
        words = line.split()
        # The table also shows sockets that are just being made, of whomever: they have no type yet.
        kind = {SEQPACKET: "packets", STREAM: "stream", DATAGRAM: "datagrams"}.get(int(words[4], 16), "unknown")
        found[words[6]] = kind + (" listening" if int(words[3], 16) & LISTENING_UNIX else "")
    for family in ("tcp", "tcp6"):
        for line in read(pid, f"net/{family}").splitlines()[1:]:
            words = line.split()
            found[words[9]] = "tcp" + (" listening" if words[3] == LISTENING_TCP else "")
    return found


def descriptors(pid):
    """{number: what it is}: "pipe", "packets", "tcp listening", "eventfd", or a path."""
    known, found = {**sockets(os.getpid()), **sockets(pid)}, {}
    for number, target in processes.links(pid).items():
        if match := re.match(r"socket:\[(\d+)\]", target):
            # Of a pair that was never bound, the kernel's table has the ends; another kind of socket is in none.
            found[number] = known.get(match[1], f"socket {match[1]} of an unknown kind")
        elif match := re.match(r"(pipe):\[|anon_inode:\[?(\w+)", target):
            found[number] = match[1] or match[2]
        else:
            found[number] = target
    return found


LOOP = {"eventpoll", "eventfd", "timerfd", "pipe"}
# What it has beside /dev/null, pipes, the loop's, and FILES; the first set has to be there, the second may be.
MEANT = {
    "netd": ({"packets", "tcp listening", "stream listening", "inotify", "pidfd"}, set()),
    "gate": ({"packets", "tcp listening"}, {"tcp", "stream"}),
    "keeper": ({"packets"}, set()),
    "announcer": ({"packets", "stream"}, set()),
    "steward": ({"packets", "stream listening"}, set()),
    "exporter": ({"packets", "tcp listening"}, set()),
    "doorman": ({"packets", "stream listening"}, set()),
    "sasl": ({"packets"}, set()),
    "exchange": ({"packets"}, set()),
    "workerd": ({"packets", "packets listening", "pidfd"}, set()),
    "worker": ({"packets", "stream"}, set()),
    "auditor": ({"packets", "stream"}, {"datagrams"}),
    "store": ({"packets"}, {"stream"}),  # to workers, and to the locker
    "program": ({"packets", "stream"}, set()),
    "lockd": ({"packets", "stream listening", "pidfd", "datagrams"}, set()),
    "locker": ({"packets", "stream listening", "stream"}, set()),
}
SUPERVISORS = ("netd", "workerd", "lockd")
# The supervisor gives the key to each keeper that it starts, and does not read it.
FILES = {
    "netd": {"pki/server/serverkey.pem"},
    "auditor": {"audit.jsonl"},
    "store": {"/proc/stat", "/proc/meminfo", "pools", "pools/default", "store"},
    "lockd": {"run/lockd", "run/lockd/journal"},
}


@needs_root
def test_descriptors_are_those_of_the_kind(house):
    for kind, pid in house.each():
        found = set(descriptors(pid).values()) - LOOP - {"/dev/null"}
        has_to, may = MEANT[kind]
        # What a supervisor knows of its children's CPU time and memory.
        found -= {name for name in found if kind in SUPERVISORS and re.fullmatch(r"/proc/\d+/(stat|fd)", name)}
        files = {name for name in found if name.startswith("/")}
        meant = {str(house.suite.directory / name) for name in FILES.get(kind, ())}
        assert files == meant, kind
        found -= files
        assert has_to <= found <= has_to | may, (kind, found)


@needs_root
def test_standard_descriptors_lead_to_the_parent(house):
    """Nobody has the terminal, or a file to write a log to."""
    for kind, pid in house.each():
        found = descriptors(pid)
        assert (found[0], found[1], found[2]) == ("/dev/null", "pipe", "pipe"), (kind, found)


@needs_root
def test_gates_have_no_socket_of_libvirt(house):
    """The streams of a gate are its own clients, and a worker has no network."""
    daemon = {int(words[6]) for line in read(os.getpid(), "net/unix").splitlines()[1:]
              if len(words := line.split()) > 7 and "libvirt" in words[7]}  # fmt: skip
    assert daemon
    for pid in house.all("gate"):
        mine = {int(match[1]) for link in processes.links(pid).values() if (match := re.match(r"socket:\[(\d+)\]", link))}
        assert not mine & daemon
    for pid in house.all("worker"):
        assert not {"tcp", "tcp listening"} & set(descriptors(pid).values())
