#!@PYTHON@ -IS
# SPDX-License-Identifier: LGPL-2.1-or-later
"""captured_stub - stands in the place of one of virtgate's programs and gives all that it was started with
away.

captured.py installs it and fills in the values below. What the test gets is what somebody who has taken the
process over would have: its descriptors. A process whose configuration does not begin with one of PREFIXES
(in hexadecimal digits; "*": with anything) becomes the real program.
"""

import array
import os
import socket

ROLE, REAL, CAPTOR, PREFIXES = "@ROLE@", "@REAL@", "@CAPTOR@", "@PREFIXES@".split()


def title(config):
    """What the parent calls this process: that text was lost with the interpreter's line above."""
    number = int.from_bytes(config[:4], "big")  # a gate's index; the length of an identity's name
    return f"virtgate: {ROLE}-{number if ROLE == 'gate' else config[4:4 + number].decode()}"


def descriptors():
    """All but the standard ones. The directory that is being read is not open any more afterwards."""
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    return [fd for fd in sorted(numbers) if fd > 2 and os.path.exists(f"/proc/self/fd/{fd}")]


config = os.pread(3, 8192, 0)
if PREFIXES != ["*"] and not any(config.startswith(bytes.fromhex(prefix)) for prefix in PREFIXES):
    os.execv(REAL, [title(config)])

held = array.array("i", descriptors())
captor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
captor.connect(CAPTOR)
captor.sendmsg([held.tobytes()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, held)])
for fd in held:
    os.close(fd)
captor.recv(1)  # until the test lets it go, or it is killed
