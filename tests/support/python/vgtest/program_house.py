# SPDX-License-Identifier: LGPL-2.1-or-later
"""program_house - a suite with three programs of others (programs.d) in whose place a test stands.

"liar" lies; "honest" is another program of the same identities; "common" is one process for all of them. Their schemas are those
of examples/inventory, with other numbers.
"""

import contextlib

from vgtest import captured, captured_program, wire
from vgtest.captured_house import House

URI, LIAR, HONEST, COMMON = "qemu:///system", "liar:///", "honest:///", "common:///"
INVENTORY, REGISTER, TOGETHER = 0x20494E56, 0x20524547, 0x20544F47
VERSION = 2
LIST_ITEMS, GET_ITEM, SET_ITEM, EXPORT, IMPORT, WATCH, ITEM_CHANGED = 1, 2, 3, 6, 7, 8, 10
ITEMS_MAX, NAME_MAX, TAG_MAX = 4096, 64, 256
# Seconds that a worker waits for a program while a connection is opened: longer than it is patient with a gate that is not read.
TIMEOUT = 6
IDENTITIES = 60
SETTLED = ("netd", "doorman", "workerd", "auditor", "gate-0", "gate-1", "keeper-0", "keeper-1", "worker-admin")


def captive(number):
    return f"captive{number:02}"


POLICY = """
[role.programs]
allow = ["proc:inventory.*", "event:inventory.*", "proc:register.*", "event:register.*", "proc:together.*"]
[role.look]
allow = ["@connect-basic", "proc:inventory.GET_ITEM"]
[[binding]]
identity = "admin"
role = "programs"
[identity.guest]
x509 = { CN = "guest", O = "virtgate up" }
[[binding]]
identity = "guest"
role = "look"
""" + "".join(
    f"""
[identity.{captive(number)}]
x509 = {{ CN = "{captive(number)}", O = "virtgate up" }}
[[binding]]
identity = "{captive(number)}"
role = "admin"
[[binding]]
identity = "{captive(number)}"
role = "programs"
"""
    for number in range(IDENTITIES)
)


class ProgramHouse(House):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.fresh = (captive(number) for number in range(IDENTITIES))

    def take(self, name, identity=""):
        return self.captor.take(lambda program: (program.name, program.identity) == (name, identity))

    def check_others(self):
        """A session of libvirt's and one of another program go on, new clients come in, and the processes stay the same."""
        assert self.witness.ask(wire.GET_LIB_VERSION).status == wire.OK
        call = self.other.call(REGISTER)
        self.other.program.send(wire.reply(call, ITEM))
        assert self.other.client.answer(call).payload == ITEM
        with self.suite.open(URI) as late:
            assert late.ask(wire.GET_LIB_VERSION).status == wire.OK
        self.check_settled()

    @contextlib.contextmanager
    def captured_liar(self):
        """The liar's process that serves "admin". Nothing that it says to clients ends it."""
        with self.suite.connect() as client:
            client.ask(wire.AUTH_LIST)
            opening = client.start(wire.CONNECT_OPEN, wire.open_args(LIAR))
            taken = self.take("liar", "admin")
            taken.attached().serve_opening().client.close()
            client.answer(opening)
            yield taken
        self.captor.drop(taken)


@contextlib.contextmanager
def open_house(scratch, running_suite, name):
    """A ProgramHouse in a directory of that name. `witness` is a client of libvirt's, `other` one of "honest"."""
    renamed = [("INVENTORY", "REGISTER"), ("0x20494e56", hex(REGISTER))]
    together = [("INVENTORY", "TOGETHER"), ("0x20494e56", hex(TOGETHER))]
    with captured.Captor(scratch / f"{name}-programs", "program", make=captured_program.Program) as captor:
        settings = {"netd.gates": 2, "workerd.upstream_timeout": TIMEOUT}
        suite = running_suite.sibling(scratch / name, settings)
        suite.programs = captor.programs
        executable = captured_program.executable(captor)
        for program, changes, more in (("liar", [], ""), ("honest", renamed, ""), ("common", together, "shared = true\n")):
            schema = captured_program.compile_schema(captured_program.INVENTORY_X, scratch / f"{name}-{program}", changes)
            captured_program.announce(suite, program, executable, schema, more)
        suite.add_policy("20-captives.toml", POLICY)
        with suite, suite.open(URI) as witness:
            made = ProgramHouse(suite, captor)
            made.witness = witness
            with Told(made, "honest", "admin", HONEST) as other:
                made.other = other
                made.settle(SETTLED)
                yield made


class Told:
    """A client behind a real gate and a real worker with an open connection to a program, and the program's end of it.

    `program`: the captured process, or the name of one that this starts.
    """

    def __init__(self, house, program, identity="admin", uri=LIAR, client=None):
        self.client = client or house.suite.connect()
        self.client.ask(wire.AUTH_LIST)
        opening = self.client.start(wire.CONNECT_OPEN, wire.open_args(uri))
        self.process = house.take(program, identity) if isinstance(program, str) else program
        self.attached = self.process.attached().serve_opening()
        self.program = self.attached.client
        answer = self.client.answer(opening)
        assert answer.status == wire.OK, answer.error()
        self.client.log.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.program.close()

    def call(self, prog=INVENTORY, proc=GET_ITEM, payload=wire.string("x")):
        """A call of the client, which has reached the program."""
        call = wire.call(proc, payload, self.client.serial, prog, VERSION)
        self.client.serial += 1
        self.client.send(call)
        assert self.program.receive() == call
        return call

    def judge(self, call):
        """After the program has hung up: the client got an error for its call, and nothing that it could not expect."""
        self.program.close()
        self.client.rest()
        assert [f.status for f in judge(self.client, call)] == [wire.ERROR]


def make_item(name="real", tag="tag"):
    return wire.string(name) + wire.string(tag)


ITEM = make_item()


def read_item(reader):
    assert len(reader.text()) <= NAME_MAX and len(reader.text()) <= TAG_MAX


def event(payload=None, prog=INVENTORY, **changes):
    payload = wire.u32(0) + ITEM if payload is None else payload
    return wire.Frame(prog, VERSION, ITEM_CHANGED, wire.MESSAGE, 1, wire.OK, payload)._replace(**changes)


def judge(client, call):
    """All frames that the client got must be what it could expect of this program: the reply to its call, at most once, and
    events that its schema has. The replies.
    """
    replies = [f for f in client.log if f.type == wire.REPLY and f.serial == call.serial]
    assert not client.buffer, f"closed inside a frame: {bytes(client.buffer).hex()}"
    assert len(replies) <= 1, replies
    for answer in replies:
        assert (answer.prog, answer.vers, answer.proc) == (call.prog, call.vers, call.proc)
        if answer.status == wire.ERROR:
            assert answer.error()[2]
        else:
            reader = wire.Reader(answer.payload)
            read_item(reader)
            reader.finish()
    for other in client.log:
        if other in replies:
            continue
        assert other[:6] == event()[:6], other
        reader = wire.Reader(other.payload)
        reader.i32()
        read_item(reader)
        reader.finish()
    return replies
