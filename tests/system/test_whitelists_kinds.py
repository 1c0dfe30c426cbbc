# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_whitelists_kinds - lists, counts and look-ups of networks, pools, volumes, interfaces and node devices, for a
client that may see one of each; real virsh and a real libvirtd.
"""

import pytest

from vgtest import suite, wire
from vgtest.clients import attempt

POLICY = """version = 1
[role.reader]
allow = ["@read-only", "@events"]
[identity.one]
x509 = { CN = "one" }
[[binding]]
identity = "one"
role = "reader"
objects = { domain = ["mine-dom"], network = ["mine-net"], pool = ["mine-pool"], volume = ["mine-pool/mine-vol"], interface = ["mine-if"], nodedev = ["mine-dev"] }
"""
DEVICE = """<device><name>{name}</name><parent>computer</parent><capability type='usb_device'><bus>1</bus><device>{n}</device>
<product id='0x0001'/><vendor id='0x0002'/></capability></device>"""
VOLUME = (
    "<volume><name>{name}</name><capacity>1000000</capacity><allocation>50000</allocation>"
    "<target><path>/{pool}/{name}</path></target></volume>"
)
POOL = (
    "<pool type='dir'><name>{name}</name><uuid>{uuid}</uuid><target><path>/{name}</path></target></pool>"
)
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
def node(scratch):
    """A file of libvirt's test driver with two objects of each kind: "mine-…", "yours-…"."""
    parts = []
    for n, who in enumerate(("mine", "yours"), 1):
        uuid = f"{n}" * 8 + "-1111-4111-8111-" + f"{n}" * 12
        parts += [
            f"<domain type='test'><name>{who}-dom</name><uuid>{uuid}</uuid><memory>8192</memory><vcpu>1</vcpu>"
            "<os><type>hvm</type></os></domain>",
            f"<network><name>{who}-net</name><uuid>{uuid}</uuid><bridge name='vb{n}'/>"
            f"<ip address='192.168.{n}.1' netmask='255.255.255.0'/></network>",
            POOL.format(name=f"{who}-pool", uuid=uuid).replace(
                "</pool>", VOLUME.format(name=f"{who}-vol", pool=f"{who}-pool") + "</pool>"
            ),
            f"<interface type='ethernet' name='{who}-if'><start mode='onboot'/><mac address='aa:bb:cc:dd:ee:0{n}'/>"
            "<mtu size='1492'/></interface>",
            DEVICE.format(name=f"{who}-dev", n=n),
        ]
    path = scratch / "kinds.xml"
    path.write_text("<node>" + "".join(parts) + "</node>")
    path.chmod(0o644)
    return path


@pytest.fixture(scope="module")
def kinds(scratch, running_suite, private_libvirtd, node):
    running_suite.sibling(scratch / "kinds")
    fresh = suite.Suite(scratch / "kinds", {f"test://{node}": private_libvirtd.socket})
    (fresh.directory / "etc" / "policy.d").mkdir(parents=True, exist_ok=True)
    fresh.add_policy("20-kinds.toml", POLICY.removeprefix("version = 1\n"))
    with fresh:
        yield fresh


@pytest.fixture(scope="module")
def pki(authority, scratch):
    return authority.pkipath(scratch / "pki-kinds", "/CN=one")


@pytest.fixture
def virsh(kinds, node, pki):
    return lambda *words: attempt("virsh", "-q", "-c", kinds.uri(path=str(node), pki=pki), *words)


@pytest.fixture
def admin(kinds, node):
    """The identity of `virtgate up`, which may do everything."""
    return lambda *words: attempt("virsh", "-q", "-c", kinds.uri(path=str(node)), *words)


@pytest.mark.parametrize("kind", LISTS)
def test_lists_show_what_is_mine(virsh, admin, kind):
    words, mine = LISTS[kind]
    everything = admin(*words).stdout
    assert SECRET.decode() in everything, "there is nothing to hide"
    done = virsh(*words)
    shown = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert shown == mine and SECRET.decode() not in done.stdout + done.stderr, done


def test_volumes_of_my_pool_alone(virsh, admin):
    assert "yours-vol" in admin("vol-list", "yours-pool").stdout
    assert virsh("vol-list", "mine-pool").stdout.split()[0] == "mine-vol"
    hidden = virsh("vol-list", "yours-pool")
    assert hidden.returncode == 1 and hidden.stderr.replace("yours-pool", "no-pool") == virsh("vol-list", "no-pool").stderr


@pytest.mark.parametrize(
    "command, hidden",
    [("dominfo", "yours-dom"), ("net-info", "yours-net"), ("pool-info", "yours-pool"), ("nodedev-dumpxml", "yours-dev")],
)
def test_hidden_object_is_one_that_does_not_exist(virsh, admin, command, hidden):
    assert admin(command, hidden).returncode == 0
    refused, absent = virsh(command, hidden), virsh(command, "absent")
    assert refused.returncode == 1 and refused.stderr.replace(hidden, "absent") == absent.stderr


@pytest.mark.parametrize("call", COUNTS)
def test_counts_count_what_is_mine(kinds, node, pki, call):
    with kinds.connect(context=wire.tls_context(pki)) as one, kinds.connect() as every:
        all_of_them = every.open(f"test://{node}").ask(COUNTS[call])
        mine = one.open(f"test://{node}").ask(COUNTS[call])
        assert all_of_them.status == mine.status == wire.OK, (all_of_them, mine)
        assert wire.Reader(all_of_them.payload).u32() == 2 * wire.Reader(mine.payload).u32()


def test_list_of_node_devices_is_mine(kinds, node, pki):
    """By hand: virsh asks the test driver with flags that it does not know."""
    with kinds.connect(context=wire.tls_context(pki)) as one, kinds.connect() as every:
        all_of_them = every.open(f"test://{node}").ask(LIST_ALL_DEVICES, wire.u32(1) + wire.u32(0))
        mine = one.open(f"test://{node}").ask(LIST_ALL_DEVICES, wire.u32(1) + wire.u32(0))
        assert SECRET in all_of_them.payload and SECRET not in mine.payload
        reader = wire.Reader(mine.payload)
        assert (reader.u32(), reader.text(), reader.u32()) == (1, "mine-dev", 1)
