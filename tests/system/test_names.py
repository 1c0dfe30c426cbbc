# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_names - names that are known without asking, and a real libvirtd where they change.

A domain changes its name here by being undefined and defined anew, with the same uuid: the test driver cannot rename.
Names would be forgotten after five seconds in any case, so whatever happens sooner is due to libvirt's events.
"""

import time

import pytest

from vgtest import guarded, upstream, wire

POLICY = """
[role.operator]
allow = ["@read-only", "@lifecycle"]
[identity.operator]
x509 = { CN = "operator" }
[[binding]]
identity = "operator"
role = "operator"
objects = { domain = ["glob:web-*"] }
"""
UUID = "77777777-7777-4777-8777-777777777777"
RAW = bytes.fromhex(UUID.replace("-", ""))
GET_INFO, DEFINE_XML, UNDEFINE, SHUTDOWN, CREATE, SUSPEND, RESUME, DESTROY = 16, 11, 35, 33, 9, 34, 28, 12
NO_DOMAIN = 42
# So many calls, and the second connection is worth it; and it is there some time later.
ENOUGH = 20
SOON = 2.0


def of(name):
    return wire.domain(name, RAW, -1)


def document(name):
    return wire.string(guarded.domain_xml(name, UUID))


@pytest.fixture(scope="module")
def narrow(guard):
    with guard("names", POLICY) as made:
        yield made


@pytest.fixture
def admin(private_libvirtd):
    """The daemon's own administrator, past virtgate; the domain is called web-1 at first."""
    with wire.connect_unix(private_libvirtd.socket) as direct:
        direct.open("test:///default")
        assert direct.ask(DEFINE_XML, document("web-1")).status == wire.OK
        yield direct
        direct.ask(DESTROY, of("any"))  # if it runs
        direct.ask(UNDEFINE, of("any"))


def call_it(direct, name):
    assert direct.ask(UNDEFINE, of("any")).status == wire.OK
    assert direct.ask(DEFINE_XML, document(name)).status == wire.OK


def connections(daemon):
    """How many clients the daemon has."""
    path = str(daemon.socket)
    with open("/proc/net/unix", encoding="ascii") as table:
        return sum(line.rstrip().endswith(path) and line.split()[5] == "03" for line in table)


def settled(daemon):
    """The same when those of earlier tests have gone."""
    seen = [connections(daemon)]

    def is_steady():
        time.sleep(0.2)
        seen.append(connections(daemon))
        return seen[-1] == seen[-2]

    upstream.poll(is_steady, what="an end of what comes and goes")
    return seen[-1]


@pytest.fixture
def operator(narrow, admin, private_libvirtd):
    """A client whose calls have been asked about often enough, so that names are known."""
    with narrow.open_as("operator") as client:
        before = settled(private_libvirtd)
        for _ in range(ENOUGH):
            assert client.ask(GET_INFO, of("x")).status == wire.OK
        upstream.poll(lambda: connections(private_libvirtd) > before, what="the second connection")
        yield client


def allowed(client):
    reply = client.ask(GET_INFO, of("web-1"))
    assert reply.status == wire.OK or reply.error()[0] == NO_DOMAIN, reply.error()
    return reply.status == wire.OK


def test_new_name_counts_as_soon_as_it_is_announced(operator, admin):
    for _ in range(50):
        assert all(allowed(operator) for _ in range(3))
        call_it(admin, "db-1")
        upstream.poll(lambda: not allowed(operator), SOON, "the refusal")
        call_it(admin, "web-2")
        upstream.poll(lambda: allowed(operator), SOON, "the new name")


def test_what_is_gone_is_not_there(operator, admin):
    assert admin.ask(UNDEFINE, of("any")).status == wire.OK
    upstream.poll(lambda: not allowed(operator), SOON, "the refusal")
    assert admin.ask(DEFINE_XML, document("web-1")).status == wire.OK


def test_name_is_good_while_the_domain_comes_and_goes(operator, admin):
    for step in (CREATE, SUSPEND, RESUME, SHUTDOWN):
        assert admin.ask(step, of("any")).status == wire.OK, step
        assert allowed(operator)


def answers_to(client, calls):
    """The replies to all of them, which come in any order."""
    replies = {}
    while len(replies) < len(calls):
        frame = client.receive()
        replies[frame.serial] = frame
    return [replies[call.serial] for call in calls]


def test_many_calls_in_flight_meet_no_old_name(operator, admin):
    """Calls are on their way all the time while the name changes; what is sent later is refused."""
    for _ in range(20):
        waiting = [operator.start(GET_INFO, of("web-1")) for _ in range(40)]
        call_it(admin, "db-1")
        time.sleep(0.05)
        waiting += [operator.start(GET_INFO, of("web-1")) for _ in range(10)]
        answers = answers_to(operator, waiting)
        assert all(answer.status == wire.OK or answer.error()[0] == NO_DOMAIN for answer in answers)
        assert all(answer.status == wire.ERROR for answer in answers[40:])
        call_it(admin, "web-1")
        upstream.poll(lambda: allowed(operator), SOON, "the name of before")


def test_second_connection_ends_with_the_last_session(narrow, admin, private_libvirtd):
    before = settled(private_libvirtd)
    with narrow.open_as("operator") as one, narrow.open_as("operator") as two:
        for client in (one, two):
            for _ in range(ENOUGH):
                assert allowed(client)
        upstream.poll(lambda: connections(private_libvirtd) == before + 3, what="one more for both")
    upstream.poll(lambda: connections(private_libvirtd) == before, what="the end of all three")
