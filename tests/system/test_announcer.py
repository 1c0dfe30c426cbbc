# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_announcer - netd's listener in multicast DNS: two machines with a bus and an avahi-daemon each, and a cable.

One of them has virtgate; what is announced is looked at from the other one, with avahi's own tool and with ours.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess

import pytest

from vgtest import mdns, processes, upstream
from vgtest.suite import BUILD, Suite

LENGTHY = True

VERSION = re.search(r'^#define VIRTGATE_VERSION "(.*)"', (BUILD / "config.h").read_text(), re.M)[1]
SANDBOXED = "#define VIRTGATE_SANITIZERS" not in (BUILD / "config.h").read_text()
DEFAULT = "Virtualization Host vgt-server"

pytestmark = pytest.mark.skipif(mdns.missing() is not None, reason=str(mdns.missing()))


class House:
    """`suite` runs on the machine `server`; `desk` is the other one."""

    def __init__(self, suite, server, desk):
        self.suite, self.server, self.desk = suite, server, desk
        self.first_settings = self.settings()

    def settings(self):
        return (self.suite.directory / "etc" / "netd.toml").read_text()

    def reload(self, **settings):
        """New values of [announce]; waits until netd has taken them."""
        path = self.suite.directory / "etc" / "netd.toml"
        text = path.read_text()
        for key, value in settings.items():
            text, count = re.subn(rf"(?ms)(^\[announce\]\n.*?^){key} = [^\n]*", rf"\g<1>{key} = {value}", text)
            assert count == 1, text
        path.write_text(text)
        begin = len(self.suite.log())
        (netd,) = self.suite.pids("virtgate-netd")
        os.kill(netd, signal.SIGHUP)
        upstream.await_log(self.suite, re.compile(r"netd\[\d+\]: serving "), begin)

    def announcer(self):
        (pid,) = upstream.poll(lambda: self.suite.pids("virtgate-announcer"), what="an announcer")
        return pid

    def await_another(self, pid):
        upstream.poll(lambda: set(self.suite.pids("virtgate-announcer")) - {pid, None}, 20, "another announcer")


@pytest.fixture(scope="module")
def machines():
    with mdns.Machine("vgt-server") as server, mdns.Machine("vgt-desk") as desk:
        server.connect(desk)
        for machine in (server, desk):
            machine.start_bus()
            machine.start_avahi()
        yield server, desk


@pytest.fixture(scope="module")
def house(scratch, machines):
    server, desk = machines
    settings = {
        "netd.tls.address": '"::"',
        "netd.announce.enabled": "true",
        "netd.announce.name": '""',
        "netd.log_level": '"debug"',
    }
    suite = Suite(scratch / "announced", {}, settings)
    suite.prefix = server.prefix
    with suite:
        desk.await_names(DEFAULT)
        yield House(suite, server, desk)


@pytest.fixture
def usual(house):
    """With everything as it is at the beginning; each test leaves it like that, also one that fails."""
    yield house
    for machine in (house.server, house.desk):
        for name, start in (("bus", machine.start_bus), ("avahi", machine.start_avahi)):
            if name not in machine.daemons:
                start()
    if house.settings() != house.first_settings:
        house.reload(enabled="true", name='""')
        house.desk.await_names(DEFAULT)


# --- what is announced ---


def test_port_and_record_are_seen_on_another_machine(usual):
    done = usual.desk.run("avahi-browse", "-rtp", "_libvirt._tcp")
    lines = [line.split(";") for line in done.stdout.splitlines() if line.startswith("=")]
    assert lines, done
    for line in lines:
        name, host, address, port, record = line[3], line[6], line[7], line[8], line[9]
        assert name.replace("\\032", " ") == DEFAULT
        assert (host, address, int(port)) == ("vgt-server.local", "10.77.0.1", usual.suite.port)
        assert set(re.findall(r'"([^"]*)"', record)) == {"product=virtgate", f"version={VERSION}", "transport=tls"}


def test_discover_shows_the_same(usual):
    status, servers = usual.desk.discover()
    port = usual.suite.port
    assert status == 0 and servers == [
        {
            "name": DEFAULT,
            "domain": "local",
            "host": "vgt-server.local",
            "port": port,
            "addresses": ["10.77.0.1"],
            "version": VERSION,
            "transport": "tls",
            "uri": f"remote+tls://vgt-server.local:{port}/",
            "txt": {"product": "virtgate", "version": VERSION, "transport": "tls"},
        }
    ]
    text = usual.desk.run(BUILD / "virtgate", "discover")
    head, row = text.stdout.splitlines()
    assert head.split() == ["NAME", "HOST", "PORT", "ADDRESSES", "VERSION", "URI"]
    assert row.startswith(f'"{DEFAULT}"  vgt-server.local  {port} ') and row.endswith(servers[0]["uri"])
    assert (text.returncode, text.stderr) == (0, "")


def test_whoever_it_is_comes_with_what_he_says_escaped(usual):
    """Another kind of server, which has no record and no good manners."""
    with other_service(usual.desk, "evil\n\x1b[31m\"", 16509):
        usual.desk.await_names(DEFAULT, 'evil\n\x1b[31m"')
        text = usual.desk.run(BUILD / "virtgate", "discover")
        assert text.returncode == 0 and len(text.stdout.splitlines()) == 3 and "\x1b" not in text.stdout
        (evil,) = [line for line in text.stdout.splitlines() if "evil" in line]
        assert '"evil\\x0a\\x1b[31m' in evil and evil.endswith("-        remote+tcp://vgt-desk.local/")
    usual.desk.await_names(DEFAULT)


@contextlib.contextmanager
def other_service(machine, name, port):
    """Somebody else's, of the same type."""
    with machine.popen("avahi-publish", "-s", name, "_libvirt._tcp", str(port),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:  # fmt: skip
        try:
            yield
        finally:
            other.kill()


# --- names ---


def test_new_name_takes_the_place_of_the_old_one(usual):
    before = usual.announcer()
    usual.reload(name='"Büro 3"')
    usual.desk.await_names("Büro 3")
    usual.await_another(before)
    usual.reload(name='""')
    usual.desk.await_names(DEFAULT)


def test_reload_without_a_change_leaves_the_service_alone(usual):
    before = usual.announcer()
    usual.reload()
    assert usual.announcer() == before and usual.desk.names() == {DEFAULT}


def test_name_that_is_taken_gets_a_number(usual):
    """On another machine, which is found out by asking, and on this one, where avahi-daemon knows."""
    with other_service(usual.desk, "taken", 7), other_service(usual.server, "taken #2", 8):
        usual.desk.await_names(DEFAULT, "taken", "taken #2")
        begin = len(usual.suite.log())
        usual.reload(name='"taken"')
        usual.desk.await_names("taken", "taken #2", "taken #3")
        _, servers = usual.desk.discover()
        ports = {server["name"]: server["port"] for server in servers}
        assert ports == {"taken": 7, "taken #2": 8, "taken #3": usual.suite.port}
        for name in ("taken", "taken #2"):
            upstream.await_log(usual.suite, f'the name "{name}" is taken', begin)
        upstream.await_log(usual.suite, f'announced as "taken #3", port {usual.suite.port}', begin)
    usual.reload(name='""')
    usual.desk.await_names(DEFAULT)


# --- what goes and comes back ---


def test_switched_off_and_on_while_it_runs(usual):
    usual.reload(enabled="false")
    upstream.poll(lambda: not usual.suite.pids("virtgate-announcer"), what="the end of the announcer")
    upstream.poll(lambda: usual.desk.discover("--timeout", "3") == (1, []), 20, "nobody there")
    usual.reload(enabled="true")
    usual.desk.await_names(DEFAULT)


def test_announcer_that_is_killed_comes_back(usual):
    before, served = usual.announcer(), usual.suite.pids("virtgate-gate")
    os.kill(before, signal.SIGKILL)
    usual.await_another(before)
    usual.desk.await_names(DEFAULT)
    assert usual.suite.pids("virtgate-gate") == served


def test_avahi_daemon_is_started_again(usual):
    begin = len(usual.suite.log())
    usual.server.stop("avahi", signal.SIGKILL)
    upstream.await_log(usual.suite, "not announced: avahi-daemon has gone", begin)
    # Without it there is a process that waits, and that says nothing more.
    upstream.poll(lambda: usual.suite.pids("virtgate-announcer"), 20, "an announcer that waits")
    usual.server.start_avahi()
    upstream.await_log(usual.suite, f'announced as "{DEFAULT}"', begin)
    usual.desk.await_names(DEFAULT)
    assert_said_once(usual, begin)


def test_bus_is_started_again(usual):
    begin = len(usual.suite.log())
    usual.server.stop("bus")
    usual.server.stop("avahi")  # it has ended with its bus
    upstream.await_log(usual.suite, re.compile(r"debug: [^\n]*not announced: cannot reach the system's D-Bus"), begin)
    nobody = (71, "virtgate: no avahi-daemon runs on this machine, or no D-Bus to ask it over\n")
    assert usual.server.discover() == nobody
    usual.server.start_bus()
    assert usual.server.discover() == nobody
    usual.server.start_avahi()
    upstream.await_log(usual.suite, f'announced as "{DEFAULT}"', begin)
    usual.desk.await_names(DEFAULT)
    assert_said_once(usual, begin)


def assert_said_once(house, begin):
    """However often a process was started: one warning, and no line more that is not for debugging."""
    about = [line for line in house.suite.log()[begin:].splitlines() if "announcer" in line]
    shown = [line for line in about if not line.startswith("debug: ")]
    assert len(shown) == 2 and shown[0].startswith("warning: ") and "announced as" in shown[1], shown


def test_it_goes_with_netd_and_whoever_watches_sees_it(scratch, usual):
    """A second server beside the first; its listener is for its own machine alone, which is where it is announced."""
    suite = Suite(scratch / "local", {}, {"netd.announce.enabled": "true", "netd.announce.name": '"only here"'})
    suite.prefix = usual.server.prefix
    lines = []
    command = (BUILD / "virtgate", "discover", "--watch", "--json")
    with usual.server.popen(*command, stdout=subprocess.PIPE, text=True) as watch:
        try:
            with suite:
                await_event(watch, lines, "found", "only here")
                assert usual.desk.names() == {DEFAULT}
            await_event(watch, lines, "gone", "only here")
        finally:
            watch.kill()
    (found,) = [line for line in lines if line["event"] == "found" and line["name"] == "only here"]
    assert found["port"] == suite.port and found["addresses"] == ["127.0.0.1"]


def await_event(watch, lines, event, name):
    for line in watch.stdout:
        lines.append(json.loads(line))
        if (lines[-1]["event"], lines[-1]["name"]) == (event, name):
            return
    raise AssertionError(f"no {event} of {name}: {lines}")


def test_watching_ends_in_time_or_with_the_daemon(usual):
    done = usual.desk.run(BUILD / "virtgate", "discover", "--watch", "--timeout", "1.5")
    assert done.returncode == 0 and done.stdout.startswith(f'found    "{DEFAULT}"  vgt-server.local  ')
    with usual.desk.popen(BUILD / "virtgate", "discover", "--watch", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as watch:  # fmt: skip
        try:
            assert watch.stdout.readline()
            usual.desk.stop("avahi")
            _, said = watch.communicate(timeout=mdns.PATIENCE)
        finally:
            watch.kill()
    usual.desk.start_avahi()
    assert (watch.returncode, said.startswith("virtgate: avahi-daemon has gone")) == (71, True), said


# --- what it can do ---


@pytest.mark.skipif(not SANDBOXED, reason="a build with sanitizers is not confined")
def test_it_has_nothing_but_the_bus_and_its_parent(usual):
    pid = usual.announcer()
    assert "announcer" in processes.by_title(usual.suite.process.pid)
    status = dict(re.findall(r"^(\w+):\t(.*)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M))
    assert (status["Seccomp"], status["NoNewPrivs"], status["Threads"]) == ("2", "1", "1")
    assert int(status["Seccomp_filters"]) >= 2
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    for name, value in (("processes", 0), ("open files", 32), ("file size", 0), ("core file size", 0)):
        assert re.search(rf"^Max {name} +{value} +{value} ", limits, re.M), name
    # Its sockets are from where it was started, which is another network than it is in.
    of_unix = {
        words[6]: words[4]
        for line in pathlib.Path(f"/proc/{usual.suite.process.pid}/net/unix").read_text().splitlines()[1:]
        if (words := line.split())
    }
    links = processes.links(pid).values()
    sockets = [link[len("socket:[") : -1] for link in links if link.startswith("socket:[")]
    # SOCK_SEQPACKET and SOCK_STREAM.
    assert sorted(of_unix[inode] for inode in sockets) == ["0001", "0005"]
    rest = {link for link in links if not link.startswith(("socket:[", "pipe:[", "anon_inode:"))}
    assert rest == {"/dev/null"}


@pytest.mark.skipif(not SANDBOXED, reason="a build with sanitizers is not confined")
def test_it_lives_on_when_the_bus_asks_for_what_it_may_not_read(usual):
    """libdbus itself answers whoever asks for the number of the machine, and would open a file for that."""
    pid = usual.announcer()
    listed = usual.server.run("dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus", "/",
                              "org.freedesktop.DBus.ListNames").stdout  # fmt: skip
    asked = 0
    for name in re.findall(r'string "(:[\d.]+)"', listed):
        answer = usual.server.run("dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus", "/",
                                  "org.freedesktop.DBus.GetConnectionUnixProcessID", f"string:{name}").stdout  # fmt: skip
        if f"uint32 {pid}\n" in answer:
            answer = usual.server.run("dbus-send", "--system", "--print-reply", f"--dest={name}", "/",
                                      "org.freedesktop.DBus.Peer.GetMachineId")  # fmt: skip
            assert "FileNotFound" in answer.stderr or "Failed to open" in answer.stderr, answer
            asked += 1
    assert asked == 1 and usual.announcer() == pid


def test_it_is_not_there_unless_it_is_asked_for(gate):
    assert not gate.pids("virtgate-announcer")


def test_without_a_bus_netd_serves_and_says_it_once(scratch, running_suite):
    suite = running_suite.sibling(scratch / "silent", {"netd.announce.enabled": "true", "netd.log_level": '"debug"'})
    suite.prefix = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh")
    with suite:
        upstream.await_log(suite, re.compile(r"(debug: [^\n]*not announced: cannot reach.*){2}", re.S))
        with suite.open("test:///default"):
            pass
        shown = [line for line in suite.log().splitlines() if "announcer" in line and not line.startswith("debug: ")]
        assert len(shown) == 1 and "not announced: cannot reach the system's D-Bus" in shown[0], shown
