# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_whitelists_kinds - lists, counts and look-ups of networks, pools, volumes, interfaces and node devices, for a
client that may see one of each; real virsh and a real libvirtd.
"""

import pytest

from vgtest import guarded, wire

POLICY = """[role.reader]
allow = ["@read-only", "@events"]
[identity.one]
x509 = { CN = "one" }
[[binding]]
identity = "one"
role = "reader"
objects = { domain = ["mine-dom"], network = ["mine-net"], pool = ["mine-pool"], volume = ["mine-pool/mine-vol"], interface = ["mine-if"], nodedev = ["mine-dev"] }
"""
# What the client may never be told.
SECRET = b"yours"
LISTS = {
    "domains": (["list", "--all", "--name"], {"mine-dom"}),
    "networks": (["net-list", "--all", "--name"], {"mine-net"}),
    "pools": (["pool-list", "--all", "--name"], {"mine-pool"}),
    "interfaces": (["iface-list", "--all"], {"mine-if"}),
}
LIST_ALL_DEVICES = 285
# Old calls that count: number of the procedure.
COUNTS = {
    "num_of_domains": 51, "num_of_defined_domains": 25, "num_of_networks": 52, "num_of_defined_networks": 50,
    "num_of_storage_pools": 71, "num_of_defined_storage_pools": 73, "num_of_interfaces": 126,
}  # fmt: skip


@pytest.fixture(scope="module")
def kinds(guard):
    with guard("kinds", POLICY, node=guarded.kinds_xml()) as made:
        yield made


@pytest.mark.parametrize("kind", LISTS)
def test_lists_show_what_is_mine(kinds, kind):
    words, mine = LISTS[kind]
    everything = kinds.virsh(None, *words).stdout
    assert SECRET.decode() in everything, "there is nothing to hide"
    done = kinds.virsh("one", *words)
    shown = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert shown == mine and SECRET.decode() not in done.stdout + done.stderr, done


def test_volumes_of_my_pool_alone(kinds):
    assert "yours-vol" in kinds.virsh(None, "vol-list", "yours-pool").stdout
    assert kinds.virsh("one", "vol-list", "mine-pool").stdout.split()[0] == "mine-vol"
    hidden = kinds.virsh("one", "vol-list", "yours-pool")
    assert hidden.returncode == 1 and hidden.stderr.replace("yours-pool", "no-pool") == kinds.virsh("one", "vol-list", "no-pool").stderr


@pytest.mark.parametrize(
    "command, hidden",
    [("dominfo", "yours-dom"), ("net-info", "yours-net"), ("pool-info", "yours-pool"), ("nodedev-dumpxml", "yours-dev")],
)
def test_hidden_object_is_one_that_does_not_exist(kinds, command, hidden):
    assert kinds.virsh(None, command, hidden).returncode == 0
    refused, absent = kinds.virsh("one", command, hidden), kinds.virsh("one", command, "absent")
    assert refused.returncode == 1 and refused.stderr.replace(hidden, "absent") == absent.stderr


@pytest.mark.parametrize("call", COUNTS)
def test_counts_count_what_is_mine(kinds, call):
    with kinds.open_as("one") as one, kinds.open_as(None) as every:
        all_of_them = every.ask(COUNTS[call])
        mine = one.ask(COUNTS[call])
        assert all_of_them.status == mine.status == wire.OK, (all_of_them, mine)
        assert wire.Reader(all_of_them.payload).u32() == 2 * wire.Reader(mine.payload).u32()


def test_list_of_node_devices_is_mine(kinds):
    """By hand: virsh asks the test driver with flags that it does not know."""
    with kinds.open_as("one") as one, kinds.open_as(None) as every:
        all_of_them = every.ask(LIST_ALL_DEVICES, wire.u32(1) + wire.u32(0))
        mine = one.ask(LIST_ALL_DEVICES, wire.u32(1) + wire.u32(0))
        assert SECRET in all_of_them.payload and SECRET not in mine.payload
        reader = wire.Reader(mine.payload)
        assert (reader.u32(), reader.text(), reader.u32()) == (1, "mine-dev", 1)
