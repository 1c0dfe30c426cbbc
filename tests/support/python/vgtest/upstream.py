# SPDX-License-Identifier: LGPL-2.1-or-later
"""upstream - a UNIX socket server that speaks the server side of libvirt as scripted, and keeps every byte
that it got.

A call is answered by the script of its procedure if a test set one with `on`, else by the smallest valid
result. The record is
what the hostile tests judge: no byte of a refused call may be in it, and what is in it must be canonical.
"""

import os
import re
import socket
import threading
import time

from vgtest import table, wire


class Connection:
    """One accepted connection: frames that arrived (in order), and ways to send."""

    def __init__(self, sock, owner):
        self.sock, self.owner = sock, owner
        self.frames, self.raw, self.closed = [], bytearray(), False
        self.uri, self.lock = None, threading.Lock()
        self.reading = threading.Event()
        self.reading.set()

    def send(self, data):
        """Send a frame or raw bytes; a peer that is gone is no error."""
        if isinstance(data, wire.Frame):
            data = data.pack()
        try:
            with self.lock:
                self.sock.sendall(data)
        except OSError:
            pass

    def die(self):
        """Close at once, as a daemon that was killed."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class RecordingUpstream:
    """Listens on `path`. Use as a context manager; `forget()` between tests."""

    def __init__(self, path):
        self.path, self.connections, self.scripts = str(path), [], {}
        self.changed = threading.Condition()
        self.held, self.threads, self.failures = [], [], []
        self.listener = None
        self.start()

    # --- life ---

    def start(self):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o777)
        self.listener.listen(64)
        self._spawn(self._accept, self.listener)

    def stop(self):
        """Close the listener and all connections: a daemon that died. `start()` brings it back."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for connection in list(self.connections):
            connection.reading.set()
            connection.die()
        for thread in self.threads:
            thread.join(5)
            assert not thread.is_alive(), "a thread of the recording upstream hangs"
        self.threads.clear()
        os.unlink(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def forget(self):
        """Drop record and scripts; connections that are open stay, with an empty record."""
        with self.changed:
            self.scripts.clear()
            self.held.clear()
            self.failures.clear()
            self.connections[:] = [c for c in self.connections if not c.closed]
            for connection in self.connections:
                connection.reading.set()
                connection.frames.clear()
                connection.raw.clear()

    # --- scripts: functions (connection, frame), run by the connection's own thread ---

    def on(self, proc, script, prog=wire.REMOTE):
        self.scripts[prog, proc] = script

    def hold(self, proc, prog=wire.REMOTE):
        """Do not answer calls of proc; `release` answers those that are held."""
        self.on(proc, self._hold, prog)

    def _hold(self, connection, frame):
        with self.changed:
            self.held.append((connection, frame))
            self.changed.notify_all()

    def wait_held(self, count, patience=wire.PATIENCE):
        self.wait(lambda: len(self.held) >= count, patience)

    def release(self, order=lambda held: held, payload=None):
        """Answer the held calls, in the order that order(list) gives, and hold none of them any more."""
        with self.changed:
            held, self.held = self.held, []
        for connection, frame in order(held):
            connection.send(wire.reply(frame, minimal_result(frame) if payload is None else payload))

    # --- the record ---

    def wait(self, condition, patience=wire.PATIENCE):
        with self.changed:
            assert self.changed.wait_for(
                condition, patience
            ), "the upstream did not see in time what the test waits for"

    def frames(self, proc=None):
        """All frames of all connections, or those of one procedure of the remote program."""
        with self.changed:
            return [
                f
                for c in self.connections
                for f in c.frames
                if proc is None or (f.prog == wire.REMOTE and f.proc == proc)
            ]

    def wait_frames(self, proc, count=1, patience=wire.PATIENCE):
        self.wait(
            lambda: sum(f.proc == proc and f.prog == wire.REMOTE for c in self.connections for f in c.frames)
            >= count,
            patience,
        )
        return self.frames(proc)

    def bytes(self):
        with self.changed:
            return b"".join(bytes(c.raw) for c in self.connections)

    def check_canonical(self):
        """Raise unless all that arrived since `forget` came in whole canonical frames."""
        if self.failures:
            raise self.failures[0]

    def session(self, patience=wire.PATIENCE):
        """The newest connection on which CONNECT_OPEN was answered and that is open."""

        def newest():
            return next((c for c in reversed(self.connections) if c.uri is not None and not c.closed), None)

        self.wait(newest, patience)
        return newest()

    # --- threads ---

    def _spawn(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            connection = Connection(sock, self)
            with self.changed:
                self.threads[:] = [t for t in self.threads if t.is_alive()]
                self.connections.append(connection)
                self.changed.notify_all()
            self._spawn(self._serve, connection)

    def _serve(self, connection):
        judge, buffer = table.ConnectionJudge(), bytearray()
        try:
            while True:
                connection.reading.wait()
                piece = connection.sock.recv(1 << 18)
                if not piece:
                    break
                with self.changed:
                    connection.raw += piece
                buffer += piece
                while len(buffer) >= 4 and len(buffer) >= (length := int.from_bytes(buffer[:4], "big")):
                    if not 28 <= length <= wire.MAX_LENGTH_WORD:
                        raise table.NotCanonical(f"length word {length:#x}")
                    frame = wire.unpack(buffer[:length])
                    del buffer[:length]
                    judge.see(frame)
                    with self.changed:
                        connection.frames.append(frame)
                        self.changed.notify_all()
                    self._answer(connection, frame)
        except OSError:
            pass
        except Exception as why:  # kept for check_canonical: an exception in a thread fails no test by itself
            self.failures.append(why)
        finally:
            connection.sock.close()
            with self.changed:
                connection.closed = True
                self.changed.notify_all()

    def _answer(self, connection, frame):
        if frame.prog == wire.KEEPALIVE:
            if frame.proc == wire.PING:
                connection.send(wire.keepalive(wire.PONG))
            return
        if (frame.prog, frame.proc) in self.scripts and frame.type == wire.CALL:
            self.scripts[frame.prog, frame.proc](connection, frame)
        elif ("stream", frame.proc) in self.scripts and frame.type != wire.CALL:
            self.scripts["stream", frame.proc](connection, frame)
        elif frame.type == wire.CALL:
            if frame.proc == wire.CONNECT_OPEN and frame.prog == wire.REMOTE:
                reader = wire.Reader(frame.payload)
                connection.uri = reader.maybe(reader.text) or ""
            connection.send(wire.reply(frame, minimal_result(frame)))
            if frame.proc == wire.CONNECT_CLOSE and frame.prog == wire.REMOTE:
                connection.die()
        elif frame.type == wire.STREAM and frame.status in (wire.OK, wire.ERROR):
            connection.send(wire.stream(frame, b"", wire.OK))


def minimal_result(frame):
    """The smallest valid result of a call; features are supported, and authentication is none."""
    if frame.prog == wire.REMOTE and frame.proc == wire.SUPPORTS_FEATURE:
        return wire.u32(1)
    if frame.prog == wire.REMOTE and frame.proc == wire.AUTH_LIST:
        return wire.u32(1) + wire.u32(0)
    return table.load()[frame.prog, frame.proc].result.make(False)


def poll(condition, patience=wire.PATIENCE, what="what the test waits for"):
    """The first true value of condition(), asked every 10 ms; fails after `patience` seconds.

    `what` is the text of the failure, or a function that makes it.
    """
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen in {patience} s: {what() if callable(what) else what}")
        time.sleep(0.01)
    return value


def await_log(source, text, start=0):
    """Waits until what `source` has logged (its log(), from `start` on) contains `text`, or matches it if that is a compiled
    regular expression. A line that a process writes before it answers is relayed, and may be read only after the answer.
    """
    find = text.search if isinstance(text, re.Pattern) else lambda log: text in log
    poll(lambda: find(source.log()[start:]), what=lambda: f"{text!r} in the log:\n{source.log()[-3000:]}")
