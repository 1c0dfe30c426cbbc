# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lock_manager - libvirt's QEMU driver with virtgate-lockd in the place of virtlockd.

A real libvirtd in its session mode, and real guests (TCG, without a system: they stay in their firmware). All that libvirtd
is told is lock_manager = "lockd": it finds the socket where it looks for virtlockd's.
"""

import contextlib
import ctypes
import os
import signal
import socket
import stat

import libvirt
import pytest

from vgtest import libvirtd, locks, processes, upstream
from vgtest.libvirtd import NOBODY

LENGTHY = True

EMULATOR = "/usr/bin/qemu-system-x86_64"
BUSY = "is locked"
PIDFD_GETFD = 438  # the same number everywhere; Python has no name for it
ROOT = os.geteuid() == 0

pytestmark = pytest.mark.skipif(
    not os.path.exists(EMULATOR) or not libvirtd.available(), reason="needs QEMU and libvirtd"
)

# QEMU has locks of its own, which would refuse first: they see what uses the file on this machine, and nothing else.
WITHOUT_LOCKS = f"""#!/bin/bash
arguments=()
for one in "$@"; do
    arguments+=("${{one//'"driver":"file",'/'"driver":"file","locking":"off",'}}")
done
exec {EMULATOR} "${{arguments[@]}}"
"""

GUEST = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda' bus='virtio'/>{more}
    </disk>
    <controller type='usb' model='none'/><memballoon model='none'/>
  </devices>
</domain>
"""


class House:
    """libvirtd, lockd, and a directory of disks."""

    def __init__(self, directory, lock_settings):
        files = {"qemu.conf": 'lock_manager = "lockd"\n', "qemu-lockd.conf": lock_settings}
        self.daemon = libvirtd.Libvirtd(directory / "libvirtd", files=files)
        run = self.daemon.directory / "run" / "libvirt"
        run.mkdir(0o700)
        if ROOT:
            os.chown(run, NOBODY, NOBODY)
        self.lockd = locks.UnprivilegedLockd(directory / "lockd", libvirt_socket=run / "virtlockd-sock")
        self.emulator = directory / "emulator"
        self.emulator.write_text(WITHOUT_LOCKS)
        self.emulator.chmod(0o755)

    @property
    def disks(self):
        return self.lockd.direct

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            # The driver asks for its lock spaces when it is loaded.
            stack.enter_context(self.lockd)
            stack.enter_context(self.daemon)
            self.connection = libvirt.open(f"qemu+unix:///session?socket={self.daemon.socket}")
            stack.callback(self.connection.close)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        for guest in self.connection.listAllDomains():
            with contextlib.suppress(libvirt.libvirtError):
                guest.destroy()
        self.stack.close()

    def disk(self, name):
        path = self.disks / name
        path.write_bytes(bytes(1 << 20))
        if ROOT:
            os.chown(path, NOBODY, NOBODY)
        return path

    def start(self, name, disk, more=""):
        xml = GUEST.format(name=name, emulator=self.emulator, disk=disk, more=more)
        return self.connection.createXML(xml)

    def pid(self, guest):
        path = self.daemon.directory / "run" / "libvirt" / "qemu" / "run" / f"{guest.name()}.pid"
        return int(path.read_text())


@pytest.fixture(scope="module")
def house(scratch):
    libvirt.registerErrorHandler(lambda *_: None, None)
    with House(scratch / "lock-manager", "") as made:
        yield made


def refused(house, name, disk, more=""):
    with pytest.raises(libvirt.libvirtError) as caught:
        house.start(name, disk, more).destroy()
    return str(caught.value)


def test_guest_has_its_disk_for_itself(house):
    disk = house.disk("one")
    assert locks.is_free(disk)
    guest = house.start("first", disk)
    assert not locks.is_free(disk)
    assert BUSY in refused(house, "second", disk)
    guest.destroy()
    assert locks.is_free(disk)
    house.start("second", disk).destroy()


def test_guests_that_share_a_disk_share_the_lock(house):
    disk = house.disk("shared")
    first, second = house.start("a", disk, "<shareable/>"), house.start("b", disk, "<shareable/>")
    assert locks.is_free(disk, shared=True) and not locks.is_free(disk)
    assert BUSY in refused(house, "alone", disk)
    first.destroy()
    assert not locks.is_free(disk)
    second.destroy()
    assert locks.is_free(disk)


def test_paused_guest_gives_its_disk_away_and_takes_it_back(house):
    disk = house.disk("paused")
    guest = house.start("paused", disk)
    guest.suspend()
    assert locks.is_free(disk)
    other = house.start("other", disk)
    with pytest.raises(libvirt.libvirtError, match=BUSY):
        guest.resume()
    other.destroy()
    guest.resume()
    assert not locks.is_free(disk)
    guest.destroy()


def test_disk_that_is_plugged_in_and_out(house):
    disk, second = house.disk("plug-1"), house.disk("plug-2")
    guest = house.start("plugged", disk)
    more = (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{second}'/>"
        "<target dev='vdb' bus='virtio'/></disk>"
    )
    guest.attachDevice(more)
    assert not locks.is_free(second)
    assert BUSY in refused(house, "thief", second)
    guest.destroy()
    assert locks.is_free(disk) and locks.is_free(second)


def test_lock_ends_with_a_guest_that_is_killed(house):
    """Only the connection that QEMU has without knowing tells lockd."""
    disk = house.disk("killed")
    guest = house.start("killed", disk)
    os.kill(house.pid(guest), signal.SIGKILL)
    upstream.poll(lambda: locks.is_free(disk), what="the end of the lock")
    house.start("next", disk).destroy()


@pytest.mark.parametrize("what", ["crash", "upgrade"])
def test_guest_and_lock_outlive(house, what):
    disk = house.disk(what)
    guest = house.start(what, disk)
    pid = house.pid(guest)
    if what == "crash":
        house.lockd.kill_locker()
    else:
        (locker,) = house.lockd.lockers
        house.lockd.process.send_signal(signal.SIGUSR1)
        house.lockd.wait_for_locker(locker)
    assert not locks.is_free(disk)
    assert BUSY in refused(house, "second", disk)
    assert guest.isActive() and processes.identity(pid)
    guest.suspend()
    assert locks.is_free(disk)
    guest.resume()
    assert not locks.is_free(disk)
    # The new locker knows the guest, and notices its end.
    os.kill(pid, signal.SIGKILL)
    upstream.poll(lambda: locks.is_free(disk), what="the end of the lock")


def end_connection(pid, path):
    """Shut down the connection of another process to the socket at `path`, behind its back."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    process = os.pidfd_open(pid)
    try:
        for number in sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd")):
            copy = call(PIDFD_GETFD, process, number, 0)
            if copy >= 0 and not stat.S_ISSOCK(os.fstat(copy).st_mode):
                os.close(copy)
            elif copy >= 0:
                with socket.socket(fileno=copy) as found, contextlib.suppress(OSError):  # not connected
                    if found.getpeername() == str(path):
                        return found.shutdown(socket.SHUT_RDWR)
    finally:
        os.close(process)
    raise AssertionError(f"{pid} has no connection to {path}")


@pytest.mark.skipif(not ROOT, reason="only root takes descriptors from other processes")
def test_guest_whose_connection_ends_is_ended(house):
    """Without its connection nobody would notice that it is gone, and another could get its disk too early."""
    disk = house.disk("fenced")
    pid = house.pid(house.start("fenced", disk))
    end_connection(pid, house.lockd.settings["libvirt_socket"])
    upstream.poll(lambda: not processes.running(pid), what="the end of the guest")
    upstream.poll(lambda: locks.is_free(disk), what="the end of the lock")


def test_lock_space_of_files(scratch):
    """As where disks are on a file system without locks: a directory has a file for each disk."""
    spaces = scratch / "lock-spaces" / "lockd" / "spaces"
    with House(scratch / "lock-spaces", f'file_lockspace_dir = "{spaces}/files"\n') as house:
        disk = house.disk("one")
        guest = house.start("first", disk)
        assert locks.is_free(disk), "not the disk itself"
        (lease,) = (spaces / "files").iterdir()
        assert not locks.is_free(lease)
        assert BUSY in refused(house, "second", disk)
        guest.destroy()
        assert not list((spaces / "files").iterdir()), "the file goes with the lock"
