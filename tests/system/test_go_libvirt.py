# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_go_libvirt - a client that is not libvirt's own: go-libvirt, at the UNIX socket.

It has a decoder of its own, written in Go from the protocol files, and sends no keepalive. Debian's package
of it is built into a small program here, without any network.
"""

import json
import os
import pathlib
import re
import shutil

import pytest

from vgtest import upstream
from vgtest.clients import attempt, run

SOURCE = pathlib.Path(__file__).parents[1] / "support" / "go" / "visit.go"
LIBRARY = pathlib.Path("/usr/share/gocode/src/github.com/digitalocean/go-libvirt")
BUILD_PATIENCE = 240  # seconds: the first build compiles a part of Go's own library
RUNNING, PAUSED = 1, 3  # VIR_DOMAIN_…
SUSPENDED, RESUMED = 3, 4  # VIR_DOMAIN_EVENT_…


@pytest.fixture(scope="module")
def visit(scratch):
    """The built program."""
    assert shutil.which("go"), "Go is not installed (Debian: golang-go)"
    assert LIBRARY.is_dir(), "go-libvirt is not installed (Debian: golang-github-digitalocean-go-libvirt-dev)"
    work = scratch / "go"
    work.mkdir()
    program = work / "visit"
    environment = {
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOCACHE": str(work / "cache"),
        "GOFLAGS": "",
        "GOTMPDIR": str(work),
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
        "HOME": str(work),
    }
    run("go", "build", "-o", program, SOURCE, patience=BUILD_PATIENCE, environment=environment)
    yield program
    shutil.rmtree(work / "cache", ignore_errors=True)


def test_go_libvirt_over_the_unix_socket(visit, gate, private_libvirtd):
    report = json.loads(run(visit, gate.local_socket, "test:///default", patience=90))
    direct = f"test+unix:///default?socket={private_libvirtd.socket}"
    uuid = run("virsh", "-q", "-c", direct, "domuuid", "test").strip()
    xml = run("virsh", "-q", "-c", direct, "dumpxml", "test")
    assert report["names"] == ["test"] and report["uuid"] == uuid.replace("-", "")
    assert report["uri"] == "test:///default" and re.match(r"9\.\d+\.\d+$", report["library"])
    assert report["parallel"] == 400
    assert report["xml_sizes"] == [len(xml.rstrip("\n")) + 1], "XML differs from what libvirtd says"
    assert report["missing"].startswith("Domain not found")
    assert report["states"] == [RUNNING, PAUSED, RUNNING]
    assert report["events"] == [SUSPENDED, RESUMED]


def test_go_libvirt_reads_only_at_the_socket_for_readers(visit, gate):
    """It reads as much as it likes, and its first change is refused."""
    refused = attempt(visit, f"{gate.local_socket}-ro", "test:///default", patience=90)
    assert refused.returncode == 1 and not refused.stdout
    assert "DomainSuspend" in refused.stderr, refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a client as somebody else")
def test_go_libvirt_of_an_unknown_user_is_refused(visit, scratch, running_suite):
    """Everybody may connect here; the policy of `virtgate up` knows the user who started it alone."""
    open_door = running_suite.sibling(scratch / "open-door", {"netd.unix.mode": '"0666"'})
    stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with open_door as server:
        refused = attempt(*stranger, visit, server.local_socket, "test:///default", patience=90)
        assert refused.returncode == 1 and "connect" in refused.stderr, refused.stderr
        upstream.poll(lambda: "uid 65534" in server.log(), what="a line in the log about who was refused")
        accepted = json.loads(run(visit, server.local_socket, "test:///default", patience=90))
        assert accepted["names"] == ["test"]
