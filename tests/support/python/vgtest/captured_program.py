# SPDX-License-Identifier: LGPL-2.1-or-later
"""captured_program - a program of others (programs.d) in whose place a test stands.

    with captured.Captor(scratch / "programs", "program", make=captured_program.Program) as captor:
        suite.programs = captor.programs
        announce(suite, "liar", captured_program.executable(captor), schema)
        …
        program = captor.take(lambda program: program.name == "liar")
        attached = program.attached().serve_opening()
"""

import pathlib
import re
import socket
import subprocess
from typing import NamedTuple

from vgtest import captured, wire
from vgtest.suite import BUILD

SERVICE, ATTACH = 0x5647000E, 1
INVENTORY_X = pathlib.Path(__file__).parents[4] / "examples" / "inventory" / "inventory.x"


class Attached(NamedTuple):
    """One connection of a captured program: whom it is for, and the program's end."""

    identity: str
    read_only: bool
    session: int
    client: wire.Client

    def answer_opening(self, result=b""):
        """Answers the next call of a worker that opens a connection; the call."""
        call = self.client.receive()
        assert call.prog == wire.REMOTE, call
        self.client.send(wire.reply(call, result))
        return call

    def serve_opening(self):
        """Answers all that a worker asks before the client's own calls."""
        asked = [self.answer_opening(result).proc for result in (wire.u32(1) + wire.u32(0), b"", b"")]
        assert asked == [wire.AUTH_LIST, wire.CONNECT_OPEN, wire.SET_IDENTITY]
        return self


class Program(captured.Captured):
    """A program that was taken over. It says that it serves."""

    def __init__(self, leash, descriptors):
        super().__init__(leash, descriptors)
        reader = wire.Reader(self.config)
        reader.u32()  # the level of its log
        self.name, self.uri, self.identity = reader.text(), reader.text(), reader.text()
        self.say_ready()

    def attached(self, patience=wire.PATIENCE):
        """The next connection that it is given."""
        frame, descriptors = self.control.message(SERVICE, ATTACH, patience)
        reader = wire.Reader(frame.payload)
        identity, read_only, session = reader.text(), reader.flag(), reader.u64()
        reader.finish()
        (descriptor,) = descriptors
        return Attached(identity, read_only, session, wire.Client(socket.socket(fileno=descriptor)))


def executable(captor):
    """What a file in programs.d names, so that its processes come to the captor."""
    return captor.programs / f"virtgate-{captor.role}"


def compile_schema(source, directory, changes=()):
    """The path of the schema of the .x file `source`, in which texts are replaced by others: pairs."""
    directory.mkdir(parents=True)
    text = source.read_text()
    for before, after in changes:
        text = text.replace(before, after)
    (name,) = re.findall(r"^program (\w+) {", text, re.M)
    path = directory / f"{name.lower()}.x"
    path.write_text(text)
    subprocess.run([BUILD / "xdrgen", "--out", directory, path], check=True, capture_output=True, timeout=60)
    return path.with_suffix(".schema")


def announce(suite, name, program, schema, more=""):
    """Write NAME.toml; for the next start."""
    directory = suite.directory / "etc" / "programs.d"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.toml").write_text(f'schema = "{schema}"\nexecutable = "{program}"\n{more}')


def announce_inventory(suite, threads=3):
    """The real program of examples/inventory, one process for all; its items are in the suite's directory "items"."""
    items = suite.directory / "items"
    items.mkdir(parents=True)
    items.chmod(0o777)  # for whatever user it gets
    more = f'shared = true\nthreads = {threads}\ndirectories = ["{items}"]\n'
    announce(suite, "inventory", BUILD / "inventory", BUILD / "gen" / "proto" / "inventory.schema", more)
