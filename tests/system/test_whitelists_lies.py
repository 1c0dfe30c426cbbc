# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_whitelists_lies - a client that names one object and means another, in every call that takes an object: the name of
its own with the uuid of one that is hidden, and the reverse. A real libvirtd with two objects of each kind answers.
"""

import json
import re

import pytest

from vgtest import guarded, table, wire

# Everything may be done, with what is mine.
POLICY = """[identity.one]
x509 = { CN = "one" }
[[binding]]
identity = "one"
role = "admin"
objects = { domain = ["mine-dom"], network = ["mine-net"], pool = ["mine-pool"], volume = ["mine-pool/mine-vol"], interface = ["mine-if"], nodedev = ["mine-dev"] }
"""
MINE, YOURS = (bytes.fromhex(guarded.uuid_of(n).replace("-", "")) for n in (1, 2))
TEXT, NUMBER, RAW = wire.string("hello"), wire.u32(0), bytes(range(1, 17))  # what the table puts into arguments
KEYS = {
    "mine": "/plain-mine/mine-vol",
    "here": "/plain-mine/yours-volume",
    "yours": f"/{guarded.TELLTALE}-yours/yours-vol",
}
# Refused to everybody who comes over the network, whatever they are about.
WITH_DESCRIPTORS = {"domain_open_graphics", "domain_open_graphics_fd", "domain_fd_associate"}


class Kind:
    """`calls`: names of the procedures; `blank`: the object as the table makes it; `honest`: how to mean mine; `hidden`: how to
    mean one that is hidden; `odd`: how to mean mine, with something of another; `missing`: libvirt's numbers of the error
    for one that does not exist; `enough`: so many calls there are at least.
    """

    def __init__(self, calls, blank, honest, hidden, odd, missing, enough):
        self.calls, self.blank, self.honest, self.hidden, self.odd = re.compile(calls), blank, honest, hidden, odd
        self.missing, self.enough = missing, enough

    def procedures(self):
        for (program, _), procedure in sorted(table.load().items()):
            made = procedure.arguments.make(True, number=0)
            if program == wire.REMOTE and procedure.kind == "call" and self.calls.match(procedure.name):
                if self.blank in made:
                    yield procedure, made


def by_uuid(name):
    """(honest, hidden, odd) of domains, which libvirt finds by their uuid."""
    mine, yours = wire.string(f"mine-{name}"), wire.string(f"yours-{name}")
    return mine + MINE + NUMBER, [mine + YOURS + NUMBER, yours + YOURS + NUMBER], yours + MINE + NUMBER


def by_name(name):
    """The same of networks and pools, which the test driver, and only that, finds by their name."""
    mine, yours = wire.string(f"mine-{name}"), wire.string(f"yours-{name}")
    return mine + MINE, [yours + MINE, yours + YOURS], mine + YOURS


def interface(who, mac):
    return wire.string(f"{who}-if") + wire.string(f"aa:bb:cc:dd:ee:0{mac}")


def of_volume(pool, name, key):
    return wire.volume(f"{pool}-pool", name, KEYS[key])


# Calls of the connection, with a list of domains or for events, succeed: what they tell is filtered.
KINDS = {
    "domain": Kind("domain_", TEXT + RAW + NUMBER, *by_uuid("dom"), {42}, 180),
    "network": Kind("network_", TEXT + RAW, *by_name("net"), {43}, 20),
    "pool": Kind("storage_", TEXT + RAW, *by_name("pool"), {49}, 15),
    "volume": Kind(
        "storage_", TEXT * 3,
        of_volume("mine", "mine-vol", "mine"),
        [of_volume("mine", "yours-volume", "mine"), of_volume("yours", "yours-vol", "mine"),
         of_volume("yours", "mine-vol", "mine"), of_volume("yours", "yours-vol", "yours")],
        of_volume("mine", "mine-vol", "here"), {49, 50}, 10,
    ),
    "interface": Kind("interface_", TEXT * 2, interface("mine", 1), [interface("yours", 1), interface("yours", 2)],
                      interface("mine", 2), {57}, 5),
    "nodedev": Kind("node_device_(?!create_xml|define_xml|lookup)", TEXT, wire.string("mine-dev"),
                    [wire.string("yours-dev")], wire.string("mine-dev"), {53}, 10),
}  # fmt: skip


@pytest.fixture(scope="module")
def crowd(guard):
    with guard("lies", POLICY, node=guarded.kinds_xml()) as made:
        yield made


@pytest.fixture
def liar(crowd):
    """A client; nothing that it gets may tell of what is hidden."""
    with crowd.open_as("one") as client:
        yield client
        received = b"".join(frame.pack() for frame in client.log)
        assert guarded.TELLTALE.encode() not in received


@pytest.mark.parametrize("name", KINDS)
def test_what_is_hidden_is_reached_by_no_call(liar, name):
    kind, tried, others = KINDS[name], 0, set()
    for procedure, made in kind.procedures():
        for lie in kind.hidden:
            answer = liar.ask(procedure.number, made.replace(kind.blank, lie))
            assert answer.status == wire.ERROR, f"{procedure} was answered about {lie}"
            if answer.error()[0] not in kind.missing:
                others.add(procedure.name)
            tried += 1
    assert tried >= kind.enough * len(kind.hidden), f"{tried} calls of {name}"
    assert others == (WITH_DESCRIPTORS if name == "domain" else set())


@pytest.mark.parametrize("name", KINDS)
def test_what_is_mine_stays_mine_under_another_name(liar, name):
    """What libvirt does not act on does not matter: calls that read get the same answer as with my own name."""
    shown = guarded.virtgate("policy", "show", "@read-only", "--json")
    reading = {row["procedure"].lower().removeprefix("remote.") for row in json.loads(shown.stdout)["procedures"]}
    kind, good = KINDS[name], 0
    for procedure, made in kind.procedures():
        if procedure.name not in reading or procedure.stream != "-":
            continue
        honest = liar.ask(procedure.number, made.replace(kind.blank, kind.honest))
        odd = liar.ask(procedure.number, made.replace(kind.blank, kind.odd))
        assert (odd.status, len(odd.payload)) == (honest.status, len(honest.payload)), (procedure, honest.payload, odd.payload)
        good += honest.status == wire.OK
    assert good >= 2, f"{good} calls of {name} succeeded"
