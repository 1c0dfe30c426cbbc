# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_virsh - Debian's virsh, unmodified, through TLS, netd and workerd to a real libvirtd."""

import os
import re
import socket
import subprocess
import time

import pytest

from vgtest import wire
from vgtest.clients import ENVIRONMENT, attempt

DOMAIN = """<domain type="test"><name>{name}</name><memory>65536</memory><vcpu>1</vcpu>
<os><type arch="i686">hvm</type></os></domain>"""


def test_list(virsh):
    assert re.search(r"^ ?1 +test +running", virsh("list", "--all"), re.M)


def test_dumpxml_is_the_same_as_without_virtgate(virsh, private_libvirtd):
    direct = virsh("dumpxml", "test", uri=f"test+unix:///default?socket={private_libvirtd.socket}")
    assert virsh("dumpxml", "test") == direct and "<name>test</name>" in direct


def test_uri_and_version(virsh, gate):
    assert virsh("uri").strip() == gate.uri()
    assert "Using library: libvirt 9." in virsh("version")
    assert virsh("hostname").strip().split(".")[0] == socket.gethostname().split(".")[0]
    assert "<capabilities>" in virsh("capabilities")


def test_suspend_and_resume(virsh):
    """In one session: the test driver forgets all when its last connection closes."""
    out = virsh("suspend test; domstate test; resume test; domstate test")
    assert [line for line in out.split() if line in ("paused", "running")] == ["paused", "running"]


def test_define_start_destroy_undefine(virsh, tmp_path):
    """The whole life of a domain in one virsh session: the test driver's state is that of a connection."""
    path = tmp_path / "domain.xml"
    path.write_text(DOMAIN.format(name="vgt-life"))
    script = [
        f"define {path}",
        "start vgt-life",
        "domstate vgt-life",
        "destroy vgt-life",
        "domstate vgt-life",
    ]
    out = virsh(stdin="\n".join(script + ["undefine vgt-life", "list --all --name", ""]))
    assert "vgt-life" in out and "running" in out
    assert out.rstrip().splitlines()[-1].strip() != "vgt-life"


def test_errors_are_those_of_libvirt(gate, private_libvirtd):
    direct = f"test+unix:///default?socket={private_libvirtd.socket}"
    for words in (
        ["dominfo", "nobody"],
        ["start", "test"],
        ["vol-info", "x", "--pool", "y"],
        ["net-dumpxml", "z"],
    ):
        through, without = (attempt("virsh", "-q", "-c", uri, *words) for uri in (gate.uri(), direct))
        assert through.returncode == without.returncode == 1
        assert through.stderr == without.stderr and "error:" in through.stderr


def test_read_only_connection_cannot_suspend(virsh, gate):
    refused = attempt("virsh", "-r", "-c", gate.uri(), "suspend", "test")
    assert refused.returncode == 1 and "read only access prevents" in refused.stderr
    assert virsh("-r", "domstate", "test").strip() == "running"


def test_refused_uri_is_explained(gate):
    refused = attempt("virsh", "-c", gate.uri("qemu", "/elsewhere"), "list")
    assert refused.returncode == 1 and "no connection driver available" in refused.stderr


def test_event_of_a_change_by_somebody_else(gate, virsh):
    """One virsh waits for any event, another makes one. All see the same test:///default."""
    command = ["virsh", "-q", "-c", gate.uri(), "event", "--all", "--loop", "--timeout", "30"]
    waiting = subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT)
    os.set_blocking(waiting.stdout.fileno(), False)
    try:
        seen = b""
        deadline = time.monotonic() + 20
        while not (b"Suspended" in seen and b"Resumed" in seen):
            assert time.monotonic() < deadline, seen
            virsh("suspend test; resume test")  # again and again, since the other one may not listen yet
            time.sleep(0.05)
            seen += waiting.stdout.read() or b""
    finally:
        waiting.terminate()
        waiting.wait(10)
        waiting.stdout.close()


def test_keepalive_options(virsh):
    assert "test" in virsh("-k", "1", "-K", "2", "list", "--name")


def test_many_commands_in_one_session(virsh):
    out = virsh(stdin="domstate test\n" * 200)
    assert out.count("running") == 200


def test_many_virsh_at_once(gate):
    several = [
        subprocess.Popen(
            ["virsh", "-q", "-c", gate.uri(), "list", "--name"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(10)
    ]
    assert [p.communicate(timeout=30)[0].strip() for p in several] == ["test"] * 10


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_families_on_one_port(gate, host):
    if host == "::1":
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind(("::1", 0))
            except OSError as error:
                pytest.skip(f"this machine has no IPv6 loopback: {error}")
    with gate.connect(host=host, name=host) as client:
        assert client.open("test:///default").ask(wire.GET_TYPE).payload == wire.string("TEST")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_virsh_accepts_the_server_certificate_for_all_its_names(gate, virsh, host):
    if host == "[::1]" and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this machine has no IPv6")
    assert virsh("list", "--name", uri=gate.uri(host=host)).strip() == "test"


@pytest.fixture
def pool(virsh, gate, private_libvirtd):
    """A directory pool of the real storage driver, reached as storage:///session."""
    uri = gate.uri("storage", "/session")
    name = f"vgt{time.monotonic_ns()}"
    virsh("pool-create-as", name, "dir", "--target", private_libvirtd.storage, uri=uri)
    yield name, uri
    virsh("pool-destroy", name, uri=uri)


def test_volume_upload_and_download_are_the_same_bytes(virsh, pool, tmp_path):
    name, uri = pool
    data = os.urandom(5_000_011)
    (tmp_path / "up").write_bytes(data)
    virsh("vol-create-as", name, "plain", str(len(data)), uri=uri)
    virsh("vol-upload", "plain", tmp_path / "up", "--pool", name, uri=uri)
    virsh("vol-download", "plain", tmp_path / "down", "--pool", name, uri=uri)
    assert (tmp_path / "down").read_bytes()[: len(data)] == data
    virsh("vol-delete", "plain", "--pool", name, uri=uri)


def test_sparse_upload_and_download_keep_holes(virsh, pool, tmp_path):
    name, uri = pool
    size = 16 << 20
    with open(tmp_path / "up", "wb") as out:
        out.truncate(size)
        for at in (0, 3 << 20, 15 << 20):
            out.seek(at)
            out.write(os.urandom(64 << 10))
    virsh("vol-create-as", name, "sparse", str(size), "--allocation", "0", uri=uri)
    virsh("vol-upload", "sparse", tmp_path / "up", "--pool", name, "--sparse", uri=uri)
    virsh("vol-download", "sparse", tmp_path / "down", "--pool", name, "--sparse", uri=uri)
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()
    assert os.stat(tmp_path / "down").st_blocks * 512 < size // 2, "the holes were filled"
    virsh("vol-delete", "sparse", "--pool", name, uri=uri)
