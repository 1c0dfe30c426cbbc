# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_console - "virtgate console": the serial console of a real guest, through netd, on a terminal and in a pipe.

The guest is a boot sector that is made here: it prints a line on its first serial port and then sends back what it gets.
"""

import contextlib
import os
import signal

import libvirt
import pytest

from vgtest import tools, upstream
from vgtest.libvirtd import NOBODY
from vgtest.tools import INTERRUPTED, REFUSED, SYSTEM, UNREACHABLE, USAGE, virtgate

EMULATOR = "/usr/bin/qemu-system-x86_64"
GREETING = b"hello from the guest"

pytestmark = pytest.mark.skipif(not os.path.exists(EMULATOR), reason="needs QEMU")

GUEST = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os><features><acpi/></features>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda' bus='virtio'/><readonly/>
    </disk>
    <controller type='usb' model='none'/><memballoon model='none'/>
    <serial type='pty'><target port='0'/></serial><serial type='pty'><target port='1'/></serial>
  </devices>
</domain>
"""


def boot_sector():
    """Real mode, loaded at 0x7c00. Port 0x3fd of a UART says with bit 0 that a byte has come, with bit 5 that one may go."""
    code = bytearray()
    code += b"\xfc\x31\xc0\x8e\xd8"  # cld; xor ax, ax; mov ds, ax
    code += b"\xbe\x00\x00"  # mov si, message
    message_at = len(code) - 2
    next_byte = len(code)
    code += b"\xac\x84\xc0\x74\x05"  # lodsb; test al, al; jz idle
    code += b"\xe8\x00\x00"  # call put
    first_call = len(code)
    code += b"\xeb" + bytes([(next_byte - (len(code) + 2)) & 0xFF])  # jmp next_byte
    idle = len(code)
    code += b"\xfb\xba\xfd\x03\xec\xa8\x01\x75\x03"  # sti; mov dx, 0x3fd; in al, dx; test al, 1; jnz get
    code += b"\xf4\xeb" + bytes([(idle - (len(code) + 3)) & 0xFF])  # hlt until the next tick; jmp idle
    code += b"\xb2\xf8\xec"  # get: mov dl, 0xf8; in al, dx
    code += b"\xe8\x00\x00"  # call put
    second_call = len(code)
    code += b"\xeb" + bytes([(idle - (len(code) + 2)) & 0xFF])  # jmp idle
    put = len(code)
    code += b"\x88\xc4\xba\xfd\x03"  # put: mov ah, al; mov dx, 0x3fd
    code += b"\xec\xa8\x20\x74\xfb"  # wait: in al, dx; test al, 0x20; jz wait
    code += b"\xb2\xf8\x88\xe0\xee\xc3"  # mov dl, 0xf8; mov al, ah; out dx, al; ret
    for call in (first_call, second_call):
        code[call - 2 : call] = (put - call).to_bytes(2, "little")
    code[message_at : message_at + 2] = (0x7C00 + len(code)).to_bytes(2, "little")
    code += b"\r\n" + GREETING + b"\r\n\0"
    return bytes(code).ljust(510, b"\0") + b"\x55\xaa"


@pytest.fixture(scope="module")
def connection(running_suite):
    libvirt.registerErrorHandler(lambda *_: None, None)
    opened = libvirt.open(running_suite.uri("qemu", "/session"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def make_guest(connection, scratch):
    disk = scratch / "console-disk"
    disk.write_bytes(boot_sector().ljust(1 << 20, b"\0"))
    if os.geteuid() == 0:
        os.chown(disk, NOBODY, NOBODY)
    made = []

    def make(name):
        # All guests read the same one.
        made.append(connection.createXML(GUEST.format(name=name, emulator=EMULATOR, disk=disk),
                                         libvirt.VIR_DOMAIN_START_PAUSED))
        return made[-1]

    yield make
    for guest in made:
        with contextlib.suppress(libvirt.libvirtError):  # one that has ended is not known any more
            guest.destroy()


@pytest.fixture(scope="module")
def guest(make_guest):
    return make_guest("talker")


@pytest.fixture(scope="module")
def uri(running_suite):
    return running_suite.uri("qemu", "/session")


def test_a_guest_speaks_and_hears(guest, uri):
    """Its first word is not lost, as it starts after the console was opened."""
    with tools.Terminal("console", "-c", uri, "talker") as terminal:
        terminal.wait_for(b"connected to talker; ^] ends")
        upstream.poll(terminal.is_raw, what="raw mode")
        guest.resume()
        terminal.wait_for(GREETING)
        # Keys that a terminal would keep for itself.
        terminal.type(b"ping\x03\x1a\x04")
        terminal.wait_for(b"ping\x03\x1a\x04")
        terminal.type(b"\x1d")
        assert terminal.end() == 0
        assert terminal.is_as_before() and b"disconnected" in terminal.shown


def test_another_key(guest, uri):
    with tools.Terminal("console", "-c", uri, guest.name(), "--escape", "^A", "--force") as terminal:
        terminal.wait_for(b"^A ends")
        upstream.poll(terminal.is_raw, what="raw mode")
        terminal.type(b"\x1d!")
        terminal.wait_for(b"\x1d!")
        terminal.type(b"\x01")
        assert terminal.end() == 0
    assert virtgate("console", "talker", "-e", "^9", uri=uri).returncode == USAGE


def test_a_pipe(guest, uri):
    done = virtgate("console", guest.UUIDString(), "--linger", "1", uri=uri, stdin="to and fro\x1d\n")
    assert done.returncode == 0 and done.stdout == "to and fro\x1d\n" and not done.stderr, done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_is_restored_after_a_signal(guest, uri, number):
    with tools.Terminal("console", "-c", uri, guest.name(), "--force") as terminal:
        upstream.poll(terminal.is_raw, what="raw mode")
        assert terminal.end(number) == INTERRUPTED
        assert terminal.is_as_before()


def test_the_terminal_is_restored_when_nobody_reads(guest, uri):
    reading, writing = os.pipe()
    with tools.Terminal("console", "-c", uri, guest.name(), "--force", stdout=writing) as terminal:
        os.close(writing)
        upstream.poll(terminal.is_raw, what="raw mode")
        os.close(reading)
        terminal.type(b"x")
        assert terminal.end() == SYSTEM
        assert terminal.is_as_before()


def test_somebody_has_it_already(guest, uri):
    with tools.Terminal("console", "-c", uri, guest.name()) as first:
        upstream.poll(first.is_raw, what="raw mode")
        done = virtgate("console", guest.name(), uri=uri)
        assert done.returncode == REFUSED and "Active console session exists" in done.stderr, done
        with tools.Terminal("console", "-c", uri, guest.name(), "--force") as second:
            upstream.poll(second.is_raw, what="raw mode")
            first.end()
            assert first.is_as_before()
            second.type(b"mine")
            second.wait_for(b"mine")
            second.type(b"\x1d")
            assert second.end() == 0


def test_another_port(guest, uri):
    # The second one says nothing; what matters is that it is there.
    done = virtgate("console", guest.name(), "--devname", "serial1", "--linger", "1", uri=uri, stdin="")
    assert done.returncode == 0 and not done.stdout, done
    done = virtgate("console", guest.name(), "--devname", "serial7", uri=uri, stdin="")
    assert done.returncode == REFUSED and "serial7" in done.stderr, done
    assert virtgate("console", "nobody", uri=uri).returncode == REFUSED


def test_the_end_of_the_guest(make_guest, uri):
    short = make_guest("short")
    with tools.Terminal("console", "-c", uri, "short") as terminal:
        upstream.poll(terminal.is_raw, what="raw mode")
        short.resume()
        terminal.wait_for(GREETING)
        short.destroy()
        assert terminal.end() == 0
        assert terminal.is_as_before() and b"the console has ended" in terminal.shown


def test_the_terminal_is_restored_when_the_server_dies(fragile, guest):
    uri = fragile.uri("qemu", "/session")
    with tools.Terminal("console", "-c", uri, guest.name(), "--force") as terminal:
        upstream.poll(terminal.is_raw, what="raw mode")
        for pid in fragile.pids("virtgate-gate"):
            os.kill(pid, signal.SIGKILL)
        assert terminal.end() == UNREACHABLE
        assert terminal.is_as_before() and b"virtgate: " in terminal.shown
