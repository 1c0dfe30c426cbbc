# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_audit - what the auditor writes: the process alone between a broker and workers that the test plays, and all of
virtgate with real clients.
"""

import array
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess

import pytest

from vgtest import processes, upstream, wire
from vgtest.clients import attempt, run
from vgtest.suite import BUILD

AUDIT = 0x56470008
WORKER, ARRIVAL, DEPARTURE, POLICY, REOPEN, READY, LOCKER, LOCKER_GONE = 1, 2, 3, 4, 5, 6, 7, 8
DECISION, OUTCOME, BROKEN = 16, 17, 18
LOCK, ACQUIRE, OBJECT_LOCK = 0x0EA7BEEF, 6, 10
ALLOWED, REFUSED = 1, 2
REASON_OBJECT = 3
DESTROY, LOOKUP_BY_NAME = 12, 23
NASTY = "db\n\"},\x1b[2K{\"verdict\":\"allowed\"} \u202e\u2028'; touch /tmp/x #"


def frame(procedure, payload=b""):
    return struct.pack(">I6I", 28 + len(payload), AUDIT, 1, procedure, 2, 0, 0) + payload


def place(role="operator", file="20-bindings.toml", line=12):
    return wire.string(role) + wire.string(file) + wire.u32(line)


def arrival(session, worker, identity="alice", locks=False):
    nobody = wire.optional(None) * 3 + wire.u32(0) * 2  # no certificate, login or process; no strength
    who = nobody + wire.string("192.0.2.7") + wire.u32(40000) + wire.string("tls") + wire.u32(0)
    return wire.u64(session) + wire.u64(worker) + who + wire.string(identity) + place() + wire.u64(4) + wire.u32(0) * 2 + wire.u32(locks)


def decision(session, call, verdict=REFUSED, name="db-1", what=(wire.REMOTE, DESTROY), kind=0):
    obj = wire.u32(kind) + wire.string(name) + wire.u32(0) + wire.u32(1)
    return (
        b"".join(map(wire.u64, (session, call, 4)))
        + b"".join(map(wire.u32, (what[0], 1, what[1], 9)))
        + wire.u64(0)
        + wire.u32(verdict)
        + wire.u32(0 if verdict == ALLOWED else REASON_OBJECT)
        + wire.u32(1)
        + obj
        + wire.u32(0)
        + wire.optional(place())
        + wire.string("")
        + wire.optional(None)
        + wire.u64(17)
        + wire.u64(0)
    )


def outcome(session, call, error=0):
    return wire.u64(session) + wire.u64(call) + wire.u32(1) + wire.u32(error) + wire.u64(1234)


def is_inheritable(fd):
    try:
        return os.get_inheritable(fd)
    except OSError:  # that of the directory that was listed
        return False


class Auditor:
    """virtgate-auditor with a file and a journal, and this test as its broker."""

    def __init__(self, directory):
        directory.mkdir()
        self.file, journal = directory / "audit.jsonl", directory / "journal"
        self.journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.journal.bind(str(journal))
        self.journal.settimeout(wire.PATIENCE)
        self.broker, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.broker.settimeout(wire.PATIENCE)
        config = os.memfd_create("config")
        os.write(config, wire.u32(1) + wire.u32(1) + wire.string(str(self.file)) + wire.string(str(journal)) + wire.u32(0) * 2)
        # Above the numbers that the child has them at.
        sources = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (config, end.fileno())]
        # Its parent is the other end of a pipe for its log.
        self.log, log = os.pipe()
        sources += [os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), log, log]
        actions = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in zip(sources, (3, 4, 0, 1, 2))]
        # It runs with what is meant for it and nothing else.
        others = {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, 3, 4, *sources}
        actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in sorted(others) if is_inheritable(fd)]
        self.pid = os.posix_spawn(BUILD / "virtgate-auditor", ["virtgate: auditor"], {}, file_actions=actions)
        for fd in {config, *sources}:
            os.close(fd)
        end.close()
        assert self.broker.recv(100) == frame(READY)

    def tell(self, procedure, payload=b""):
        self.broker.send(frame(procedure, payload))

    def add_worker(self, number, identity):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
        self.broker.sendmsg([frame(WORKER, wire.u64(number) + wire.string(identity))], fds)
        theirs.close()
        return ours

    def add_locker(self):
        """The connection by which the lock daemon's process tells."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        fds = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
        self.broker.sendmsg([frame(LOCKER)], fds)
        theirs.close()
        return ours

    def records(self, count):
        """Waits for as many lines; what they hold."""
        read = lambda: self.file.read_text().splitlines() if self.file.exists() else []
        upstream.poll(lambda: len(read()) >= count, wire.PATIENCE, lambda: f"{count} records; there are {read()}")
        return [json.loads(line) for line in read()]

    def wait(self):
        """How it ended by itself: its exit status."""
        assert not processes.wait_gone([processes.identity(self.pid)], wire.PATIENCE)
        pid, self.pid = self.pid, None
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def close(self):
        self.broker.close()
        self.journal.close()
        os.close(self.log)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.fixture
def auditor(tmp_path):
    one = Auditor(tmp_path / "auditor")
    yield one
    one.close()


def fields(entry):
    """An entry of the journal's protocol as a list of pairs."""
    found = []
    while entry:
        name, separator, rest = re.match(rb"([A-Z0-9_]+)([=\n])(.*)", entry, re.S).groups()
        if separator == b"=":
            value, _, entry = rest.partition(b"\n")
        else:
            (size,) = struct.unpack("<Q", rest[:8])
            value, end, entry = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert end == b"\n"
        found.append((name.decode(), value))
    return found


def test_records_reach_file_and_journal(auditor):
    worker = auditor.add_worker(3, "alice")
    auditor.tell(ARRIVAL, arrival(12, 3))
    worker.send(frame(DECISION, decision(12, 1, ALLOWED)))
    worker.send(frame(OUTCOME, outcome(12, 1)))
    worker.send(frame(DECISION, decision(12, 2)))
    came, done, refused = auditor.records(3)
    assert came["record"] == "session" and came["source"] == "192.0.2.7"
    assert (done["verdict"], done["result"], done["duration_us"]) == ("allowed", "done", 1234)
    assert refused["reason"] == "object" and "result" not in refused
    assert refused["rule"] == "20-bindings.toml:12" and refused["procedure"] == "DOMAIN_DESTROY"
    entries = [dict(fields(auditor.journal.recv(65536))) for _ in range(3)]
    assert [entry["VIRTGATE_RECORD"] for entry in entries] == [b"session", b"call", b"call"]
    assert entries[2]["VIRTGATE_OBJECT"] == b"domain=db-1"
    assert entries[2]["MESSAGE"].startswith(b"alice refused DOMAIN_DESTROY domain=db-1: object")


def test_name_stays_a_name(auditor, tmp_path):
    """From the channel to the terminal."""
    worker = auditor.add_worker(3, "alice")
    auditor.tell(ARRIVAL, arrival(12, 3))
    worker.send(frame(DECISION, decision(12, 1, name=NASTY)))
    assert auditor.records(2)[1]["objects"][0]["name"] == NASTY
    assert auditor.file.read_bytes().isascii() and auditor.file.read_bytes().count(b"\n") == 2
    auditor.journal.recv(65536)
    entry = fields(auditor.journal.recv(65536))
    names = [name for name, _ in entry]
    assert names.count("MESSAGE") == 1 and names.count("VIRTGATE_VERDICT") == 1
    assert dict(entry)["VIRTGATE_OBJECT"] == b"domain=" + NASTY.encode()
    shown = run(BUILD / "virtgate", "audit", "--file", auditor.file, "--refused")
    assert shown.isascii() and shown.isprintable() is False and shown.count("\n") == 1, shown
    assert "\x1b" not in shown and 'domain="db\\x0a\\x22}' in shown


def test_end_of_worker_and_of_broker_lose_no_decision(auditor):
    alice, bob = auditor.add_worker(3, "alice"), auditor.add_worker(4, "bob")
    auditor.tell(ARRIVAL, arrival(12, 3))
    auditor.tell(ARRIVAL, arrival(13, 4, "bob"))
    for call in range(50):
        alice.send(frame(DECISION, decision(12, call, ALLOWED)))
        bob.send(frame(DECISION, decision(13, call, ALLOWED)))
    alice.close()
    auditor.broker.close()
    assert auditor.wait() == 0
    calls = [record for record in auditor.records(102) if record["record"] == "call"]
    assert {record["result"] for record in calls if record["identity"] == "alice"} == {"lost"}
    assert {record["result"] for record in calls if record["identity"] == "bob"} == {"unknown"}
    assert len(calls) == 100


def test_liar_is_cut_off_and_others_are_not(auditor):
    alice, bob = auditor.add_worker(3, "alice"), auditor.add_worker(4, "bob")
    auditor.tell(ARRIVAL, arrival(12, 3))
    auditor.tell(ARRIVAL, arrival(13, 4, "bob"))
    auditor.records(2)
    bob.send(frame(DECISION, decision(12, 1)))
    assert auditor.records(3)[2]["record"] == "dropped"
    with pytest.raises(BrokenPipeError):
        bob.send(frame(DECISION, decision(13, 2)))
    alice.send(frame(DECISION, decision(12, 1)))
    assert auditor.records(4)[3]["identity"] == "alice"


def lock_decision(session, call, verdict=REFUSED, **changes):
    return decision(session, call, verdict, **{"name": "/srv/a", "what": (LOCK, ACQUIRE), "kind": OBJECT_LOCK, **changes})


def broken(reason="its host burnt down", error=0):
    texts = wire.string("/srv") + wire.string("a") + wire.string('process 7 ("web")')
    return wire.u32(0) + wire.u32(12) + texts + wire.u64(12) + wire.u32(1) + wire.string(reason) + wire.u32(error)


def test_locker_tells_of_sessions_that_may_lock(auditor):
    """In pieces and several at once: it is a stream."""
    auditor.add_worker(3, "alice")
    auditor.tell(ARRIVAL, arrival(12, 3, locks=True))
    locker = auditor.add_locker()
    frames = frame(DECISION, lock_decision(12, 1, ALLOWED)) + frame(DECISION, lock_decision(12, 2))
    frames += frame(OUTCOME, outcome(12, 1, 87)) + frame(BROKEN, broken())
    locker.send(frames[:30])
    locker.send(frames[30:500])
    locker.send(frames[500:])
    came, refused, done, over = auditor.records(4)
    for record in (refused, done):
        assert (record["record"], record["program"], record["procedure"]) == ("call", "lock", "ACQUIRE_RESOURCE")
        assert (record["identity"], record["session"]) == ("alice", 12)
        assert record["objects"] == [{"kind": "lock", "name": "/srv/a", "known": True}]
    assert (done["result"], done["error"], refused["verdict"]) == ("error", 87, "refused")
    assert (over["record"], over["uid"], over["pid"]) == ("lock-broken", 0, 12)
    assert (over["detail"], over["owner"]) == ("its host burnt down", 'process 7 ("web")')
    assert over["objects"][0]["name"] == "/srv/a" and over["owner_lives"]
    locker.close()
    assert auditor.broker.recv(100) == frame(LOCKER_GONE)


@pytest.mark.parametrize(
    "lie",
    [
        frame(DECISION, lock_decision(13, 1)),  # a session that has no way to the lock daemon
        frame(OUTCOME, outcome(13, 1)),
        frame(DECISION, decision(12, 1)),  # not about locks
        frame(ARRIVAL, arrival(14, 3)),
        frame(WORKER, wire.u64(3) + wire.string("root")),
        frame(DEPARTURE, wire.u32(1) + wire.u64(13)),
        frame(DECISION, lock_decision(12, 1)[:-4]),
        wire.u32(27) + bytes(60),
        wire.u32(0xFFFFFFFF) + bytes(60),
    ],
)
def test_captured_locker_writes_no_records_of_others(auditor, lie):
    auditor.add_worker(3, "alice")
    worker = auditor.add_worker(4, "bob")
    auditor.tell(ARRIVAL, arrival(12, 3, locks=True))
    auditor.tell(ARRIVAL, arrival(13, 4, "bob"))
    auditor.records(2)
    locker = auditor.add_locker()
    locker.send(lie)
    *_, accused = auditor.records(3)
    assert accused["record"] == "dropped" and "the lock daemon is not listened to" in accused["detail"]
    # What it says after that is not heard; others are.
    try:
        locker.send(frame(DECISION, lock_decision(12, 7)))
    except OSError:
        pass
    worker.send(frame(DECISION, decision(13, 1)))
    *_, last = auditor.records(4)
    assert (last["record"], last["identity"]) == ("call", "bob")


def test_worker_breaks_no_locks(auditor):
    worker = auditor.add_worker(3, "alice")
    worker.send(frame(BROKEN, broken()))
    (accused,) = auditor.records(1)
    assert accused["record"] == "dropped" and "not for a worker" in accused["detail"]


def test_file_is_rotated_without_a_gap(auditor):
    worker = auditor.add_worker(3, "alice")
    auditor.tell(ARRIVAL, arrival(12, 3))
    auditor.records(1)
    command = [BUILD / "virtgate", "audit", "--follow", "--json", "--file", auditor.file]
    follow = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert json.loads(follow.stdout.readline())["record"] == "session"
        old = auditor.file.with_suffix(".1")
        worker.send(frame(DECISION, decision(12, 1, name="first")))
        auditor.records(2)
        auditor.file.rename(old)
        worker.send(frame(DECISION, decision(12, 2, name="second")))
        upstream.poll(lambda: old.read_text().count("\n") == 3, wire.PATIENCE)
        auditor.tell(REOPEN)
        worker.send(frame(DECISION, decision(12, 3, name="third")))
        assert auditor.records(1)[0]["objects"][0]["name"] == "third"
        seen = [json.loads(follow.stdout.readline())["objects"][0]["name"] for _ in range(3)]
        assert seen == ["first", "second", "third"]
    finally:
        processes.end(follow)
        follow.stdout.close()


@pytest.mark.skipif(
    "#define VIRTGATE_SANITIZERS" in (BUILD / "config.h").read_text(), reason="AddressSanitizer keeps what is freed"
)
def test_memory_stays_bounded(auditor):
    """Calls that never end, with the longest of names."""
    worker = auditor.add_worker(3, "alice")
    auditor.tell(ARRIVAL, arrival(12, 3))
    auditor.records(1)
    before, calls = processes.resident(auditor.pid), 20000
    for call in range(calls):
        worker.send(frame(DECISION, decision(12, call, ALLOWED, name="x" * 512)))
    worker.send(frame(DECISION, decision(12, calls)))
    upstream.poll(lambda: '"refused"' in auditor.file.read_text()[-2000:], 30, "the last record")
    grown = processes.resident(auditor.pid) - before
    assert grown < 24 << 20, f"{grown >> 20} MiB more"
    assert json.loads(auditor.file.read_text().splitlines()[1])["result"] == "unknown"


def test_command_filters_and_says_what_it_found(tmp_path):
    path = tmp_path / "audit.jsonl"
    record = {"time": "2024-11-21T14:02:11.000000Z", "record": "call", "verdict": "refused", "identity": "alice"}
    lines = [json.dumps(record | {"identity": name, "procedure": "DOMAIN_DESTROY"}) for name in ("alice", "bob", "alice")]
    path.write_text("\n".join([*lines, "broken"]) + "\n")
    audit = lambda *words, **more: attempt(BUILD / "virtgate", "audit", "--file", path, *words, **more)
    done = audit("--identity", "alice", environment={"TZ": "UTC"})
    assert done.returncode == 0 and done.stdout == "2024-11-21 14:02:11 alice refused DOMAIN_DESTROY\n" * 2
    assert "1 lines of" in done.stderr
    assert audit("--identity", "carol").returncode == 1
    assert audit("--since", "1h").returncode == 1
    assert audit("--since", "2024-11-21T14:02:11Z", "--until", "2024-11-21T14:02:12Z").stdout.count("\n") == 3
    assert audit("--last", "1", "--json").stdout == lines[-1] + "\n"
    assert attempt(BUILD / "virtgate", "audit", "--file", "-", stdin=lines[1]).stdout.count("bob") == 1
    for words in (["--since", "soon"], ["--object", "[x"], ["--session", "x"], ["--nonsense"], ["--follow", "--file", "-"]):
        assert audit(*words).returncode == 64, words
    assert attempt(BUILD / "virtgate", "audit", "--file", tmp_path / "none").returncode == os.EX_NOINPUT


# --- all of virtgate ---

POLICY_TEXT = """
[role.operator]
allow = ["@read-only", "@lifecycle"]
audit = "all"

[identity.operator]
x509 = { CN = "operator" }

[[binding]]
identity = "operator"
role = "operator"
objects = { domain = ["test"] }
"""


@pytest.fixture(scope="module")
def audited(guard):
    """A suite in front of the test driver whose only identity is the operator."""
    with guard("audited", POLICY_TEXT) as made:
        yield made


def test_real_client_leaves_a_trace(audited):
    done = audited.virsh("operator", "suspend test; resume test")
    assert done.returncode == 0, done.stderr
    suspended = audited.wait_for_records(procedure="DOMAIN_SUSPEND")[0]
    assert suspended["verdict"] == "allowed" and suspended["result"] == "done"
    assert suspended["identity"] == "operator" and suspended["role"] == "operator"
    assert suspended["subject"] == "CN=operator" and suspended["listener"] == "tls"
    assert suspended["objects"][0]["name"] == "test"
    came = audited.wait_for_records(record="session", session=suspended["session"])[0]
    assert came["verdict"] == "allowed" and came["time"] <= suspended["time"]
    gone = audited.wait_for_records(record="session-end", session=suspended["session"])[0]
    assert gone["duration_us"] > 0


def test_refusal_has_reason_and_rule(audited):
    audited.virsh("operator", "undefine", "test")
    refused = audited.wait_for_records(verdict="refused", record="call")[0]
    assert refused["reason"] in ("no-binding", "object") and refused["procedure"].startswith("DOMAIN_UNDEFINE")
    shown = run(BUILD / "virtgate", "audit", "--file", audited.records_file, "--refused")
    assert "operator refused DOMAIN_UNDEFINE" in shown


def test_unknown_client_is_recorded(audited):
    audited.virsh("stranger", "list")
    stranger = audited.wait_for_records(record="session", verdict="refused")[0]
    assert stranger["reason"] == "no-identity" and stranger["subject"] == "CN=stranger"
    assert "session" not in stranger and "identity" not in stranger


def test_name_of_a_client_cannot_forge_a_record(audited):
    before = len(audited.records(verdict="allowed", identity="operator", procedure="DOMAIN_LOOKUP_BY_NAME"))
    with audited.open_as("operator") as client:
        client.ask(LOOKUP_BY_NAME, wire.string('x"},"verdict":"allowed","procedure":"DOMAIN_LOOKUP_BY_NAME\u202e'))
        session = audited.wait_for_records(record="session", verdict="allowed")[-1]["session"]
    audited.wait_for_records(record="session-end", session=session)
    for line in (audited.records_file).read_bytes().splitlines():
        assert line.isascii() and json.loads(line)["record"]
    after = audited.records(verdict="allowed", identity="operator", procedure="DOMAIN_LOOKUP_BY_NAME")
    assert len(after) - before <= 1


def test_crash_of_a_worker_is_recorded(audited):
    with audited.open_as("operator"):
        session = audited.wait_for_records(record="session", verdict="allowed")[-1]["session"]
        for pid in audited.pids("virtgate-worker"):
            os.kill(pid, signal.SIGKILL)
        audited.wait_for_records(record="session-end", session=session)


def test_rotation_and_a_reload(audited):
    path = audited.records_file
    path.rename(path.with_suffix(".1"))
    (broker,) = audited.pids("virtgate-workerd")
    os.kill(broker, signal.SIGHUP)
    # The policy is read again, too: that is the first record of the new file.
    audited.wait_for_records(record="policy", verdict="allowed")
    audited.virsh("operator", "list")
    audited.wait_for_records(record="session")


def test_auditor_that_dies_is_replaced(audited):
    with audited.open_as("operator") as client:
        session = audited.wait_for_records(record="session", verdict="allowed")[-1]["session"]
        (auditor,) = audited.pids("virtgate-auditor")
        os.kill(auditor, signal.SIGKILL)
        upstream.poll(lambda: set(audited.pids("virtgate-auditor")) - {auditor}, 15, "another auditor")
        # It is told of the session again, and of what is asked in it.
        audited.wait_for_records(2, record="session", session=session)
        assert client.ask(wire.GET_LIB_VERSION).status == wire.OK
        audited.wait_for_records(session=session, procedure="CONNECT_GET_LIB_VERSION")
