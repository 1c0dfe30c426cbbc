# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_traffic - clients of all sorts at the same time: nobody's bytes may get lost, changed, or end up
with somebody else.

The sizes and the order come from a fixed seed, so that a failure comes back. What is sent is chosen so
that frames are
cut at every border that the processes have: TLS records, packets of 64 KiB, full sockets.
"""

import hashlib
import random
import threading
import time

from vgtest import wire
from vgtest.session import Session

SECONDS = 4.0


def echo_name(connection, frame):
    """LOOKUP_BY_NAME answers with the very name, so a reply shows whose it is."""
    reader = wire.Reader(frame.payload)
    connection.send(wire.reply(frame, wire.domain(reader.opaque())))


def event():
    payload = wire.u32(0) + wire.domain("event" * 100) + wire.u32(2) + wire.u32(0)
    return wire.Frame(wire.REMOTE, 1, wire.EVENT_CALLBACK_LIFECYCLE, wire.MESSAGE, 1, wire.OK, payload)


def pattern(seed, size):
    return random.Random(seed).randbytes(size)


def send_download(connection, frame):
    """Stream data made from the offset argument as seed; the length argument says how much. Events in
    between.
    """
    reader = wire.Reader(frame.payload)
    for _ in range(3):
        reader.text()
    seed, size = reader.u64(), reader.u64()
    connection.send(wire.reply(frame))

    def produce():
        rng, data = random.Random(seed), pattern(seed, size)
        while data:
            piece = rng.choice((1, 24, 1000, 16_384, 65_508, 65_536, 262_120))
            connection.send(wire.stream(frame, data[:piece]))
            data = data[piece:]
            if rng.random() < 0.2:
                connection.send(event())
        connection.send(wire.stream(frame))

    threading.Thread(target=produce, daemon=True).start()


class Uploads:
    """Takes uploads in, and knows what came by (connection, serial)."""

    def __init__(self, back):
        self.sums = {}
        back.on(wire.VOL_UPLOAD, self.begin)
        back.scripts["stream", wire.VOL_UPLOAD] = self.packet

    def begin(self, connection, frame):
        self.sums[connection, frame.serial] = hashlib.sha256()
        connection.send(wire.reply(frame))

    def packet(self, connection, frame):
        if frame.status == wire.CONTINUE:
            self.sums[connection, frame.serial].update(frame.payload)
        else:
            connection.send(wire.stream(frame, b"", wire.OK))


class Visitor:
    """One client that does one thing after the other, pipelined where that is allowed."""

    def __init__(self, number, gate, back, uploads):
        self.rng, self.uploads = random.Random(number), uploads
        self.session = Session(gate, back)
        self.client, self.done = self.session.client, 0

    def volume(self, seed, size):
        return wire.volume("p", "v", "k") + wire.u64(seed) + wire.u64(size) + wire.u32(0)

    def lookups(self):
        names = [
            b"%d-%d-" % (self.done, n) + b"n" * self.rng.choice((0, 3, 100, 5000, 65_000, 200_001))
            for n in range(self.rng.randrange(1, 12))
        ]
        calls = {self.client.serial + n: name for n, name in enumerate(names)}
        frames = b"".join(
            wire.call(wire.LOOKUP_BY_NAME, wire.string(name), serial).pack() for serial, name in calls.items()
        )
        self.client.serial += len(names)
        self.send_and_read(frames, calls)
        while calls:
            self.take(calls)

    def send_and_read(self, data, calls):
        """Both at once: a client that only writes would be stopped by replies that nobody reads."""
        for at in range(0, len(data), 50_000):
            try:
                self.client.send(data[at : at + 50_000], patience=0.5)
            except TimeoutError as why:
                raise AssertionError("the gate stopped reading though few calls are open") from why
            while self.pending():
                self.take(calls)

    def pending(self):
        try:
            self.client.fill(time.monotonic() + 0.001)
        except TimeoutError:
            pass
        size = int.from_bytes(self.client.buffer[:4], "big")
        return len(self.client.buffer) >= 4 and len(self.client.buffer) >= size

    def take(self, calls):
        frame = self.client.receive()
        if frame.type == wire.REPLY:
            assert frame.payload == wire.domain(calls.pop(frame.serial))
        else:
            assert frame == event() or frame.prog == wire.KEEPALIVE

    def download(self):
        seed, size = self.rng.randrange(1 << 40), self.rng.choice((0, 1, 70_000, 900_000, 3_000_000))
        call = self.client.start(wire.VOL_DOWNLOAD, self.volume(seed, size))
        got, lazy = bytearray(), self.rng.random() < 0.3
        while True:
            frame = self.client.receive()
            if frame.type == wire.STREAM:
                assert frame.serial == call.serial
                if not frame.payload:
                    break
                got += frame.payload
                if lazy and self.rng.random() < 0.2:
                    time.sleep(0.01)
            else:
                assert frame == event() or frame.prog == wire.KEEPALIVE or frame.serial == call.serial
        assert bytes(got) == pattern(seed, size)
        self.client.send(wire.stream(call, b"", wire.OK))
        self.client.until(lambda f: f.type == wire.STREAM and f.status == wire.OK)

    def upload(self):
        seed, size = self.rng.randrange(1 << 40), self.rng.choice((0, 1, 70_000, 900_000, 3_000_000))
        call = self.client.start(wire.VOL_UPLOAD, self.volume(seed, size))
        assert self.client.answer(call).status == wire.OK
        data = pattern(seed, size)
        while data:
            piece = self.rng.choice((1, 1000, 16_384, 65_508, 262_120, 1_000_000))
            self.client.send(wire.stream(call, data[:piece]))
            data = data[piece:]
            if self.rng.random() < 0.2:
                self.client.send(wire.keepalive())
        self.client.send(wire.stream(call, b"", wire.OK))
        self.client.until(lambda f: f.type == wire.STREAM and f.status == wire.OK)
        came = self.uploads.sums.pop((self.session.upstream, call.serial))
        assert came.digest() == hashlib.sha256(pattern(seed, size)).digest()

    def mistakes(self):
        for _ in range(self.rng.randrange(1, 30)):
            call = self.client.start(self.rng.choice((0, 107, 23, 5000)), b"\xff\xff")
            assert self.client.answer(call).status == wire.ERROR

    def pings(self):
        self.client.send(wire.keepalive().pack() * 50)
        for _ in range(50):
            self.client.until(lambda f: f.prog == wire.KEEPALIVE)

    def work(self, until, failures):
        try:
            while time.monotonic() < until:
                self.rng.choice(
                    (self.lookups, self.lookups, self.download, self.upload, self.mistakes, self.pings)
                )()
                self.client.log.clear()
                self.done += 1
        except Exception as why:
            failures.append(why)


def test_eight_clients_with_mixed_traffic(gate, back):
    back.on(wire.LOOKUP_BY_NAME, echo_name)
    back.on(wire.VOL_DOWNLOAD, send_download)
    uploads, failures = Uploads(back), []
    visitors = [Visitor(number, gate, back, uploads) for number in range(8)]
    until = time.monotonic() + SECONDS
    threads = [threading.Thread(target=v.work, args=(until, failures)) for v in visitors]
    for thread in threads:
        thread.start()
    rude = random.Random(99)
    while time.monotonic() < until:  # others come, break something, and go
        session = Session(gate, back)
        call = session.client.start(
            wire.VOL_DOWNLOAD, wire.volume("p", "v", "k") + wire.u64(1) + wire.u64(900_000) + wire.u32(0)
        )
        if rude.random() < 0.5:
            session.client.answer(call)
        session.client.send(rude.randbytes(rude.randrange(1, 300)))
        (session.client.reset if rude.random() < 0.5 else session.client.close)()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a client waits for ever"
    assert not failures, failures[0]
    assert all(v.done >= 2 for v in visitors), [v.done for v in visitors]
    for visitor in visitors:
        visitor.client.close()
