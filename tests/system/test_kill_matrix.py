# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_kill_matrix - every process is killed at a random moment, under load.

Whatever is killed: the sessions that do not depend on it notice nothing, those that do get an error or an
end, every call gets its answer in time, what a client was told has happened, and afterwards there are as many
processes and descriptors as before. VIRTGATE_KILLS says how often each process is killed (1), VIRTGATE_SEED
repeats a run.
"""

import os
import pathlib
import random
import signal
import threading
import time

import pytest

from vgtest import captured_program, mdns, metrics, processes, sasl, upstream, wire

KILLS = int(os.environ.get("VIRTGATE_KILLS", "1"))
SEED = int(os.environ.get("VIRTGATE_SEED", random.SystemRandom().getrandbits(32)))

URI, PROGRAM, PASSWORD = "qemu:///system", "inventory:///", "correct horse battery"
INVENTORY, SET_ITEM = 0x20494E56, 3
CERTIFIED = ("alice", "bob")
CALL_PATIENCE, CONNECT_PATIENCE = 10.0, 20.0
# A process that runs for this long is started again at once when it dies (spawn/ward.h); a round lasts longer.
GOOD_RUN = 10.5
# How long after a kill its consequences may show. A hung client would not show at all.
SHADOW = 2.0

VICTIMS = (
    "netd", "gate-0", "gate-1", "keeper-0", "keeper-1", "doorman", "sasl", "steward", "exporter", "workerd", "auditor", "worker-alice",
    "worker-bob", "worker-carol", "store", "program-inventory", "lockd", "locker", *(("announcer",) if mdns.SETTINGS else ()),
)  # fmt: skip
CRASHES = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGSYS)

POLICY = """
[identity.{0}]
any = [{{ x509 = {{ CN = "{0}" }} }}, {{ sasl = "{0}" }}]

[[binding]]
identity = "{0}"
role = "admin"
"""
PROGRAM_POLICY = """
[role.inventory]
allow = ["proc:inventory.*"]
[[binding]]
identity = "admin"
role = "inventory"
"""


class Kill:
    """One death, and whom it may concern."""

    def __init__(self, name, when, ports):
        self.name, self.when, self.ports = name, when, ports

    def concerns(self, client):
        if self.name in ("netd", "workerd"):
            return True
        if self.name.startswith("program-"):
            return client.uri == PROGRAM
        if self.name.startswith("worker-"):
            return client.identity == self.name.removeprefix("worker-")
        if self.name.startswith("gate-"):
            # Whose client it is cannot be seen at a UNIX socket, and without being root not at all.
            is_unknown = self.ports is None or client.port is None
            return is_unknown or client.port in self.ports or client.since >= self.when - 0.5
        return False


class Client:
    """Logs in, calls without a pause, and comes again when its session ends."""

    def __init__(self, number, identity, connect, uri, house):
        self.number, self.identity, self.connect, self.uri, self.house = number, identity, connect, uri, house
        self.port, self.since, self.calls, self.sessions = None, 0.0, 0, 0
        self.acknowledged, self.failures = [], []
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self.house.over.is_set():
            try:
                client = self._open()
            except TimeoutError:
                self.failures.append("a connection hangs")
                return
            if client is None:
                self.house.over.wait(0.05)
                continue
            with client:
                self._work(client)

    def _open(self):
        """None if it is not let in now, which it may not be while something is started again."""
        client = None
        begun = time.monotonic()
        try:
            client = self.connect()
            self.port = client.sock.getsockname()[1] if client.sock.family != 1 else None
            self.since = time.monotonic()
            opened = client.ask(wire.CONNECT_OPEN, wire.open_args(self.uri), patience=CONNECT_PATIENCE)
            if opened.status == wire.OK:
                self.sessions += 1
                return client
        except (wire.Closed, ConnectionError, OSError, AssertionError) as why:
            if isinstance(why, TimeoutError) or time.monotonic() - begun > CONNECT_PATIENCE:
                raise TimeoutError from why
        if client:
            client.close()
        return None

    def _work(self, client):
        while not self.house.over.is_set():
            name = f"client-{self.number}-call-{self.calls}"
            self.calls += 1
            try:
                answer = self._call(client, name)
            except TimeoutError:
                return self.failures.append(f"{name} of {self.identity} gets no answer")
            except wire.Closed:
                return self._ended("its session ended")
            if answer.status != wire.OK:
                return self._ended(f"{name} got {answer.error()}")
            self.acknowledged.append(name)
            time.sleep(0.004)

    def _call(self, client, name):
        """To the daemon, or to the program, which keeps the last name of each client."""
        if self.uri == URI:
            return client.ask(wire.LOOKUP_BY_NAME, wire.string(name), patience=CALL_PATIENCE)
        item = wire.string(f"client-{self.number}") + wire.string(name)
        return client.ask(SET_ITEM, item, INVENTORY, patience=CALL_PATIENCE)

    def _ended(self, how):
        """A session ended, or is about to: somebody has to have been killed for that."""
        now = time.monotonic()
        if self.house.over.is_set():
            return
        guilty = [kill for kill in list(self.house.kills) if now - SHADOW < kill.when and kill.concerns(self)]
        if not guilty:
            recent = [(kill.name, round(now - kill.when, 2)) for kill in self.house.kills[-4:]]
            self.failures.append(
                f"{self.identity} on port {self.port}: {how}, and only these were killed: {recent}"
            )


class House:
    """The suite, its clients, and what the daemon behind it was asked."""

    def __init__(self, suite, recording):
        self.suite, self.kills, self.over, self.done = suite, [], threading.Event(), {}
        self.recording = recording
        recording.on(wire.LOOKUP_BY_NAME, self._note)

    def _note(self, connection, frame):
        name = wire.Reader(frame.payload).text()
        self.done[name] = self.done.get(name, 0) + 1
        connection.frames.clear()  # nobody looks at them, and there are many
        connection.raw.clear()
        connection.send(wire.reply(frame, wire.domain(name)))

    def pid(self, name):
        """Of the process that calls itself so; None if it does not run."""
        (pid, *_) = processes.by_title(self.suite.process.pid).get(name, [None])
        return pid

    def ports_of(self, pid):
        """The clients' ports of the TCP connections that a process holds; None where that cannot be seen."""
        try:
            held = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}
        except OSError:
            return None
        found = set()
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for fields in map(str.split, pathlib.Path(table).read_text().splitlines()[1:]):
                if f"socket:[{fields[9]}]" in held:
                    found.add(int(fields[2].rpartition(":")[2], 16))
        return found

    def kill(self, name, number):
        pid = self.pid(name)
        if pid is None:
            return False
        ports = self.ports_of(pid) if name.startswith("gate-") else None
        self.kills.append(Kill(name, time.monotonic(), ports))
        os.kill(pid, number)
        return True

    def items(self):
        """What the program has written down: {name: tag}."""
        lines = (self.suite.directory / "items" / "items").read_text().splitlines()
        return dict(line.split("\t") for line in lines)

    def census(self):
        """{name: descriptors} of all processes of the suite; of those that may not be looked at 0."""
        titles = processes.by_title(self.suite.process.pid)
        return {
            name: sorted(processes.descriptors(pid) or 0 for pid in pids) for name, pids in titles.items()
        }


@pytest.fixture
def house(scratch, running_suite, recording, authority):
    suite = running_suite.sibling(
        scratch / "kill-matrix",
        {
            "netd.gates": 2,
            "netd.tls.authentication": '"x509-or-sasl"',
            "netd.limits.failure_delay": "0.1",
            "netd.limits.failure_delay_max": "0.1",
            "netd.limits.failures_per_source": "1000000",
            "netd.limits.tries": "100",
            **metrics.SETTINGS,
            **mdns.SETTINGS,
        },
    )
    names = (*CERTIFIED, "carol")
    suite.add_policy("20-people.toml", "".join(POLICY.format(name) for name in names))
    sasl.add_user(suite.directory / "etc" / "users", "carol", PASSWORD)
    suite.add_policy("20-inventory.toml", PROGRAM_POLICY)
    captured_program.announce_inventory(suite)
    recording.forget()
    with mdns.bus_for(suite), suite:
        made = House(suite, recording)
        yield made
        made.over.set()
    recording.forget()


def make_clients(house, authority, first):
    """20 of them, numbered from `first` on: with certificates, with a password, and at the UNIX socket; four of the last ones
    are of the program.
    """
    suite = house.suite

    def certified(name):
        context = wire.tls_context(suite.pki, authority.issue(f"/O=virtgate up/CN={name}"))
        return lambda: suite.connect(context=context, patience=CONNECT_PATIENCE)

    def with_password():
        client = suite.connect(
            context=wire.tls_context(suite.pki, certificate=False), patience=CONNECT_PATIENCE
        )
        refused = sasl.log_in(client, "carol", PASSWORD, patience=CONNECT_PATIENCE)
        assert refused is None
        return client

    ways = [(name, certified(name), URI) for name in CERTIFIED]
    ways.append(("carol", with_password, URI))
    ways += [("admin", lambda: wire.connect_unix(suite.local_socket), uri) for uri in (URI, PROGRAM)]
    return [Client(number, *ways[number % len(ways)], house) for number in range(first, first + 20)]


def wait_until_all_work(house, clients):
    """Until each client has had an answer since now."""
    before = {client: len(client.acknowledged) for client in clients}
    upstream.poll(
        lambda: all(len(client.acknowledged) > before[client] or client.failures for client in clients),
        CONNECT_PATIENCE + CALL_PATIENCE,
        lambda: f"{[(c.number, c.identity) for c in clients if len(c.acknowledged) <= before[c]]} do not work again; "
        f"killed: {[kill.name for kill in house.kills[-6:]]}\n{house.suite.log()[-4000:]}",
    )


def take_census(house):
    """Who runs, and with how many descriptors, when nobody is connected but the workers still run."""
    last = {}

    def steady():
        now = house.census()
        same = last.get("census") == now
        last["census"] = now
        time.sleep(0.3)
        return same

    upstream.poll(steady, 20, "a steady number of processes and descriptors")
    return last["census"]


def run(house, clients):
    for client in clients:
        client.thread.start()
    wait_until_all_work(house, clients)


def stop(house, clients):
    house.over.set()
    for client in clients:
        client.thread.join(CONNECT_PATIENCE + CALL_PATIENCE)
        assert not client.thread.is_alive(), f"client {client.number} of {client.identity} hangs"


def test_death_of_any_process_concerns_only_its_own_sessions(house, authority):
    print(f"VIRTGATE_SEED={SEED}")
    chance = random.Random(SEED)
    warm = make_clients(house, authority, 0)
    run(house, warm)
    stop(house, warm)
    before = take_census(house)

    house.over.clear()
    clients = make_clients(house, authority, 100)
    run(house, clients)
    for _ in range(KILLS):
        begun = time.monotonic()
        order = list(VICTIMS)
        chance.shuffle(order)
        for name in order:
            time.sleep(chance.random() * 0.4)
            number = signal.SIGKILL if name.startswith("worker-") else chance.choice(CRASHES)
            upstream.poll(lambda: house.kill(name, number), CONNECT_PATIENCE, f"{name} to kill")
            assert not [failure for client in clients for failure in client.failures]
        wait_until_all_work(house, clients)
        if KILLS > 1:
            time.sleep(max(0.0, begun + GOOD_RUN - time.monotonic()))
    stop(house, clients)

    assert [failure for client in clients for failure in client.failures] == []
    acknowledged = [name for client in warm + clients for name in client.acknowledged if client.uri == URI]
    lost = [name for name in acknowledged if name not in house.done]
    twice = [name for name, count in house.done.items() if count > 1]
    assert lost == [] and twice == []
    kept = house.items()
    for client in warm + clients:
        if client.uri == PROGRAM:
            # One that was not acknowledged may have happened, too.
            assert number_of(kept[f"client-{client.number}"]) >= number_of(client.acknowledged[-1])
    assert all(client.sessions > 1 for client in clients), "netd died, and somebody did not notice"
    upstream.poll(lambda: has_settled(house.census(), before), 20, lambda: f"\n{before}\n{house.census()}")


def number_of(name):
    return int(name.rpartition("-")[2])


def has_settled(now, before):
    """The same processes, and none has more descriptors than it had."""
    same = {name: len(counts) for name, counts in now.items()} == {name: len(c) for name, c in before.items()}
    return same and all(x <= y for name in before for x, y in zip(now[name], before[name]))
