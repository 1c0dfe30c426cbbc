# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_users - started by root, on a machine that has the users of the package.

The users are in files of accounts of a mount namespace of the suite's own; nothing of this machine is changed.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

from vgtest import mdns, metrics, processes, upstream, wire
from vgtest.suite import BUILD, Suite

URI = "qemu:///system"
FIRST_UID = 60560
# Which process runs as whom.
ROLES = {"gate": "NET", "keeper": "KEY", "doorman": "AUTH", "sasl": "AUTH", "steward": "NET", "exporter": "NET", "worker": "WORK", "auditor": "AUDIT"}
if mdns.SETTINGS:
    ROLES["announcer"] = "NET"

# The programs are reached under a directory that everybody may pass through; the accounts are the suite's own.
ENTER = (
    'mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group && '
    'mount --bind "$2" "$1/programs" && shift 2 && exec "$@"'
)

USERS = dict(re.findall(r'^#define VIRTGATE_(\w+)_USER "(.*)"', (BUILD / "config.h").read_text(), re.M))
UIDS = {role: FIRST_UID + number for number, role in enumerate(USERS)}


def may_mount():
    return (
        os.geteuid() == 0
        and not subprocess.run(
            ["unshare", "--mount", "mount", "--bind", "/etc/passwd", "/etc/passwd"], capture_output=True
        ).returncode
    )


pytestmark = pytest.mark.skipif(not may_mount(), reason="only root starts processes as other users")


@pytest.fixture(scope="module")
def house(upstreams):
    """(suite, the audit file)"""
    top = pathlib.Path(tempfile.mkdtemp(prefix="vgt-users-"))
    try:
        top.chmod(0o711)
        (top / "programs").mkdir()
        for name, line in (("passwd", "{0}:x:{1}:{1}::/nonexistent:/bin/false\n"), ("group", "{0}:x:{1}:\n")):
            ours = "".join(line.format(USERS[role], uid) for role, uid in UIDS.items())
            (top / name).write_text(pathlib.Path("/etc", name).read_text() + ours)
            (top / name).chmod(0o644)
        records = top / "records"
        records.mkdir()
        os.chown(records, UIDS["AUDIT"], UIDS["AUDIT"])
        file = records / "audit.jsonl"
        settings = {"netd.user_switch": "true", "workerd.user_switch": "true", "workerd.audit.file": f'"{file}"', **metrics.SETTINGS, **mdns.SETTINGS}
        suite = Suite(top / "suite", upstreams, settings)
        suite.programs = top / "programs"
        suite.prefix = ("unshare", "--mount", "sh", "-c", ENTER, "sh", str(top), str(BUILD))
        # The programs are not there outside of the suite's namespace.
        (suite.programs / "virtgate").touch()
        with mdns.bus_for(suite, top), suite:
            yield suite, file
    finally:
        shutil.rmtree(top, ignore_errors=True)


def status_of(pid, *names):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return [re.search(rf"^{name}:\s*(.*)$", text, re.M)[1].split() for name in names]


def members(suite):
    """{role of ROLES: pids}"""
    found = {role: [] for role in ROLES}
    for title, pids in processes.by_title(suite.process.pid).items():
        kind = re.match(r"[a-z]+", title)[0]
        if kind in found:
            found[kind] += pids
    return found


def test_each_process_is_its_user_and_nothing_more(house):
    suite, _ = house
    with suite.open(URI):
        complete = lambda: all(pids for role, pids in members(suite).items() if role != "sasl")
        upstream.poll(complete, what=lambda: f"everybody: {members(suite)}")
        found = members(suite)
        for role, pids in found.items():
            uid = str(UIDS[ROLES[role]])
            for pid in pids:
                uids, gids, groups, *capabilities = status_of(
                    pid, "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"
                )
                assert uids == gids == [uid] * 4 and groups == [uid], role
                assert capabilities == [["0" * 16]] * 5, role


def test_calls_are_answered_and_recorded(house):
    suite, file = house
    with suite.open(URI) as client:
        assert client.ask(wire.GET_LIB_VERSION).status == wire.OK
    assert file.stat().st_uid == UIDS["AUDIT"] and file.stat().st_mode & 0o777 == 0o600
    read = lambda: [json.loads(line) for line in file.read_text().splitlines()]
    upstream.poll(lambda: any(record["record"] == "session" for record in read()), what="a record of the session")


@pytest.mark.parametrize("role", [role for role in ROLES if role != "sasl"])
def test_whoever_is_killed_comes_back_as_the_same_user(house, role):
    """A supervisor that has given up nearly everything can still start and end children as other users."""
    suite, _ = house
    with suite.open(URI):
        before = members(suite)[role]
        for pid in before:
            os.kill(pid, signal.SIGKILL)

    def is_back():
        now = members(suite)[role]
        return len(now) >= len(before) and not set(now) & set(before)

    if role == "worker":  # with the next session
        upstream.poll(lambda: not set(members(suite)["worker"]) & set(before), what="the worker is gone")
        with suite.open(URI):
            assert is_back()
            pids = members(suite)[role]
    else:
        upstream.poll(is_back, what=f"a new {role}")
        pids = members(suite)[role]
    assert {status_of(pid, "Uid")[0][0] for pid in pids} == {str(UIDS[ROLES[role]])}
    # Whatever it was, new clients are served.
    upstream.poll(lambda: can_open(suite), what=f"a session after the end of {role}")


def can_open(suite):
    try:
        with suite.open(URI) as client:
            return client.ask(wire.GET_LIB_VERSION).status == wire.OK
    except (OSError, AssertionError, wire.Closed):
        return False
