# SPDX-License-Identifier: LGPL-2.1-or-later
"""outer_filter - a kernel that lacks something: runs a program below a filter that answers some system calls with an error.

usage: outer_filter.py RULE... -- PROGRAM ARGUMENT...

A RULE is CALL=ERROR or CALL:FIRST=ERROR, where FIRST is the first argument: "mseal=ENOSYS", "prctl:65=EINVAL". What is
started below has the filter, too, and cannot take it off.
"""

import ctypes
import errno
import os
import sys

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EQUAL = 4  # SCMP_CMP_EQ
NEWER = {"mseal": 462}  # than the libseccomp of Debian 12; the number is the same everywhere


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def load(rules):
    """Put it in force for this process."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ALLOW)))
    for rule in rules:
        call, _, error = rule.partition("=")
        name, _, first = call.partition(":")
        number = NEWER.get(name, library.seccomp_syscall_resolve_name(name.encode()))
        if number < 0:
            sys.exit(f"outer_filter: no system call {name}")
        wanted = (Comparison * 1)(Comparison(0, EQUAL, int(first or 0), 0))
        action = ctypes.c_uint32(ERRNO | getattr(errno, error))
        failed = library.seccomp_rule_add_array(context, action, number, 1 if first else 0, wanted)
        if failed:
            sys.exit(f"outer_filter: {rule}: {os.strerror(-failed)}")
    if failed := library.seccomp_load(context):
        sys.exit(f"outer_filter: {os.strerror(-failed)}")


def main():
    words = sys.argv[1:]
    at = words.index("--")
    load(words[:at])
    os.execv(words[at + 1], words[at + 1 :])


if __name__ == "__main__":
    main()
