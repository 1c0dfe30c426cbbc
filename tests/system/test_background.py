# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_background - the daemons without a service manager: in the background, with pid files and log files."""

import os
import re
import signal
import subprocess

import pytest

from vgtest import processes, suite, upstream
from vgtest.clients import run

DAEMONS = ("lockd", "workerd", "netd")
NO_INPUT, UNAVAILABLE, CONFIG = 66, 69, 78


def start(daemon, file, *options):
    command = [suite.BUILD / f"virtgate-{daemon}", "--config", file, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def is_gone(pid):
    return processes.identity(pid) is None


class House:
    """What `virtgate up` wrote, served by daemons in the background."""

    def __init__(self, directory):
        self.directory, self.pids = directory, {}

    def file(self, daemon):
        return next(self.directory.rglob(f"{daemon}.toml"))

    def pid_file(self, daemon):
        return self.directory / f"{daemon}.pid"

    def log(self, daemon):
        return (self.directory / f"{daemon}.log").read_text()

    def start(self, daemon):
        done = start(daemon, self.file(daemon), "-d", "-p", self.pid_file(daemon))
        assert done.returncode == 0, done.stderr
        self.pids[daemon] = int(self.pid_file(daemon).read_text())

    def stop(self, daemon, number=signal.SIGTERM):
        pid = self.pids.pop(daemon)
        family = {processes.identity(one) for one in (pid, *processes.family(pid))} - {None}
        os.kill(pid, number)
        left = processes.wait_gone(family, 15.0)
        assert not left, f"{daemon} stays: {left}"


@pytest.fixture(scope="module")
def house(upstreams, tmp_path_factory):
    directory = tmp_path_factory.mktemp("background") / "house"
    with suite.Suite(directory, upstreams) as up:
        port = up.port
    house = House(directory)
    house.uri = up.uri()
    for daemon in DAEMONS:
        file = house.file(daemon)
        text = file.read_text()
        if daemon == "netd":  # the port that it had, since nobody tells which one it has now
            text = re.sub(r"(?m)^port = 0$", f"port = {port}", text, count=1)
        file.write_text(f'log_outputs = ["file:{directory}/{daemon}.log"]\n' + text)
    for daemon in DAEMONS:
        house.start(daemon)
    yield house
    for daemon in reversed(DAEMONS):
        house.stop(daemon)
        assert not house.pid_file(daemon).exists()


def test_they_serve_when_the_command_has_ended(house):
    assert run("virsh", "-q", "-c", house.uri, "list", "--all").split()[1] == "test"
    for daemon in DAEMONS:
        assert processes.name(house.pids[daemon]) == f"virtgate-{daemon}"
        assert os.getsid(house.pids[daemon]) != os.getsid(0)
        if os.geteuid() == 0:  # they are closed to their own user
            assert os.readlink(f"/proc/{house.pids[daemon]}/fd/2") == "/dev/null"


def test_a_second_one_says_who_is_there(house):
    for daemon in DAEMONS:
        done = start(daemon, house.file(daemon), "--daemon", "--pid-file", house.pid_file(daemon))
        assert done.returncode == UNAVAILABLE
        # The kernel keeps 15 bytes of a name.
        assert f"belongs to {f'virtgate-{daemon}'[:15]} (pid {house.pids[daemon]})" in done.stderr
        assert int(house.pid_file(daemon).read_text()) == house.pids[daemon]
    # Without the pid file it is the port that tells; who has it there, root sees, and others see whose it is.
    is_root = os.geteuid() == 0
    holder = f"virtgate-netd (pid {house.pids['netd']})" if is_root else f"a process of user {os.geteuid()}"
    assert f"is taken by {holder}" in start("netd", house.file("netd")).stderr


def test_one_that_was_killed_is_started_again(house):
    house.stop("netd", signal.SIGKILL)
    assert house.pid_file("netd").exists()
    house.start("netd")
    run("virsh", "-q", "-c", house.uri, "list")


def test_log_lines_of_children_are_in_the_file_and_it_is_opened_anew(house):
    run("virsh", "-q", "-c", house.uri, "list")
    wanted = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z info: gate-\d+\[\d+\]: ", re.M)
    upstream.poll(lambda: wanted.search(house.log("netd")), what="a gate's line in netd.log")
    old = house.directory / "netd.log.1"
    (house.directory / "netd.log").rename(old)
    os.kill(house.pids["netd"], signal.SIGHUP)
    upstream.poll((house.directory / "netd.log").exists, what="a new netd.log")
    run("virsh", "-q", "-c", house.uri, "list")
    upstream.poll(lambda: wanted.search(house.log("netd")), what="a gate's line in the new netd.log")
    assert int(house.pid_file("netd").read_text()) == house.pids["netd"]


def test_lockd_goes_on_as_the_same_process(house):
    os.kill(house.pids["lockd"], signal.SIGHUP)
    upstream.poll(lambda: "reloading" in house.log("lockd"), what="lockd's line")
    upstream.poll(
        lambda: "belongs to virtgate-lockd" in start("lockd", house.file("lockd"), "-p", house.pid_file("lockd")).stderr,
        what="the pid file's owner",
    )
    assert processes.name(house.pids["lockd"]) == "virtgate-lockd"
    assert int(house.pid_file("lockd").read_text()) == house.pids["lockd"]


def test_what_is_wrong_is_said_before_the_command_ends(house, tmp_path):
    file = tmp_path / "netd.toml"
    file.write_text('log_outputs = ["tape"]\nlog_filters = ["debug:gat"]\n')
    done = start("netd", file, "-d", "-p", tmp_path / "pid")
    assert done.returncode == CONFIG
    assert 'netd.toml:1:' in done.stderr and '"tape" has to be' in done.stderr
    assert 'did you mean' in done.stderr and '"gate"' in done.stderr
    assert not (tmp_path / "pid").exists()
    file.write_text('log_outputs = ["file:/nonexistent/log"]\n' + house.file("netd").read_text().split("\n", 1)[1])
    done = start("netd", file, "-d", "-p", tmp_path / "none" / "pid")
    assert done.returncode == NO_INPUT and "cannot open the pid file" in done.stderr
