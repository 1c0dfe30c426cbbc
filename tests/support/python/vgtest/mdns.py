# SPDX-License-Identifier: LGPL-2.1-or-later
"""mdns - machines with a D-Bus and an avahi-daemon of their own, on a network of their own.

A machine is a process in namespaces of networks, mounts and host names; what is started on it joins them.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess

from vgtest import upstream
from vgtest.suite import BUILD

# What Debian's packages dbus-daemon, avahi-daemon, avahi-utils and iproute2 have.
PROGRAMS = ("dbus-daemon", "avahi-daemon", "avahi-browse", "avahi-publish", "ip", "nsenter", "unshare")
NAMESPACES = ("--net", "--mount", "--uts")

SETUP = """
set -e
hostname "$1"
mount -t tmpfs tmpfs /run
mkdir -p /run/dbus /run/avahi-daemon
ip link set lo up
ip link set lo multicast on
printf '[server]\\nuse-ipv4=yes\\nuse-ipv6=no\\nallow-interfaces=lo,lan\\n[wide-area]\\nenable-wide-area=no\\n' >/run/avahi.conf
printf '%s\n' "$2" >/run/bus.conf
touch /run/set-up
exec sleep 3600
"""
# The system's own, and root may call what other people's programs have.
BUS = """<busconfig>
<include>/usr/share/dbus-1/system.conf</include>
<policy user="root"><allow send_type="method_call"/></policy>
</busconfig>"""
CONNECT = """
set -e
ip link add lan type veth peer name lan netns "$1"
ip address add 10.77.0.1/24 dev lan
ip link set lan up multicast on
ip route add 224.0.0.0/4 dev lan
"""
JOIN = """
set -e
ip address add 10.77.0.2/24 dev lan
ip link set lan up multicast on
ip route add 224.0.0.0/4 dev lan
"""
PATIENCE = 20.0


def missing():
    """Why there cannot be such a machine here, or None."""
    if os.geteuid() != 0:
        return "only root makes networks"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    done = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True)
    return f"no namespaces: {done.stderr.decode()}" if done.returncode else None


# Of a suite that announces, where that can be done; for bus_for().
SETTINGS = {} if missing() else {"netd.announce.enabled": "true"}


@contextlib.contextmanager
def bus_for(suite, accounts=None):
    """A suite in the usual network, with SETTINGS, which announces to a machine that nobody is connected to. Whether it
    does: it takes root and some programs. `accounts`: a directory with the passwd and group of that machine.
    """
    if not SETTINGS:
        yield False
        return
    with Machine("vgt-bus") as machine:
        for name in ("passwd", "group") if accounts else ():
            machine.run("mount", "--bind", accounts / name, f"/etc/{name}").check_returncode()
        machine.start_bus()
        machine.start_avahi()
        suite.prefix = (*machine.files, *suite.prefix)
        yield True


class Machine:
    """`name` is its host name. A context manager: at the end nothing of it is left."""

    def __init__(self, name):
        self.name, self.daemons = name, {}

    def __enter__(self):
        # Its /run is another one, so what says that it is ready has to be looked at from within.
        self.holder = subprocess.Popen(
            ["unshare", *NAMESPACES, "--propagation", "private", "sh", "-c", SETUP, "sh", self.name, BUS],
            stdin=subprocess.DEVNULL,
        )
        ready = lambda: os.path.exists(f"/proc/{self.holder.pid}/root/run/set-up") or self.holder.poll() is not None
        upstream.poll(ready, PATIENCE, "a machine")
        assert self.holder.poll() is None, "the machine could not be set up"
        return self

    def __exit__(self, *_):
        for name in ("avahi", "bus"):
            self.stop(name)
        self.holder.kill()
        self.holder.wait()

    @property
    def prefix(self):
        """Of a command that is to run there; it becomes that command's process."""
        return ("nsenter", "--target", str(self.holder.pid), *NAMESPACES, "--")

    @property
    def files(self):
        """The same, for a command that is to have the machine's bus and not its network."""
        return ("nsenter", "--target", str(self.holder.pid), "--mount", "--")

    def connect(self, other):
        """A cable between the two."""
        for machine, script in ((self, CONNECT), (other, JOIN)):
            subprocess.run([*machine.prefix, "sh", "-c", script, "sh", str(other.holder.pid)], check=True, timeout=PATIENCE)

    def run(self, *command, patience=PATIENCE):
        return subprocess.run([*self.prefix, *map(str, command)], capture_output=True, text=True, timeout=patience)

    def popen(self, *command, **options):
        return subprocess.Popen([*self.prefix, *map(str, command)], stdin=subprocess.DEVNULL, **options)

    def exists(self, path):
        return os.path.exists(f"/proc/{self.holder.pid}/root{path}")

    # --- daemons ---

    def start_bus(self):
        self._start("bus", "dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--nopidfile")
        upstream.poll(lambda: self.exists("/run/dbus/system_bus_socket"), PATIENCE, "a bus")

    def start_avahi(self):
        options = ("--no-rlimits", "--no-drop-root", "--no-chroot", "--file=/run/avahi.conf")
        self._start("avahi", "avahi-daemon", *options)

    def _start(self, name, *command):
        self.daemons[name] = self.popen(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self, name, number=signal.SIGTERM):
        daemon = self.daemons.pop(name, None)
        if daemon:
            daemon.send_signal(number)
            daemon.wait(PATIENCE)
        if name == "bus":
            self.run("rm", "-f", "/run/dbus/system_bus_socket")

    # --- what is seen from there ---

    def discover(self, *words):
        """(exit status, list of servers)"""
        done = self.run(BUILD / "virtgate", "discover", "--json", *words)
        return done.returncode, json.loads(done.stdout)["servers"] if done.stdout else done.stderr

    def names(self):
        """The names of all servers that can be seen at present."""
        _, found = self.discover()
        return {server["name"] for server in found} if isinstance(found, list) else set()

    def await_names(self, *names):
        seen = []
        upstream.poll(lambda: seen.append(self.names()) or seen[-1] == set(names), 2 * PATIENCE,
                      lambda: f"{names}; last seen: {seen[-1:]}")  # fmt: skip
