# SPDX-License-Identifier: LGPL-2.1-or-later
"""captured_house - a suite, one program of which is the test's, and those of its processes that must not
notice.
"""

import socket

from vgtest import captured, processes, sasl, upstream, wire

PASSWORD = "correct horse battery"


class House:
    def __init__(self, suite, captor):
        self.suite, self.captor, self.settled, self.descriptors = suite, captor, {}, {}

    def settle(self, names):
        """The processes that call themselves so stay the same from now on, and have no more descriptors in
        the end.
        """

        def all_alone():
            titles = processes.by_title(self.suite.process.pid)
            self.settled = {name: titles.get(name) for name in names}
            return all(len(pids or ()) == 1 for pids in self.settled.values())

        upstream.poll(all_alone, what=lambda: f"one process of each: {self.settled}")
        self.descriptors = {name: processes.descriptors(pid) for name, (pid,) in self.settled.items()}

    def pid(self, name):
        """Of the process that calls itself so; None if there is none."""
        (pid, *_) = processes.by_title(self.suite.process.pid).get(name, [None])
        return pid

    def check_settled(self):
        """They are the same. A process that was just forked has its parent's title for a moment: not for long."""

        def now():
            titles = processes.by_title(self.suite.process.pid)
            return {name: titles.get(name) for name in self.settled}

        upstream.poll(
            lambda: now() == self.settled,
            what=lambda: f"{self.settled}, there are {now()}:\n{self.suite.log()[-3000:]}",
        )

    def left_open(self):
        """{name: (before, now)} of those processes that have more descriptors than at the beginning, where
        that can be read.
        """
        now = {name: processes.descriptors(pid) for name, (pid,) in self.settled.items()}
        return {
            name: (before, now[name])
            for name, before in self.descriptors.items()
            if now[name] is not None and now[name] > before
        }

    def context(self, authority, name):
        """Of a TLS client with a good certificate in that name."""
        return wire.tls_context(self.suite.pki, authority.issue(f"/O=virtgate up/CN={name}"))

    def log_in(self, name="alice"):
        """A client that logs in over TLS with its password; wire.Closed if it is not let in."""
        client = self.suite.connect(context=wire.tls_context(self.suite.pki, certificate=False))
        refused = sasl.log_in(client, name, PASSWORD)
        assert refused is None, refused.error()
        return client


def frame(prog, proc, payload=b"", **changes):
    """The bytes of a call, or of what `changes` make of it. Our own messages have no serial."""
    serial = 0 if changes.get("type") == wire.MESSAGE else 1
    return wire.call(proc, payload, serial, prog)._replace(**changes).pack()


def own(prog, proc, payload=b"", **changes):
    """The bytes of one of our own messages."""
    return frame(prog, proc, payload, **{"type": wire.MESSAGE, **changes})


def framing(good):
    """What is no packet of ours, whatever is in it: {description: (bytes, number of descriptors)}. `good`
    would be one.
    """
    return {
        "27 bytes": (good[:27], 0),
        "28 bytes of nothing": (bytes(28), 0),
        "a length word that is too small": (wire.u32(len(good) - 4) + good[4:], 0),
        "a length word that is too large": (wire.u32(len(good) + 4) + good[4:], 0),
        "two frames": (good + good, 0),
        "text": (b"GET / HTTP/1.1\r\n\r\n" * 40, 0),
        "a packet that is too long": (wire.u32(70_000) + good[4:28] + bytes(70_000 - 28), 0),
        "a descriptor": (good, 1),
        "thirty descriptors": (good, 30),
    }


def throw(channel, nonsense):
    """Send (bytes, number of descriptors), unless the other end is gone."""
    data, count = nonsense
    with open("/dev/null", "rb") as null:
        try:
            channel.send(data, [null.fileno()] * count)
        except wire.Closed:
            pass


def name(*pairs):
    return wire.u32(len(pairs)) + b"".join(wire.string(a) + wire.string(b) for a, b in pairs)


def who(
    common_name,
    organisation="virtgate up",
    login=None,
    local=None,
    source="127.0.0.1",
    listener="tls",
    flags=(0, 0),
):
    """What a doorman says of a client: with that certificate, unless it is None, that user who logged in and
    that uid. `flags`: the local facts count; read only. See proto/who.x.
    """
    certificate = None
    if common_name is not None:
        text = wire.string(f"O={organisation},CN={common_name}")
        names = name(("O", organisation), ("CN", common_name)) + name(("CN", "throwaway authority"))
        certificate = names + wire.u32(0) + wire.string("01") + bytes(32) + text + wire.u32(0)
    facts = None if login is None else wire.string("SCRAM-SHA-256") + wire.string(login)
    kernel = None if local is None else wire.u32(local) * 2 + wire.u32(0) + wire.u32(1) + wire.u64(0)
    return (
        wire.optional(certificate) + wire.optional(facts) + wire.optional(kernel) + wire.u32(flags[0]) + wire.u32(256)
        + wire.string(source) + wire.u32(4711) + wire.string(listener) + wire.u32(flags[1])
    )  # fmt: skip


def ask_session(suite, facts):
    """(reply, descriptors) of a doorman's wish for a session, at the broker's socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(wire.PATIENCE)
    sock.connect(str(suite.directory / "run" / "broker.sock"))
    channel = captured.Channel(sock.detach())
    try:
        return channel.ask(captured.BROKER, captured.OPEN_SESSION, facts)
    finally:
        channel.close()
