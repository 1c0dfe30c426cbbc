# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_mutation - each 4-byte word of valid calls replaced by boundary values; the detector for what nobody
thought of.

Whatever the gate makes of such a frame, it answers with a well-formed reply or closes; its processes live
(the fixture
`gate` compares them); and what comes through is canonical and within the bounds that libvirt's code relies
on.
"""

import struct

from vgtest import table, wire
from vgtest.session import Session, distinct_calls

VALUES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class Prober:
    """Sends frames on one session after the other: a session that the gate closes is replaced."""

    def __init__(self, gate, back):
        self.gate, self.back, self.session = gate, back, None
        self.closed = self.refused = self.served = 0

    def probe(self, data):
        """Send one mutated frame and a valid call behind it; judge all that comes back."""
        if self.session is None:
            self.session = Session(self.gate, self.back)
        client = self.session.client
        client.log.clear()
        try:
            client.send(data)
            assert client.ask(wire.GET_LIB_VERSION).status == wire.OK
        except wire.Closed:
            assert not client.buffer, "closed inside a frame"
            self.closed += 1
            client.close()
            self.session = None
        for answer in client.log:
            if answer.type != wire.REPLY:
                assert answer.type in (wire.MESSAGE, wire.STREAM), f"{answer} for {data.hex()}"
            elif answer.status == wire.ERROR:
                assert answer.error()[2]
                self.refused += 1
            elif answer.proc != wire.GET_LIB_VERSION:
                table.check_payload(table.load()[answer.prog, answer.proc].result, answer.payload)
                self.served += 1

    def finish(self):
        if self.session:
            self.session.client.close()
        self.back.check_canonical()


def mutations(data, start):
    """Data with each aligned word from `start` on replaced by each value."""
    for at in range(start, len(data), 4):
        for value in VALUES:
            yield data[:at] + struct.pack(">I", value) + data[at + 4 :]


def test_every_word_of_the_header(gate, back):
    prober = Prober(gate, back)
    for proc in (wire.GET_HOSTNAME, wire.LOOKUP_BY_NAME, wire.VOL_UPLOAD):
        entry = table.procedure(proc)
        data = wire.call(proc, entry.arguments.make(True), 77).pack()
        for mutated in mutations(data[:28], 0):
            prober.probe(mutated + data[28:])
    prober.finish()
    assert prober.closed and prober.refused and prober.served


def test_every_word_of_the_arguments_of_every_shape(gate, back):
    prober = Prober(gate, back)
    for entry in distinct_calls():
        data = wire.call(entry.number, entry.arguments.make(True), 0, entry.prog).pack()
        for serial, mutated in enumerate(mutations(data, 28)):
            # A serial of its own for each: that of an open stream would be refused for this reason alone.
            prober.probe(mutated[:20] + wire.u32(1 << 20 | serial) + mutated[24:])
    prober.finish()
    assert prober.closed and prober.refused and prober.served


def test_every_word_of_the_prologue(gate, back):
    """CONNECT_OPEN, SUPPORTS_FEATURE and AUTH_LIST are answered or completed by the gate and the worker
    themselves.
    """
    prologue = [
        wire.call(wire.AUTH_LIST, b"", 0),
        wire.call(wire.SUPPORTS_FEATURE, wire.u32(10), 1),
        wire.call(wire.CONNECT_OPEN, wire.open_args("qemu:///system"), 2),
    ]
    for index, frame in enumerate(prologue):
        for mutated in mutations(frame.pack(), 0):
            with gate.connect() as client:
                client.send(b"".join(f.pack() for f in prologue[:index]) + mutated)
                try:
                    client.alive()
                    client.send(wire.call(wire.GET_LIB_VERSION, b"", 99))
                    client.until(lambda f: f.serial == 99)
                except wire.Closed:
                    pass
                assert not client.buffer
                for answer in client.log:
                    if answer.status == wire.ERROR:
                        answer.error()
    back.check_canonical()
    for seen in back.frames(wire.CONNECT_OPEN):
        assert seen.payload in (wire.open_args("qemu:///system", 0), wire.open_args("qemu:///system", 1))


NUMBERS = (0, 1, 2, 16, 1024, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 4198405)


def pairs(session, proc, build, allowed):
    """Send build(a, b) for all pairs; what comes through must satisfy allowed(a, b)."""
    for a in NUMBERS:
        for b in NUMBERS:
            frame = wire.call(proc, build(a, b), 7)
            session.client.send(frame)
            answer = session.client.answer(frame)
            passed = session.passed()
            assert passed in ([], [frame])
            if passed:
                assert allowed(
                    wire.signed(a), wire.signed(b)
                ), f"procedure {proc} came through with {a:#x} and {b:#x}"
            else:
                assert answer.status == wire.ERROR


def test_pairs_of_counts(gate, back):
    """Bounds of libvirt's own code: of each count, and of the product."""
    with Session(gate, back) as session:
        domain = wire.domain()
        pairs(
            session,
            20,
            lambda a, b: domain + wire.u32(a) + wire.u32(b),
            lambda a, b: 0 <= a <= 16384 and b >= 0 and a * b <= 8388608,
        )
        pairs(
            session,
            230,
            lambda a, b: domain + wire.u32(a) + wire.u32(b) + wire.u32(0),
            lambda a, b: 0 <= a <= 16384 and b >= 0 and a * b <= 8388608,
        )
        pairs(session, 227, lambda a, b: wire.u32(a) + wire.u32(b) + wire.u32(0), lambda a, b: 0 <= b <= 16)
        pairs(
            session,
            262,
            lambda a, b: domain + wire.u32(a) + wire.u32(0) + wire.u32(b) + wire.u32(0),
            lambda a, b: 0 <= a <= 16 and 0 <= b <= 128,
        )


def test_number_of_pages_and_cells(gate, back):
    """The product of the pages' number and cellCount, which wrapped in libvirt (CVE-2026-18917)."""
    with Session(gate, back) as session:
        for pages in (0, 1, 2, 1023, 1024):
            for cells in NUMBERS:
                frame = wire.call(
                    340,
                    wire.u32(pages) + wire.u32(4) * pages + wire.u32(0) + wire.u32(cells) + wire.u32(0),
                    7,
                )
                session.client.send(frame)
                session.client.answer(frame)
                if session.passed():
                    assert pages * cells <= 1024, f"{pages} pages of {cells} cells came through"
