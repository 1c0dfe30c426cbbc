# SPDX-License-Identifier: LGPL-2.1-or-later
"""session - both ends of one session through the gate: the raw client, and the connection that reached the
recording upstream.
"""

from vgtest import table, wire


class Session:
    """`client` sends; `passed()` tells which of it came through. URI and upstream are those of the fixtures
    by default.
    """

    def __init__(self, gate, back, uri="qemu:///system", keepalive_too=False, **options):
        self.client = gate.connect(**options)
        self.client.open(uri, keepalive_too=keepalive_too)
        self.upstream, self.seen = back.session(), 0
        self.client.serial = 1000  # away from serials that a test chooses
        self.skip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def skip(self):
        """Forget what has come through so far."""
        self.seen = len(self.upstream.frames)

    def passed(self):
        """Frames that came through up to now, since the last call. Sends a last call behind all others and
        waits for its answer.
        """
        fence = self.client.ask(wire.GET_LIB_VERSION)
        assert fence.status == wire.OK, fence.error()
        frames = self.upstream.frames[self.seen :]
        self.skip()
        assert (
            frames and frames[-1].proc == wire.GET_LIB_VERSION
        ), f"the last call did not come last: {frames}"
        return frames[:-1]

    def refused(self, frame, code=None, patience=wire.PATIENCE):
        """Send a call that must get an error reply and reach nobody; (code, domain, text) of the error."""
        self.client.send(frame)
        answer = self.client.receive(patience)
        echo = (
            frame.prog,
            frame.vers,
            wire.signed(frame.proc & 0xFFFFFFFF),
            wire.REPLY,
            frame.serial,
            wire.ERROR,
        )
        assert answer[:6] == echo, f"{frame} was answered by {answer}"
        error = answer.error()
        assert code in (None, error[0]), error
        assert error[2], "an error without a text"
        assert self.passed() == []
        return error

    def closed(self, data):
        """Send bytes for which the gate must close without an answer, and of which nothing may come
        through.
        """
        self.client.send(data)
        answers = self.client.rest()
        assert answers == [], f"answered before closing: {answers}"
        self.upstream.owner.wait(lambda: self.upstream.closed)
        assert self.upstream.frames[self.seen :] == []

    def passes(self, frame, as_payload=None):
        """Send a call that must come through once, with its own or the given payload; the reply."""
        self.client.send(frame)
        answer = self.client.answer(frame)
        wanted = frame._replace(payload=frame.payload if as_payload is None else as_payload)
        assert self.passed() == [wanted]
        return answer


def distinct_calls(skip=(wire.CONNECT_OPEN, wire.CONNECT_CLOSE, wire.SET_IDENTITY, 66, 67, 68, 69, 70)):
    """One call procedure for each shape of arguments, without those that the gate answers itself, those with
    descriptors, and those that go to QEMU's monitor or an agent, which a policy has to allow apart.
    """
    with_descriptors = {(wire.REMOTE, n) for n in (249, 309, 310, 343, 443)} | {(wire.QEMU, 7), (wire.LXC, 1)}
    passthrough = {(wire.QEMU, n) for n in (1, 3, 4, 5)}
    found = {}
    for entry in table.load().values():
        if (entry.prog, entry.number) in passthrough:
            continue
        if entry.kind != "call" or (entry.prog, entry.number) in with_descriptors or entry.number in skip:
            continue
        found.setdefault(entry.arguments.describe(), entry)
    return list(found.values())
