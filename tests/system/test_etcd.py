# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_etcd - lock spaces in etcd: three real servers, several hosts, everything that can happen to a server.

VIRTGATE_ETCD_PAIRS says how many times a lock is taken and given up under faults (500), VIRTGATE_SEED repeats a run.
"""

import contextlib
import os
import random
import re
import signal
import threading
import time

import pytest

from vgtest import certificates, etcd, history, locks, upstream
from vgtest.etcd import SPACE
from vgtest.history import GIVE, OK, REFUSED, TAKE
from vgtest.locks import AUTOCREATE, SHARED

LENGTHY = True

PAIRS = int(os.environ.get("VIRTGATE_ETCD_PAIRS", "500"))
SEED = int(os.environ.get("VIRTGATE_SEED", random.SystemRandom().getrandbits(32)))
CLIENTS, HOSTS, RESOURCES = 8, 3, 5
NOBODY = 4_242_000  # above pid_max

pytestmark = pytest.mark.skipif(not os.access(etcd.PROGRAM, os.X_OK), reason="etcd is not installed (etcd-server)")


@pytest.fixture
def place(scratch, request):
    """A directory of this test's own; sockets in it need a short name."""
    path = scratch / f"etcd-{abs(hash(request.node.name)) % 10**6}"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture
def cluster(place):
    with etcd.Cluster(place / "etcd") as servers:
        yield servers


@pytest.fixture
def hosts(cluster, place):
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(etcd.Host(place / f"host{i}", cluster.urls)) for i in range(HOSTS)]
        yield [host.wait_alive() for host in started]


def has_token(host, name):
    """The last fencing token that the host's log has of `name`."""
    found = re.findall(rf"{re.escape(name)} in {SPACE} is held, fencing token (\d+)", host.log())
    return int(found[-1]) if found else None


# --- what a lock space in etcd does ---


def test_a_lock_excludes_other_hosts_and_its_key_says_who_has_it(cluster, hosts):
    one, two = hosts[0].owner(NOBODY), hosts[1].owner(NOBODY)
    assert one.acquire(SPACE, "disk", AUTOCREATE) is None
    code, domain, text = two.acquire(SPACE, "disk", AUTOCREATE)
    assert (code, domain) == (locks.BUSY, locks.FROM_LOCK_SPACE), text
    assert re.search(r"'disk' is locked: held by \S+ since 20\d\d-", text), text
    ((value, revision, lease),) = cluster.keys(etcd.PREFIX + "held/").values()
    assert os.uname().nodename in value and lease != 0
    assert has_token(hosts[0], "disk") == revision
    assert two.acquire(SPACE, "disk", SHARED | AUTOCREATE)[0] == locks.BUSY
    assert one.release(SPACE, "disk") is None
    assert cluster.keys(etcd.PREFIX + "held/") == {}
    assert two.acquire(SPACE, "disk", AUTOCREATE) is None
    assert two.release(SPACE, "disk") is None


def test_shares_go_together_and_exclude_who_wants_it_alone(hosts):
    clients = [host.owner(NOBODY) for host in hosts]
    assert [one.acquire(SPACE, "iso", SHARED | AUTOCREATE) for one in clients[:2]] == [None, None]
    assert clients[2].acquire(SPACE, "iso", AUTOCREATE)[0] == locks.BUSY
    assert clients[0].release(SPACE, "iso") is None
    assert clients[2].acquire(SPACE, "iso", AUTOCREATE)[0] == locks.BUSY
    assert clients[1].release(SPACE, "iso") is None
    assert clients[2].acquire(SPACE, "iso", AUTOCREATE) is None
    assert clients[0].acquire(SPACE, "iso", SHARED | AUTOCREATE)[0] == locks.BUSY


def test_what_was_not_made_cannot_be_taken_and_what_is_held_cannot_be_removed(cluster, hosts):
    one, two = hosts[0].owner(NOBODY), hosts[1].owner(NOBODY)
    assert "there is no such resource" in one.acquire(SPACE, "volume")[2]
    assert two.create(SPACE, "volume") is None
    assert two.create(SPACE, "volume") is None
    assert one.acquire(SPACE, "volume") is None
    assert two.delete(SPACE, "volume")[0] == locks.BUSY
    assert one.release(SPACE, "volume") is None
    assert two.delete(SPACE, "volume") is None
    assert two.delete(SPACE, "volume") is None
    assert "there is no such resource" in one.acquire(SPACE, "volume")[2]
    assert cluster.keys(etcd.PREFIX + "made/") == {}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../held/x", "n" * 256])
def test_a_name_that_could_be_another_key_is_refused(cluster, hosts, name):
    before = set(cluster.keys())
    with hosts[0].owner(NOBODY) as client:
        for call in (client.acquire, client.create, client.delete):
            assert call(SPACE, name)[0] == locks.SYSTEM
        assert client.alive(1.0)
    assert set(cluster.keys()) == before


def test_the_lock_space_is_there_for_who_opens_it(hosts):
    with hosts[0].owner(NOBODY) as client:
        assert client.open_space(SPACE) is None
        assert client.new(SPACE)[0] == locks.INTERNAL  # as any that is there


def test_fencing_tokens_rise_with_every_owner(cluster, hosts):
    clients, tokens = [host.owner(NOBODY) for host in hosts], []
    for turn in range(30):
        client = clients[turn % HOSTS]
        assert client.acquire(SPACE, "turns", AUTOCREATE) is None
        ((_, revision, _),) = cluster.keys(etcd.PREFIX + "held/turns/").values()
        tokens.append(revision)
        assert client.release(SPACE, "turns") is None
    assert all(a < b for a, b in zip(tokens, tokens[1:]))


# --- whom it believes, and who is believed ---


def is_alive(host, patience=4):
    try:
        host.wait_alive(patience)
    except AssertionError:
        return False
    return True


def test_only_a_server_with_a_certificate_of_the_named_authority_is_asked(place):
    ours, others = (certificates.Authority.new(place / name) for name in ("ours", "others"))
    server, key = ours.issue("/CN=etcd", "server")  # for 127.0.0.1, among others
    key.chmod(0o644)  # etcd's user reads it
    cluster = etcd.Cluster(place / "etcd", 1, (server, key, ours.certificate))
    elsewhere = f"https://127.0.0.2:{cluster.servers[0].client_port}"
    cluster.servers[0].arguments += ["--listen-client-urls", f"{cluster.urls[0]},{elsewhere}"]
    with cluster:
        with etcd.Host(place / "a", cluster.urls, ca_file=str(ours.certificate)) as host:
            assert is_alive(host, 15), host.log()
        with etcd.Host(place / "b", cluster.urls, ca_file=str(others.certificate)) as host:
            assert not is_alive(host)
            upstream.await_log(host, "certificate")
        with etcd.Host(place / "c", [elsewhere], ca_file=str(ours.certificate)) as host:
            assert not is_alive(host)
            for part in ("127.0.0.2", "SSL"):
                upstream.await_log(host, part)


def test_it_logs_in_where_etcd_wants_that(place):
    def grant(cluster):
        for path, words in (
            ("auth/user/add", {"name": "root", "password": "r"}),
            ("auth/role/add", {"name": "root"}),
            ("auth/user/grant", {"user": "root", "role": "root"}),
            ("auth/user/add", {"name": "locks", "password": "secret"}),
            ("auth/role/add", {"name": "locks"}),
            (
                "auth/role/grant",
                {
                    "name": "locks",
                    "perm": {
                        "permType": "READWRITE",
                        "key": etcd.text(etcd.PREFIX),
                        "range_end": etcd.text(etcd.PREFIX[:-1] + "0"),
                    },
                },
            ),
            ("auth/user/grant", {"user": "locks", "role": "locks"}),
            ("auth/enable", {}),
        ):
            cluster.ask(path, words)

    for name, text in (("right", "secret\n"), ("wrong", "guess\n")):
        (place / name).write_text(text)
        (place / name).chmod(0o600)
    with etcd.Cluster(place / "etcd", 1) as cluster:
        grant(cluster)
        with etcd.Host(place / "a", cluster.urls, user="locks", password_file=str(place / "right")) as host:
            assert is_alive(host, 15), host.log()
            assert "secret" not in host.log()
        with etcd.Host(place / "b", cluster.urls, user="locks", password_file=str(place / "wrong")) as host:
            assert not is_alive(host)
        with etcd.Host(place / "c", cluster.urls) as host:
            assert not is_alive(host)


# --- what may end ---


def test_locks_outlive_every_process_of_ours(cluster, hosts):
    host, other = hosts[0], hosts[1].owner(NOBODY)
    with host.owner(NOBODY) as client:
        assert client.acquire(SPACE, "kept", AUTOCREATE) is None
    key = cluster.keys(etcd.PREFIX + "held/")
    for end in (lambda: os.kill(host.leasers[0], signal.SIGKILL), host.kill_locker, host.reload):
        leaser = host.leasers
        end()
        assert other.acquire(SPACE, "kept", AUTOCREATE)[0] == locks.BUSY
        upstream.poll(lambda: host.leasers, 10, lambda: "a leaser")
        host.wait_alive()
        assert cluster.keys(etcd.PREFIX + "held/") == key, f"after {leaser}: {host.log()}"
    with host.owner(NOBODY) as client:
        assert client.release(SPACE, "kept") is None
    assert other.acquire(SPACE, "kept", AUTOCREATE) is None


def test_a_lease_is_renewed_for_longer_than_it_lives(cluster, hosts):
    client, other = hosts[0].owner(NOBODY), hosts[1].owner(NOBODY)
    assert client.acquire(SPACE, "long", AUTOCREATE) is None
    until = time.monotonic() + 13  # the time to live is 9
    while time.monotonic() < until:
        assert other.acquire(SPACE, "long", AUTOCREATE)[0] == locks.BUSY
        time.sleep(0.2)
    assert client.release(SPACE, "long") is None


def test_who_breaks_a_lock_ends_its_owner(cluster, hosts):
    host = hosts[0]
    with locks.guest(lambda: connect_as_guest(host)) as pid:
        with host.owner(pid) as manager:
            assert manager.acquire(SPACE, "broken", AUTOCREATE) is None
        (key,) = cluster.keys(etcd.PREFIX + "held/")
        assert cluster.delete(key) == 1
        assert locks.ended(pid, 5) == signal.SIGTERM, host.log()
    with host.owner(NOBODY) as client:
        upstream.poll(lambda: client.acquire(SPACE, "broken", AUTOCREATE) is None, 5, lambda: host.log()[-2000:])


def connect_as_guest(host):
    client = host.owner(os.getpid())
    client.restrict()
    return client


def test_without_etcd_owners_are_ended_before_the_lease_is_and_nothing_is_granted(cluster, hosts):
    host = hosts[0]
    with locks.guest(lambda: connect_as_guest(host), deaf=True) as pid:
        with host.owner(pid) as manager:
            assert manager.acquire(SPACE, "lonely", AUTOCREATE) is None
        ((_, _, lease),) = cluster.keys(etcd.PREFIX + "held/").values()
        stopped, left = time.monotonic(), cluster.time_left(lease)
        for server in cluster.servers:
            server.signal(signal.SIGSTOP)
        # etcd rounds down: the lease lives for at least `left` more.
        assert locks.ended(pid, left + 1) == signal.SIGKILL, host.log()
        assert time.monotonic() - stopped < left, f"too late:\n{host.log()}"
        with host.owner(NOBODY) as client:
            began = time.monotonic()
            code, _, text = client.acquire(SPACE, "other", AUTOCREATE)
            assert code == 9 and SPACE in text, text
            assert time.monotonic() - began < 5
        for server in cluster.servers:
            server.signal(signal.SIGCONT)
    host.wait_alive(30)
    with host.owner(NOBODY) as client:
        assert client.acquire(SPACE, "lonely", AUTOCREATE) is None


def test_a_leaser_that_is_stopped_cannot_keep_the_truth_from_the_locker(cluster, hosts):
    host = hosts[0]
    with locks.guest(lambda: connect_as_guest(host)) as pid:
        with host.owner(pid) as manager:
            assert manager.acquire(SPACE, "stopped", AUTOCREATE) is None
        ((_, _, lease),) = cluster.keys(etcd.PREFIX + "held/").values()
        (leaser,) = host.leasers
        os.kill(leaser, signal.SIGSTOP)
        try:
            assert locks.ended(pid, 9) == signal.SIGTERM, host.log()
            assert cluster.time_left(lease) >= 0
        finally:
            os.kill(leaser, signal.SIGCONT)
    host.wait_alive(30)


# --- many, for long, under faults ---


class Faults(threading.Thread):
    """One server after the other is killed and started again, stopped, or cut off."""

    def __init__(self, cluster, seed):
        super().__init__(daemon=True)
        self.cluster, self.random, self.over = cluster, random.Random(seed), threading.Event()
        self.done, self.failure = {}, None

    def run(self):
        try:
            while not self.over.wait(self.random.uniform(0.5, 1.5)):
                server = self.random.choice(self.cluster.servers)
                ways = [self.kill, self.pause] + ([self.cut] if etcd.can_cut() else [])
                # Each once, whatever chance says.
                way = next((one for one in ways if one.__name__ not in self.done), None) or self.random.choice(ways)
                way(server)
                self.done[way.__name__] = self.done.get(way.__name__, 0) + 1
        except BaseException as failure:
            self.failure = failure

    def kill(self, server):
        server.kill()
        self.over.wait(self.random.uniform(0.2, 1.0))
        self.cluster.restart(server)

    def pause(self, server):
        server.signal(signal.SIGSTOP)
        self.over.wait(self.random.uniform(0.5, 2.5))
        server.signal(signal.SIGCONT)

    def cut(self, server):
        server.cut([one.peer_port for one in self.cluster.servers])
        self.over.wait(self.random.uniform(0.5, 2.5))
        server.mend()

    def stop(self):
        self.over.set()
        self.join(10)
        assert self.failure is None, self.failure


def run_client(number, host, events, left, failures):
    """Takes and gives up until nobody has to any more."""
    chance = random.Random(SEED + number)
    try:
        with host.owner(NOBODY + number) as client:
            while next(left, None) is not None:
                name, shared = f"r{chance.randrange(RESOURCES)}", chance.random() < 0.25

                def take(name=name, shared=shared):
                    answer = client.acquire(SPACE, name, AUTOCREATE | (SHARED if shared else 0))
                    return OK if answer is None else REFUSED

                if events.record(number, TAKE, name, shared, take) != OK:
                    continue
                time.sleep(chance.uniform(0, 0.004))
                gave = events.record(
                    number, GIVE, name, shared, lambda: OK if client.release(SPACE, name) is None else REFUSED
                )
                assert gave == OK, f"client {number} lost {name}"
    except BaseException as failure:
        failures.append(failure)


class Pairs:
    """So many successful pairs are wanted, by all clients together; none after `until`."""

    def __init__(self, events, count, patience):
        self.events, self.count, self.until = events, count, time.monotonic() + patience

    def __iter__(self):
        return self

    def __next__(self):
        if self.events.count(GIVE, OK) >= self.count or time.monotonic() > self.until:
            raise StopIteration
        return True


def test_nothing_is_held_twice_whatever_happens_to_a_server(cluster, hosts, place):
    events, failures = history.History(), []
    left = Pairs(events, PAIRS, patience=60 + PAIRS / 10)
    faults = Faults(cluster, SEED)
    threads = [
        threading.Thread(target=run_client, args=(i, hosts[i % HOSTS], events, left, failures)) for i in range(CLIENTS)
    ]
    faults.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    faults.stop()
    events.write(place / "history")
    pairs, refused = events.count(GIVE, OK), events.count(TAKE, REFUSED)
    print(f"seed {SEED}: {pairs} pairs, {refused} refused, faults {faults.done}")
    assert failures == [], (SEED, failures, [host.log()[-1500:] for host in hosts])
    assert history.double_holds(events.events) == [], f"seed {SEED}"
    assert pairs >= PAIRS, f"seed {SEED}: only {pairs} pairs\n{hosts[0].log()[-3000:]}"
    assert refused > 0 and faults.done, "nothing was contended, or nothing happened"
    upstream.poll(lambda: cluster.keys(etcd.PREFIX + "held/") == {}, 15, lambda: f"left over: {cluster.keys()}")


# --- the checker itself ---


def event(client, kind, begin, end, shared=False, outcome=OK, resource="r"):
    return history.Event(client, kind, resource, shared, begin, end, outcome)


@pytest.mark.parametrize("one, two, found", [(False, False, 1), (False, True, 1), (True, False, 1), (True, True, 0)])
def test_the_checker_finds_holds_that_overlap(one, two, found):
    events = [
        event(1, TAKE, 0, 1, one), event(1, GIVE, 5, 6, one), event(2, TAKE, 2, 3, two), event(2, GIVE, 4, 5, two),
    ]  # fmt: skip
    assert len(history.double_holds(events)) == found


def test_the_checker_finds_no_fault_in_what_is_right():
    assert history.double_holds([event(1, TAKE, 0, 1), event(1, GIVE, 2, 9), event(2, TAKE, 1, 3), event(2, GIVE, 4, 5)]) == []
    assert history.double_holds([event(1, TAKE, 0, 1), event(2, TAKE, 2, 3, outcome=REFUSED)]) == []
    assert history.double_holds([event(1, TAKE, 0, 1), event(2, TAKE, 2, 3, resource="s")]) == []
    # Lost before it was given up: nothing is certain of it.
    assert history.double_holds([event(1, TAKE, 0, 1), event(1, GIVE, 8, 9, outcome=REFUSED), event(2, TAKE, 2, 3)]) == []


def test_the_checker_finds_who_never_gave_it_up():
    assert len(history.double_holds([event(1, TAKE, 0, 1), event(2, TAKE, 99, 100)])) == 1


def test_the_checker_finds_one_planted_double_hold_among_thousands():
    """Right histories of a simulated lock; then one refusal becomes a success."""
    for seed in range(20):
        chance, events, now, holder = random.Random(seed), [], 0.0, None
        refusals = []
        for _ in range(2000):
            now += chance.random()
            client = chance.randrange(CLIENTS)
            if holder is None:
                events.append(event(client, TAKE, now, now + 0.1))
                holder = client
            elif holder == client:
                events.append(event(client, GIVE, now, now + 0.1))
                holder = None
            else:
                refusals.append(len(events))
                events.append(event(client, TAKE, now, now + 0.1, outcome=REFUSED))
            now += 0.2
        assert history.double_holds(events) == []
        place = chance.choice(refusals)
        planted = events[place]
        events[place] = event(planted.client, TAKE, planted.begin, planted.end)
        events.insert(place + 1, event(planted.client, GIVE, planted.end + 0.01, planted.end + 0.02))
        assert len(history.double_holds(events)) == 1, seed
