# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools - the virtgate commands that speak to servers, as somebody runs them: in a pipe, or on a terminal of its own."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

from vgtest import suite, upstream
from vgtest.clients import attempt

PROGRAM = str(suite.BUILD / "virtgate")
REFUSED, USAGE, UNREACHABLE, SYSTEM, DENIED, INTERRUPTED = 1, 64, 69, 71, 77, 130
# Nothing of the machine's own settings.
ENVIRONMENT = {"HOME": "/nonexistent", "LIBVIRT_DEFAULT_URI": "", "VIRTGATE_URI": "", "XDG_CONFIG_HOME": ""}


def virtgate(*words, uri=None, **options):
    """subprocess.CompletedProcess of a command; `uri` goes behind its name."""
    where = ["-c", uri] if uri else []
    options["environment"] = ENVIRONMENT | options.get("environment", {})
    return attempt(PROGRAM, words[0], *where, *words[1:], **options)


def answer(*words, **options):
    """The standard output of one that must succeed."""
    done = virtgate(*words, **options)
    assert done.returncode == 0, f"{words}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def call(uri, procedure, arguments=None, **options):
    """What "virtgate call" prints, read."""
    words = [] if arguments is None else [json.dumps(arguments)]
    return json.loads(answer("call", procedure, *words, uri=uri, **options))


def options_of(*command):
    text = attempt(PROGRAM, "help", *command).stdout
    return set(re.findall(r"^ +(?:-\w, ?)?(--[a-z0-9-]+)", text, re.MULTILINE)) - {"--help"}


class Background:
    """A command that runs while the test does something; its lines of standard output as they come."""

    def __init__(self, *words, stdin=subprocess.DEVNULL):
        self.process = subprocess.Popen(
            [PROGRAM, *map(str, words)], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | ENVIRONMENT,
        )  # fmt: skip
        os.set_blocking(self.process.stdout.fileno(), False)
        self.output = ""

    def read(self):
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self.process.stdout.fileno(), 65536):
                self.output += piece.decode()
        return self.output

    def lines(self):
        """The whole lines so far."""
        return self.read().split("\n")[:-1]

    def end(self, number=None):
        """(exit status, rest of standard error), after signal `number`."""
        if number is not None:
            self.process.send_signal(number)
        status = self.process.wait(30)
        self.read()
        return status, self.process.stderr.read().decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def _take_terminal():
    """In the child: the terminal is the one that /dev/tty is; and ^C is not ignored, as it is by what a shell runs behind it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A command on a terminal of its own; `shown` is all that it has printed."""

    def __init__(self, *words, columns=100, stdout=None):
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, columns))
        self.slave, self.before, self.shown = slave, termios.tcgetattr(slave), b""
        self.process = subprocess.Popen(
            [PROGRAM, *map(str, words)], stdin=slave, stdout=slave if stdout is None else stdout, stderr=slave, start_new_session=True,
            env=os.environ | ENVIRONMENT | {"TERM": "xterm"},
            preexec_fn=_take_terminal,
        )  # fmt: skip

    def read(self):
        while select.select([self.master], [], [], 0.01)[0]:
            with contextlib.suppress(OSError):
                self.shown += os.read(self.master, 65536)
        return self.shown

    def wait_for(self, text, patience=60):
        upstream.poll(lambda: text in self.read(), patience, lambda: f"{text!r} in {self.shown!r}")

    def type(self, text):
        os.write(self.master, text)

    def is_raw(self):
        """No echo, no lines, no signals."""
        return not termios.tcgetattr(self.slave)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)

    def is_as_before(self):
        return termios.tcgetattr(self.slave) == self.before

    def end(self, number=None):
        """The exit status, after signal `number`."""
        if number is not None:
            self.process.send_signal(number)
        deadline = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()  # it waits until what it prints last is read
        self.read()
        return self.process.wait(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)
