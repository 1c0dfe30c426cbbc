# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_guide_commands - the commands of the guides that need no server: each is run as it stands (vgtest.guide)."""

import pathlib
import re
import shutil

import pytest

from vgtest import guide
from vgtest.clients import run

GUIDES = pathlib.Path(__file__).resolve().parents[2] / "docs/guides"
LIBVIRTD = """\
listen_addr = "127.0.0.1"
tls_allowed_dn_list = ["C=DE,O=Example,CN=bob", "O=Example,CN=alice"]
auth_unix_rw = "none"
"""


def certificates(work):
    """Those of a server of libvirt's, as files below /etc."""
    virtgate = guide.BUILD / "virtgate"
    for words in (["init", "--organisation", "Example"], ["server", "localhost"]):
        run(virtgate, "pki", *words, "--dir", work / "ca")
    run(virtgate, "pki", "export", "localhost", "--dir", work / "ca", "--output", work / "server.tar")
    (work / "files").mkdir()
    run("tar", "-xf", work / "server.tar", "-C", work / "files")
    read = {path.name: path.read_text() for path in (work / "files").rglob("*.pem")}
    return {"pki/libvirt/servercert.pem": read["servercert.pem"], "pki/libvirt/private/serverkey.pem": read["serverkey.pem"],
            "pki/CA/cacert.pem": read["cacert.pem"]}  # fmt: skip


def test_migration(tmp_path):
    (tmp_path / "pki").mkdir()
    (tmp_path / "machine").mkdir()
    done = guide.run(GUIDES / "migration.md", tmp_path / "machine",
                     files={"libvirt/libvirtd.conf": LIBVIRTD, **certificates(tmp_path / "pki")},
                     after="cat /etc/virtgate/netd.toml /etc/systemd/system/virtgate-netd.socket.d/*.conf")  # fmt: skip
    assert "something is left to do" not in done.stdout
    assert "virtgate/netd.toml: no mistakes found" in done.stdout
    assert 'address = "127.0.0.1"' in done.stdout and "ListenStream=127.0.0.1:16514" in done.stdout
    assert done.record[1] == "systemctl disable --now libvirtd-tls.socket libvirtd-tcp.socket"


# Other machines are this one; it has the host's place for temporary files.
SSH = """#!/bin/sh
echo "ssh $1" >>"$GUIDE_RECORD"
shift
exec sh -c "$*"
"""
SCP = """#!/bin/sh
echo "scp $*" >>"$GUIDE_RECORD"
[ "$1" != -q ] || shift
for last; do :; done
while [ $# -gt 1 ]; do cp "$1" "${last#*:}"; shift; done
"""


def test_fleet(tmp_path):
    done = guide.run(GUIDES / "fleet.md", tmp_path, programs={"ssh": SSH, "scp": SCP},
                     after="ls /etc/virtgate/tls /etc/virtgate/policy.d /etc/credstore; openssl crl -in /etc/virtgate/tls/cacrl.pem -noout -text")  # fmt: skip
    assert [line for line in done.record if line.startswith("ssh")] == ["ssh kvm1.example.org", "ssh kvm2.example.org"]
    assert done.stdout.count("virtgate/netd.toml: no mistakes found") == 2
    assert done.stdout.count("somebody should look at that") == 1, "the change of the policy was not seen"
    assert done.stdout.count("Serial Number:") == 1, "nobody is on the list of revoked certificates"
    assert {"cacert.pem", "cacrl.pem", "servercert.pem", "virtgate-serverkey.pem", "20-people.toml"} <= set(done.stdout.split())


def test_pipelines(tmp_path):
    added = "#!/bin/sh\nfor last; do :; done; echo \"$last:x:60561:60561::/nonexistent:/bin/false\" >>/etc/passwd\n"
    done = guide.run(GUIDES / "ci.md", tmp_path, programs={"useradd": added}, after="cat /etc/virtgate/policy.d/30-ci.toml; ls pki")
    assert "unix = { user" in done.stdout and {"clientcert.pem", "clientkey.pem", "cacert.pem"} <= set(done.stdout.split())
    assert done.record == ["systemctl enable --now virtgate-netd-unix.socket", "systemctl reload virtgate-workerd"]


def blocks(path, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", path.read_text(), re.M | re.S)


def test_metrics(tmp_path):
    path = GUIDES / "metrics.md"
    (tmp_path / "pki").mkdir()
    (tmp_path / "machine").mkdir()
    curl = '#!/bin/sh\necho "curl $*" >>"$GUIDE_RECORD"\n'
    done = guide.run(path, tmp_path / "machine", programs={"curl": curl},
                     files={"virtgate/netd.toml": blocks(path, "toml")[0], **certificates(tmp_path / "pki")})  # fmt: skip
    assert "virtgate/netd.toml: no mistakes found" in done.stdout
    assert done.record[-1] == "curl http://127.0.0.1:9516/metrics"


@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool")
def test_the_configuration_of_prometheus_is_one(tmp_path):
    (text,) = blocks(GUIDES / "metrics.md", "yaml")
    rules = pathlib.Path(__file__).resolve().parents[2] / "packaging/prometheus/virtgate.rules.yml"
    (tmp_path / "prometheus.yml").write_text(text.replace("/usr/share/virtgate/prometheus/virtgate.rules.yml", str(rules)))
    assert "SUCCESS" in run("promtool", "check", "config", tmp_path / "prometheus.yml")
