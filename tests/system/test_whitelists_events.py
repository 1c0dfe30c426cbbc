# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_whitelists_events - who hears of what: events of a real libvirtd about domains and networks, some of which a client
may not see.
"""

import pytest

from vgtest import guarded, wire

POLICY = """[role.listener]
allow = ["@read-only", "@events"]
[role.deaf]
allow = ["@read-only"]
[identity.one]
x509 = { CN = "one" }
[identity.deaf]
x509 = { CN = "deaf" }
[[binding]]
identity = "one"
role = "listener"
objects = { domain = ["mine-dom"], network = ["mine-net"] }
[[binding]]
identity = "deaf"
role = "deaf"
objects = { domain = ["glob:*"], network = ["glob:*"] }
"""
REGISTER_OLD, LIFECYCLE_OLD, REGISTER, LIFECYCLE, REGISTER_NETWORK, NETWORK_LIFECYCLE = 105, 107, 316, 318, 313, 315
DEFINE, UNDEFINE, CREATE, DESTROY, SUSPEND, RESUME = 11, 35, 9, 12, 34, 28
NETWORK_DEFINE, NETWORK_UNDEFINE, NETWORK_CREATE, NETWORK_DESTROY = 41, 49, 39, 42
UUIDS = {"mine": guarded.uuid_of(1), "yours": guarded.uuid_of(2)}
RAW = {who: bytes.fromhex(uuid.replace("-", "")) for who, uuid in UUIDS.items()}


@pytest.fixture(scope="module")
def events(guard):
    with guard("events", POLICY) as made:
        yield made


@pytest.fixture
def admin(private_libvirtd):
    """The daemon's own administrator, past virtgate."""
    with wire.connect_unix(private_libvirtd.socket) as direct:
        yield direct.open("test:///default")


@pytest.fixture
def happen(events, admin):
    """happen(): lets something happen to all of them, the hidden ones first and last; returns when one who may hear of
    everything has.
    """
    with events.open_as(None) as every:
        for register in (REGISTER, REGISTER_NETWORK):
            assert every.ask(register, wire.u32(0) + wire.optional(None)).status == wire.OK

        def happen():
            for who in ("yours", "mine", "yours"):
                live(admin, who)
            heard = {LIFECYCLE: 0, NETWORK_LIFECYCLE: 0}
            while heard != {LIFECYCLE: 3 * 6, NETWORK_LIFECYCLE: 3 * 4}:
                heard[every.receive().proc] += 1

        yield happen


def live(admin, who):
    """Six events of a domain and four of a network."""
    domain, network = wire.domain(f"{who}-dom", RAW[who], -1), wire.string(f"{who}-net") + RAW[who]
    calls = [
        (DEFINE, wire.string(guarded.domain_xml(f"{who}-dom", UUIDS[who]))),
        *((call, domain) for call in (CREATE, SUSPEND, RESUME, DESTROY, UNDEFINE)),
        (NETWORK_DEFINE, wire.string(f"<network><name>{who}-net</name><uuid>{UUIDS[who]}</uuid></network>")),
        *((call, network) for call in (NETWORK_CREATE, NETWORK_DESTROY, NETWORK_UNDEFINE)),
    ]
    for call, payload in calls:
        answer = admin.ask(call, payload)
        assert answer.status == wire.OK, (call, answer.error())


def hear(client, count):
    """The names in the events until now, at least `count`: {procedure: names}."""
    events = lambda: [frame for frame in client.log if frame.type == wire.MESSAGE]
    while len(events()) < count:
        client.receive()
    assert client.ask(wire.GET_LIB_VERSION).status == wire.OK
    told = {}
    for event in events():
        assert b"yours" not in event.pack()
        # In the newer ones the name comes behind the callback's number.
        at = 0 if event.proc == LIFECYCLE_OLD else 4
        told.setdefault(event.proc, set()).add(wire.Reader(event.payload[at:]).text())
    return told


@pytest.mark.parametrize("wanted, count", [(None, 10), ("mine", 10), ("yours", 0)])
def test_only_what_may_be_seen_is_heard_of(events, happen, wanted, count):
    """Whatever was asked for: all objects, one's own, or those of others."""
    domain = wanted and wire.domain(f"{wanted}-dom", RAW[wanted], -1)
    network = wanted and wire.string(f"{wanted}-net") + RAW[wanted]
    with events.open_as("one") as client:
        assert client.ask(REGISTER, wire.u32(0) + wire.optional(domain)).status == wire.OK
        assert client.ask(REGISTER_NETWORK, wire.u32(0) + wire.optional(network)).status == wire.OK
        happen()
        expected = {LIFECYCLE: {"mine-dom"}, NETWORK_LIFECYCLE: {"mine-net"}} if count else {}
        assert hear(client, count) == expected


def test_old_events_are_filtered_too(events, happen):
    with events.open_as("one") as client:
        assert client.ask(REGISTER_OLD).status == wire.OK
        happen()
        assert hear(client, 6) == {LIFECYCLE_OLD: {"mine-dom"}}


def test_who_may_not_hear_cannot_ask(events, happen):
    with events.open_as("deaf") as client:
        for call, payload in ((REGISTER_OLD, b""), (REGISTER, wire.u32(0) + wire.optional(None))):
            assert client.ask(call, payload).status == wire.ERROR
        happen()
        assert hear(client, 0) == {}
