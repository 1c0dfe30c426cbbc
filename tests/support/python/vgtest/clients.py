# SPDX-License-Identifier: LGPL-2.1-or-later
"""clients - run libvirt's own clients, in English and with a time limit."""

import os
import socket
import subprocess

ENVIRONMENT = {**os.environ, "LC_ALL": "C"}


def attempt(*command, patience=30, stdin=None, environment=None):
    """Run a program to its end: subprocess.CompletedProcess with text. `environment` is added to ours."""
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
        env={**ENVIRONMENT, **(environment or {})},
        input=stdin,
    )


def run(*command, **options):
    """The standard output of a program that must succeed."""
    done = attempt(*command, **options)
    assert done.returncode == 0, f"{command}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def free_port():
    """A TCP port of the loopback address that nobody uses now, for programs that cannot choose one
    themselves.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
