# SPDX-License-Identifier: LGPL-2.1-or-later
"""fixtures - what pytest gives to the tests: a private libvirtd, recording upstreams, and the suite in front
of them.
"""

import os
import pathlib
import shutil
import tempfile

import pytest

from vgtest import certificates, guarded, libvirtd, processes, suite, upstream

# The URIs of the suite under test. The session URIs lead to a real libvirtd, the others to recording
# upstreams.
RECORDED, DYING = "qemu:///system", "lxc:///system"


@pytest.fixture(scope="session", autouse=True)
def no_process_left_behind():
    """Nothing that the tests started may outlive them. Parts check this for themselves too, when they are
    stopped.
    """
    before = {processes.identity(pid) for pid in processes.family(os.getpid())}
    yield
    mine = {processes.identity(pid) for pid in processes.family(os.getpid())} - before - {None}
    left = processes.wait_gone(mine, 5.0)
    assert not left, f"the tests left processes behind: {[(who[0], processes.name(who[0])) for who in left]}"


@pytest.fixture(scope="session")
def scratch(no_process_left_behind):
    """A directory for all files of this run, open to the unprivileged libvirtd, removed at the end.

    All that starts processes for the whole run needs it, and so ends before no_process_left_behind looks: pytest ends
    what is not needed by another in the order of its last use, not of its start.
    """
    directory = pathlib.Path(tempfile.mkdtemp(prefix="vgt-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
    assert not directory.exists(), f"cannot remove {directory}"


@pytest.fixture(scope="session")
def private_libvirtd(scratch):
    assert libvirtd.available(), "libvirtd is not installed (Debian: libvirt-daemon)"
    with libvirtd.Libvirtd(scratch / "libvirtd") as daemon:
        yield daemon


@pytest.fixture(scope="session")
def recording(scratch):
    with upstream.RecordingUpstream(scratch / "recording.sock") as server:
        yield server


@pytest.fixture(scope="session")
def dying(scratch):
    """A recording upstream of its own for the tests that kill it."""
    with upstream.RecordingUpstream(scratch / "dying.sock") as server:
        yield server


@pytest.fixture(scope="session")
def upstreams(private_libvirtd, recording, dying):
    return {
        "test:///default": private_libvirtd.socket,
        "storage:///session": private_libvirtd.socket,
        "qemu:///session": private_libvirtd.socket,
        RECORDED: recording.path,
        DYING: dying.path,
    }


@pytest.fixture(scope="session")
def running_suite(scratch, upstreams):
    with suite.Suite(scratch / "suite", upstreams) as started:
        yield started


@pytest.fixture
def gate(running_suite):
    """The suite with its shipped settings. Each test leaves it with the very processes that it found."""
    before = running_suite.daemons()
    yield running_suite
    lost = before - running_suite.daemons()
    assert not lost, f"processes that died during the test: {lost}; log:\n{running_suite.log()[-3000:]}"


@pytest.fixture
def back(recording):
    """The recording upstream behind RECORDED, with an empty record; what reached it by the end must be
    canonical.
    """
    recording.forget()
    yield recording
    recording.check_canonical()


@pytest.fixture(scope="session")
def impatient(scratch, running_suite):
    """A second suite with short deadlines: handshake 1 s, authentication 2 s, partial frame 1 s; pings each
    second, at most 2.
    """
    second = running_suite.sibling(
        scratch / "impatient",
        {
            "netd.limits.handshake": 1,
            "netd.limits.authentication": 2,
            "netd.limits.partial_frame": 1,
            "netd.keepalive.interval": 1,
            "netd.keepalive.count": 2,
        },
    )
    with second:
        yield second


@pytest.fixture(scope="session")
def authority(scratch, running_suite):
    """The suite's own CA, to issue more client certificates."""
    ca = running_suite.directory / "pki" / "ca"
    return certificates.Authority(ca / "cacert.pem", ca / "cakey.pem", scratch / "issued")


@pytest.fixture(scope="session")
def foreign_authority(scratch):
    return certificates.Authority.new(scratch / "foreign-ca")


@pytest.fixture(scope="session")
def guard(scratch, running_suite, private_libvirtd, authority):
    """guard(name, policy, node=…, settings=…): a guarded.Guarded, not started, in front of the private libvirtd."""

    def make(name, policy, **options):
        return guarded.Guarded(scratch / name, running_suite, private_libvirtd.socket, authority, policy, **options)

    return make
