# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lockd_survives - no lock that a client was told it has is ever free, whatever of the lock daemon is killed.

A second process tries to take the locks all the time. VIRTGATE_KILLS says how many kills there are (12),
VIRTGATE_SEED repeats a run.
"""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time

import pytest

from vgtest import locks, manager, processes, suite, upstream, wire
from vgtest.locks import AUTOCREATE

LENGTHY = True

KILLS = int(os.environ.get("VIRTGATE_KILLS", "12"))
SEED = int(os.environ.get("VIRTGATE_SEED", random.SystemRandom().getrandbits(32)))
OWNER = 424242  # nobody's pid
HELD, CLIENTS = 200, 6


class House(locks.Lockd):
    """virtgate-lockd below a service manager that keeps what it leaves."""

    def __init__(self, directory, **settings):
        super().__init__(directory, **settings)
        self.manager = None

    programs = suite.BUILD

    def start(self):
        self.write_settings()
        command = [self.programs / "virtgate-lockd", "--config", self.settings_path]
        self.manager = manager.Manager(self.directory, command, self.log_path)
        self.manager.start()
        try:
            upstream.poll(self.answers, 10, lambda: f"an answer; log:\n{self.log()[:3000]}")
        except AssertionError:
            self.stop()
            raise
        return self

    def stop(self):
        self.manager.stop()

    @property
    def lockers(self):
        return self.manager.children("virtgate-locker")

    def kill(self, what):
        """"locker", "holder" or "both"."""
        locker = self.lockers
        if what in ("locker", "both"):
            for pid in locker:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if what in ("holder", "both"):
            self.manager.kill()


@pytest.fixture
def house(scratch, request):
    with House(scratch / request.node.name[:40]) as started:
        yield started


@contextlib.contextmanager
def besieged(paths):
    """A second process that tries to take the locks of `paths` without a pause; fails if it ever gets one."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        rounds = 0
        try:
            os.close(read)
            while os.getppid() != 1:
                for path in paths:
                    if locks.is_free(path):
                        os.write(write, f"{path} was free in round {rounds}\n".encode())
                        os._exit(1)
                rounds += 1
                os.write(write, b".")
        finally:
            os._exit(2)
    os.close(write)
    said = bytearray()

    def listen():
        while chunk := os.read(read, 65536):
            said.extend(chunk)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
        time.sleep(0.1)  # once more, after the last thing that happened
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        listener.join()
        os.close(read)
    rounds = said.count(b".")
    assert said == b"." * rounds, said.strip(b".").decode()
    assert rounds > 3, "the second process hardly tried"


class Client(threading.Thread):
    """Takes and gives back locks without a pause. `held` has what it was told it has."""

    def __init__(self, house, number, stays=False):
        super().__init__(daemon=True)
        self.house, self.number, self.stays = house, number, stays
        self.over, self.failures, self.rounds, self.connections = threading.Event(), [], 0, 0
        self.space = house.spaces / "load"
        self.held = None  # (path, round)

    def run(self):
        try:
            while not self.over.is_set():
                try:
                    with self.house.connect() as client:
                        self.connections += 1
                        assert client.register(OWNER + self.number) is None
                        self._clean_up(client)
                        self._work(client)
                except (wire.Closed, ConnectionError, FileNotFoundError, BlockingIOError) as why:
                    if self.stays:
                        self.failures.append(f"client {self.number} was left: {why!r}")
                        return
                    time.sleep(0.01)
        except Exception as why:  # a thread's exception would be seen by nobody
            self.failures.append(f"client {self.number}: {why!r}")

    def _turn(self):
        return f"{self.number}-{self.rounds % 3}"

    def _clean_up(self, client):
        """What was cut off may have happened or not: both are right, and now it is over."""
        self.held = None
        for turn in range(3):
            answer = client.release(self.space, f"{self.number}-{turn}")
            assert answer is None or answer[0] == locks.BUSY, answer

    def _work(self, client):
        while not self.over.is_set():
            answer = client.acquire(self.space, self._turn(), AUTOCREATE)
            assert answer is None, answer
            self.held = (self.space / self._turn(), self.rounds)
            time.sleep(0.002)
            held = self.held
            free = locks.is_free(held[0])
            if free:
                self.failures.append(f"{held[0]} was free while client {self.number} had it")
            self.held = None
            answer = client.release(self.space, self._turn())
            assert answer is None, answer
            self.rounds += 1

    def stop(self):
        self.over.set()
        self.join(30)
        assert not self.is_alive(), f"client {self.number} hangs"


def take(house, count):
    """`count` locks that stay: their paths."""
    space = house.spaces / "held"
    paths = [space / f"disk-{number}" for number in range(count)]
    with house.owner(OWNER) as client:
        assert client.open_space(space) is None
        assert client.open_space(house.spaces / "load") is None
        for path in paths:
            assert client.acquire(space, path.name, AUTOCREATE) is None
    return paths


def give_back(house, paths):
    with house.owner(OWNER) as client:
        for path in paths:
            assert client.release(path.parent, path.name) is None
            assert not path.exists()


@contextlib.contextmanager
def load(house, **options):
    clients = [Client(house, number, **options) for number in range(1, CLIENTS + 1)]
    for client in clients:
        client.start()
    try:
        wait_for_progress(clients)
        yield clients
        wait_for_progress(clients)
    finally:
        for client in clients:
            client.stop()
    assert [failure for client in clients for failure in client.failures] == []


def wait_for_progress(clients):
    before = [client.rounds for client in clients]
    upstream.poll(
        lambda: all(
            client.rounds > rounds + 1 or client.failures for client, rounds in zip(clients, before)
        ),
        30,
        lambda: f"clients that go on: {[(c.number, c.rounds, c.failures) for c in clients]}",
    )


def test_no_lock_is_free_whatever_is_killed(house):
    print(f"VIRTGATE_SEED={SEED}")
    chance = random.Random(SEED)
    paths = take(house, HELD)
    with besieged(paths), load(house) as clients:
        for number in range(KILLS):
            time.sleep(chance.random() * 0.3)
            house.kill(chance.choice(("locker", "holder", "both")))
            if number % 4 == 3:
                wait_for_progress(clients)
    assert house.manager.starts > 1
    upstream.poll(house.answers, 10, "an answer")
    give_back(house, paths)
    # Two lock spaces, and nothing of all those locks.
    upstream.poll(lambda: house.manager.slots() == 2, 5, lambda: f"{sorted(house.manager.store)}")
    assert "ERROR" not in house.log()


def test_no_lock_is_free_while_a_holder_starts(house):
    """Killed again and again before it can serve: the moments of recovery."""
    chance = random.Random(SEED)
    paths = take(house, HELD)
    with besieged(paths):
        for _ in range(KILLS):
            time.sleep(chance.random() * 0.03)
            starts = house.manager.starts
            house.manager.kill()
            upstream.poll(lambda: house.manager.starts > starts, 5, "the next start")
        upstream.poll(house.answers, 20, lambda: house.log()[-3000:])
    assert house.manager.starts == KILLS + 1
    give_back(house, paths)


def test_an_upgrade_in_place_is_noticed_by_nobody(house):
    paths = take(house, HELD)
    pid = house.manager.pid
    upgrades = max(3, KILLS // 4)
    with besieged(paths), load(house, stays=True) as clients:
        for number in range(upgrades):
            before = house.lockers
            house.manager.kill(signal.SIGUSR1 if number % 2 == 0 else signal.SIGHUP)
            upstream.poll(lambda: house.lockers not in ([], before), 10, lambda: house.log()[-3000:])
            wait_for_progress(clients)
    assert house.manager.pid == pid and house.manager.starts == 1
    assert [client.connections for client in clients] == [1] * CLIENTS
    assert house.manager.states.count("RELOADING=1") == upgrades
    assert sum("READY=1" in state for state in house.manager.states) == upgrades + 1
    give_back(house, paths)


def test_two_signals_at_once_are_no_more_than_one(house):
    """A signal that comes in the exec must not end the process: that would be its default."""
    pid = house.manager.pid
    paths = take(house, 10)
    for _ in range(500):
        house.manager.kill(random.choice((signal.SIGUSR1, signal.SIGHUP)))
        time.sleep(0.002)
    upstream.poll(house.answers, 10, "an answer")
    assert house.manager.pid == pid and house.manager.starts == 1
    upstream.poll(lambda: house.answers(), 10, "an answer")
    give_back(house, paths)


def test_forty_upgrades_are_as_good_as_one(house):
    """Landlock allows sixteen layers: a holder that confined itself anew each time would end there."""
    paths = take(house, 5)
    before = None
    with besieged(paths):
        for number in range(40):
            locker = house.lockers
            house.manager.kill(signal.SIGUSR1)
            upstream.poll(lambda: house.lockers not in ([], locker), 10, lambda: house.log()[-3000:])
            upstream.poll(house.answers, 10, lambda: house.log()[-3000:])
            if number == 1:
                before = processes.descriptors(house.manager.pid)
    assert house.manager.starts == 1
    assert processes.descriptors(house.manager.pid) == before, "descriptors are left over"
    give_back(house, paths)


def test_wrong_settings_change_nothing(house):
    paths = take(house, 5)
    lockers = house.lockers
    good = house.settings_path.read_text()
    for wrong, complaint in (
        ("sokcet = '/x'\n", 'did you mean "socket"'),
        (good.replace("[", '["/srv/elsewhere", ', 1), "that takes a restart, which keeps all locks"),
        (good.replace("/state", "/other"), '"state_directory" can change in a restart only'),
    ):
        house.settings_path.write_text(wrong)
        house.manager.kill(signal.SIGHUP)
        upstream.poll(lambda: complaint in house.log(), 5, lambda: house.log()[-2000:])
        assert house.lockers == lockers
    house.settings_path.write_text(good)
    give_back(house, paths)


def test_an_executable_that_is_gone_changes_nothing(scratch):
    """An upgrade that removes before it writes."""
    programs = scratch / "gone" / "programs"
    programs.mkdir(parents=True)
    for name in ("virtgate-lockd", "virtgate-locker"):
        _copy(suite.BUILD / name, programs / name)

    class Moved(House):
        pass

    Moved.programs = programs
    with Moved(scratch / "gone" / "house") as house:
        paths = take(house, 5)
        (programs / "virtgate-lockd").rename(programs / "away")
        with besieged(paths):
            locker = house.lockers
            house.manager.kill(signal.SIGUSR1)
            upstream.poll(lambda: "nothing is reloaded: cannot execute" in house.log(), 10, lambda: house.log()[-2000:])
            upstream.poll(lambda: house.lockers not in ([], locker) and house.answers(), 10, "a new locker")
            _copy(programs / "away", programs / "virtgate-lockd")
            locker = house.lockers
            house.manager.kill(signal.SIGUSR1)
            upstream.poll(lambda: house.lockers not in ([], locker) and house.answers(), 10, "a new locker")
        assert house.manager.starts == 1
        exe = os.stat(f"/proc/{house.manager.pid}/exe") if os.geteuid() == 0 else None
        assert exe is None or exe.st_ino == (programs / "virtgate-lockd").stat().st_ino, "it is still the old one"
        give_back(house, paths)


def test_a_manager_that_does_not_read_makes_clients_wait_and_nothing_else(house):
    paths = take(house, 5)
    space = house.spaces / "held"
    with besieged(paths), house.owner(OWNER) as client:
        house.manager.deaf = True
        time.sleep(0.2)
        # Its queue takes some, and that of the locker.
        answers = []
        for number in range(3000):
            answer = client.start(locks.ACQUIRE, _resource(space, f"more-{number}", AUTOCREATE), prog=locks.LOCK)
            try:
                answers.append(client.answer(answer, 1.0))
            except TimeoutError:
                break
        else:
            pytest.fail("the queue has no end")
        house.manager.deaf = False
        reply = client.answer(answer, 10.0)
        assert reply.status == wire.OK
        for number in range(len(answers) + 1):
            assert client.release(space, f"more-{number}") is None
    give_back(house, paths)


def acquire_all(client, space, names):
    for name in names:
        assert client.acquire(space, name, AUTOCREATE) is None, name


def test_nobody_waits_for_a_holder_that_hangs_and_what_it_did_not_read_is_not_lost(house):
    paths = take(house, 5)
    space = house.spaces / "held"
    os.kill(house.manager.pid, signal.SIGSTOP)
    with house.owner(OWNER) as client:
        acquire_all(client, space, (f"kept-{number}" for number in range(60)))
        acquire_all(client, space, (f"gone-{number}" for number in range(60)))
        for number in range(60):
            assert client.release(space, f"gone-{number}") is None
    paths += [space / f"kept-{number}" for number in range(60)]
    with besieged(paths):
        starts = house.manager.starts
        house.kill("both")
        upstream.poll(lambda: house.manager.starts > starts and house.answers(), 10, lambda: house.log()[-3000:])
        with house.owner(OWNER + 1) as other:
            for path in paths:
                assert other.acquire(space, path.name)[0] == locks.BUSY
    assert not list(space.glob("gone-*"))
    give_back(house, paths)


def test_an_upgrade_takes_along_what_the_manager_did_not_take(house):
    """It does not read for so long that the holder goes on as the next one with its queue unread."""
    paths = take(house, 5)
    space = house.spaces / "held"
    pid = house.manager.pid
    house.manager.deaf = True
    time.sleep(0.2)
    with house.owner(OWNER) as client:
        acquire_all(client, space, (f"more-{number}" for number in range(100)))
    paths += [space / f"more-{number}" for number in range(100)]
    with besieged(paths):
        house.manager.kill(signal.SIGUSR1)
        upstream.poll(lambda: "the next one will go on with it" in house.log(), 20, lambda: house.log()[-3000:])
        upstream.poll(lambda: "kept from before" in house.log(), 20, lambda: house.log()[-3000:])
        house.manager.deaf = False
        upstream.poll(house.answers, 20, lambda: house.log()[-3000:])
        assert house.manager.pid == pid and house.manager.starts == 1
    give_back(house, paths)


def test_a_full_disk_refuses_new_locks_and_loses_none(scratch):
    if os.geteuid() != 0:
        pytest.skip("takes root")
    house = House(scratch / "full")
    state = house.directory / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", state], check=True)
    try:
        with house:
            _fill_the_disk(house, state)
    finally:
        subprocess.run(["umount", "-l", state], check=True)


def _fill_the_disk(house, state):
    paths = take(house, 20)
    space = house.spaces / "held"
    with open(state / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"x" * 4096)
    with besieged(paths), house.owner(OWNER, name="n" * 100) as client:
        taken, answer = [], None
        while answer is None and len(taken) < 10_000:
            taken.append(f"{len(taken):0250}")
            answer = client.acquire(space, taken[-1], AUTOCREATE)
        refused = taken.pop()
        assert answer[0] == locks.INTERNAL and "there is no room to write down more locks" in answer[2]
        assert not (space / refused).exists() and len(taken) > 100
        assert all(not locks.is_free(space / name) for name in taken)
        for what in ("locker", "both", "holder"):
            house.kill(what)
            upstream.poll(house.answers, 10, lambda: house.log()[-3000:])
            assert all(not locks.is_free(space / name) for name in taken)
    with house.owner(OWNER) as client:
        assert "no room" in client.acquire(space, refused, AUTOCREATE)[2]
        for name in taken:
            assert client.release(space, name) is None
        (state / "filler").unlink()
        upstream.poll(lambda: client.acquire(space, refused, AUTOCREATE) is None, 10, "room again")
        assert client.release(space, refused) is None
    give_back(house, paths)


def test_a_death_of_a_guest_is_noticed_after_everything_died(house):
    disk = house.direct / "disk"
    disk.touch()

    def become_guest():
        client = house.connect()
        assert client.register() is None and client.restrict() is None
        return client

    with locks.guest(become_guest) as pid:
        with house.owner(pid) as client:
            assert client.acquire("", disk) is None
        for what in ("both", "holder", "locker"):
            house.kill(what)
            upstream.poll(house.answers, 10, lambda: house.log()[-3000:])
            assert not locks.is_free(disk)
        os.kill(pid, signal.SIGKILL)
        upstream.poll(lambda: locks.is_free(disk), 10, lambda: f"the lock of a dead guest\n{house.log()[-3000:]}")
    upstream.poll(lambda: house.manager.slots() == 0, 5, lambda: f"{sorted(house.manager.store)}")


def _resource(path, name, flags):
    return wire.string(str(path)) + wire.string(name) + wire.u32(flags)


def _copy(source, target):
    target.write_bytes(source.read_bytes())
    target.chmod(0o755)
