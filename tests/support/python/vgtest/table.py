# SPDX-License-Identifier: LGPL-2.1-or-later
"""table - what each procedure carries (wire_table.txt): makes valid payloads, and judges whether a payload is
canonical.

Canonical means that there is one reading: flags are 0 or 1, padding is zero, no string holds a NUL, no count
is above its bound, no byte is left.
"""

import functools
import pathlib
import re
import struct

from vgtest import wire


class NotCanonical(AssertionError):
    """The payload has two readings, or none."""


class Shape:
    """One type: scalar, bytes, optional, array, fixed, struct or union."""

    def __init__(self, kind, size=0, parts=()):
        self.kind, self.size, self.parts = kind, size, parts

    def check(self, r):
        """Move the wire.Reader past one value, or raise NotCanonical (AssertionError)."""
        if self.kind in "iuc":
            r.u32()
        elif self.kind in "hHd":
            r.u64()
        elif self.kind == "b":
            r.flag()
        elif self.kind == "O":
            r.take(self.size)
        elif self.kind in "so":
            raw = r.opaque()
            assert len(raw) <= self.size, f"{len(raw)} bytes where {self.size} are allowed"
            assert self.kind == "o" or b"\0" not in raw, f"NUL in a string {raw[:60]!r}"
        elif self.kind == "?":
            if r.flag():
                self.parts[0].check(r)
        elif self.kind == "<":
            count = r.u32()
            assert count <= self.size, f"{count} elements where {self.size} are allowed"
            for _ in range(count):
                self.parts[0].check(r)
        elif self.kind == "[":
            for _ in range(self.size):
                self.parts[0].check(r)
        elif self.kind == "{":
            for part in self.parts:
                part.check(r)
        else:
            arm = r.i32()
            assert arm in self.parts, f"union arm {arm}"
            self.parts[arm].check(r)

    def make(self, full, number=1, flag=1, pad=b"\0\0\0"):
        """A valid value: with full, optionals are there and arrays have two elements; numbers are `number`.

        Other values of flag and pad make the other readings of the same value, which a lenient decoder takes.
        """

        def inner(shape, *_):
            return shape.make(full, number, flag, pad)

        if self.kind in "iuc":
            return wire.u32(number)
        if self.kind in "hH":
            return wire.u64(number)
        if self.kind == "d":
            return struct.pack(">d", number)
        if self.kind == "b":
            return wire.u32(number & 1 and flag)
        if self.kind == "O":
            return bytes(range(1, 1 + self.size))
        if self.kind == "s":
            return wire.string("hello", pad)
        if self.kind == "o":
            return wire.string(b"\x01" if full else b"", pad)
        if self.kind == "?":
            return wire.optional(inner(self.parts[0]) if full else None, flag)
        if self.kind == "<":
            count = min(2, self.size) if full else 0
            return wire.u32(count) + b"".join(inner(self.parts[0]) for _ in range(count))
        if self.kind == "[":
            return b"".join(inner(self.parts[0]) for _ in range(self.size))
        if self.kind == "{":
            return b"".join(map(inner, self.parts))
        arm = 7 if full and 7 in self.parts else min(self.parts)
        return wire.u32(arm) + inner(self.parts[arm])

    def describe(self):
        """The shape as text; equal for equal shapes."""
        parts = self.parts.items() if isinstance(self.parts, dict) else enumerate(self.parts)
        return f"{self.kind}{self.size}" + "".join(f"({key}{part.describe()})" for key, part in parts)


class Procedure:
    """A line of the table."""

    def __init__(self, program, number, kind, name, stream, arguments, result):
        self.prog, self.number, self.kind, self.name, self.stream = (
            wire.PROGRAMS[program],
            number,
            kind,
            name,
            stream,
        )
        self.program, self.arguments, self.result = program, Shape("{", 0, arguments), Shape("{", 0, result)

    def __repr__(self):
        return f"{self.program}.{self.name}({self.number})"


def _shapes(text, macros):
    """The list of shapes in text; macros maps @names to shapes."""
    tokens = re.findall(r"@\w+|[suiohHdcbO]\d*|\d+[<\[]|\d+:|[?{}()>\]]", text)
    assert "".join(tokens) == re.sub(r"\s", "", text), text
    at = 0

    def take():
        nonlocal at
        at += 1
        return tokens[at - 1]

    def one():
        token = take()
        if token[0] == "@":
            return macros[token[1:]]
        if token == "?":
            return Shape("?", 0, (one(),))
        if token == "{":
            parts = []
            while tokens[at] != "}":
                parts.append(one())
            take()
            return Shape("{", 0, tuple(parts))
        if token == "(":
            arms = {}
            while tokens[at] != ")":
                number = int(take()[:-1])
                arms[number] = one()
            take()
            return Shape("(", 0, arms)
        if token[-1] in "<[":
            shape = Shape(token[-1], int(token[:-1]), (one(),))
            take()
            return shape
        size = int(token[1:]) if token[1:] else wire.MAX_STRING
        return Shape(token[0], size)

    shapes = []
    while at < len(tokens):
        shapes.append(one())
    return tuple(shapes)


@functools.lru_cache(maxsize=None)
def load():
    """{(program number, procedure number): Procedure} of all lines."""
    macros, procedures = {}, {}
    for line in (pathlib.Path(__file__).parent / "wire_table.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if " = " in line:
            name, text = line.split(" = ")
            (macros[name],) = _shapes(text, macros)
            continue
        head, body = line.split(" :", 1)
        program, number, kind, name, stream = head.split()
        arguments, result = body.split("->")
        entry = Procedure(
            program, int(number), kind, name, stream, _shapes(arguments, macros), _shapes(result, macros)
        )
        procedures[entry.prog, entry.number] = entry
    return procedures


def procedure(number, prog=wire.REMOTE):
    return load()[prog, number]


def number(name, program="remote"):
    """The number of a procedure given by name."""
    for entry in load().values():
        if entry.name == name and entry.program == program:
            return entry.number
    raise KeyError(name)


def check_payload(shape, payload):
    """Raise NotCanonical unless payload is one canonical value of the shape and nothing more."""
    reader = wire.Reader(payload)
    try:
        shape.check(reader)
        reader.finish()
    except AssertionError as why:
        raise NotCanonical(str(why)) from None


def check_call(frame):
    """Raise NotCanonical unless the frame is a canonical call of a known procedure."""
    if (frame.prog, frame.proc) not in load():
        raise NotCanonical(f"no such procedure: {frame}")
    entry = load()[frame.prog, frame.proc]
    if entry.kind != "call" or frame.vers != 1 or frame.status != wire.OK or frame.type != wire.CALL:
        raise NotCanonical(f"not a call: {frame}")
    try:
        check_payload(entry.arguments, frame.payload)
    except NotCanonical as why:
        raise NotCanonical(f"{entry}: {why}: {frame.payload[:200].hex()}") from None


class ConnectionJudge:
    """Judges all frames of one connection as an upstream must see them: canonical calls, and packets of
    streams that were opened.
    """

    def __init__(self):
        self.opened = {}

    def see(self, frame):
        if frame.type == wire.CALL:
            check_call(frame)
            if load()[frame.prog, frame.proc].stream != "-":
                self.opened[frame.prog, frame.proc, frame.serial] = True
            return
        if frame.prog == wire.KEEPALIVE:
            if frame[1:] not in (wire.keepalive(wire.PING)[1:], wire.keepalive(wire.PONG)[1:]):
                raise NotCanonical(f"keepalive: {frame}")
            return
        if frame.type not in (wire.STREAM, wire.HOLE):
            raise NotCanonical(f"frame of a type that a client never sends: {frame}")
        if (frame.prog, frame.proc, frame.serial) not in self.opened:
            raise NotCanonical(f"packet for no stream: {frame}")
        if frame.type == wire.HOLE:
            if frame.status != wire.CONTINUE or len(frame.payload) != 12:
                raise NotCanonical(f"hole: {frame}")
            length, flags = struct.unpack(">qI", frame.payload)
            if length <= 0 or flags != 0:
                raise NotCanonical(f"hole of {length} bytes, flags {flags}")
        elif frame.status not in (wire.OK, wire.ERROR, wire.CONTINUE):
            raise NotCanonical(f"stream status: {frame}")
        elif frame.status != wire.CONTINUE and frame.payload:
            raise NotCanonical(f"payload on the end of a stream: {frame}")
