# SPDX-License-Identifier: LGPL-2.1-or-later
"""conftest - connections that wait for the shipped deadlines from the first hostile test on, so that nobody
waits for them.
"""

import os
import pathlib
import select
import signal
import threading
import time

import pytest

from vgtest import wire


class Waiter:
    """Notes when the peer closes a socket."""

    def __init__(self, sock):
        self.sock, self.when = sock, None
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        deadline = time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                select.select([self.sock], [], [], 1.0)
                try:
                    if not self.sock.recv(4096):
                        break
                except (BlockingIOError, InterruptedError):
                    continue
                except OSError as error:
                    if "want" in str(error).lower() or "did not complete" in str(error).lower():
                        continue
                    break
        finally:
            self.when = time.monotonic()
            self.sock.close()

    def ended(self):
        self.thread.join(60)
        return self.when


@pytest.fixture(scope="session")
def slow_clients(scratch, running_suite):
    """(time, silent connection, client nobody decides about, client with half a frame): all begun now, of a
    suite of their own.
    """
    with running_suite.sibling(scratch / "untouched") as untouched:
        partial = untouched.connect()
        (doorman,) = untouched.pids("virtgate-doorman")
        os.kill(doorman, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            silent = wire.connect_tcp(untouched.port)
            silent.setblocking(False)
            undecided = untouched.connect(confirm=False)
            partial.send(wire.call(wire.GET_HOSTNAME).pack()[:20])
            yield begun, Waiter(silent), Waiter(undecided.sock), Waiter(partial.sock)
        finally:
            os.kill(doorman, signal.SIGCONT)


@pytest.hookimpl(trylast=True)  # behind the choice by -k
def pytest_collection_modifyitems(items):
    """Tests of slow_clients run last; the first hostile test of all makes them."""
    last = [item for item in items if "slow_clients" in item.fixturenames]
    items[:] = [item for item in items if item not in last] + last
    hostile = [item for item in items if item.path.parent == pathlib.Path(__file__).parent]
    if last and hostile[0] not in last:
        hostile[0].fixturenames.append("slow_clients")
