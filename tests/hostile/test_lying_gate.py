# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_lying_gate - a gate that was taken over says to a worker what it should have refused itself.

The tests play doorman at the broker's socket, get a session's descriptor, and speak on it as a gate
does. A worker
checks everything again: nothing that the real gate refuses reaches the upstream this way either.
"""

import array
import socket

import pytest

from test_corpus import ANSWERED, CLOSED
from vgtest import table, wire
from vgtest.session import distinct_calls

BROKER, OPEN_SESSION = 0x56470004, 1


def name(*pairs):
    return wire.u32(len(pairs)) + b"".join(wire.string(a) + wire.string(b) for a, b in pairs)


def who(organisation="virtgate up", common_name="admin"):
    """What doorman tells about a client with such a certificate; see proto/who.x."""
    subject = name(("O", organisation), ("CN", common_name))
    text = wire.string(f"O={organisation},CN={common_name}")
    certificate = (
        subject
        + name(("CN", "throwaway authority"))
        + wire.u32(0)
        + wire.string("01")
        + bytes(32)
        + text
        + wire.u32(0)
    )
    absent = wire.u32(0)
    return (
        wire.u32(1)
        + certificate
        + absent
        + absent
        + wire.u32(0)
        + wire.u32(256)
        + wire.string("127.0.0.1")
        + wire.u32(4711)
        + wire.string("tls")
        + wire.u32(0)
    )


def ask_broker(gate, payload):
    """(reply, descriptors) of an OPEN_SESSION call."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(wire.PATIENCE)
        sock.connect(str(gate.directory / "run" / "broker.sock"))
        sock.send(wire.call(OPEN_SESSION, payload, 1, BROKER).pack())
        data, descriptors, _, _ = socket.recv_fds(sock, 65_536, 4)
        return wire.unpack(data), descriptors


class Lie:
    """A session with a worker and no gate between; `client` sends packets."""

    def __init__(self, gate, back):
        answer, descriptors = ask_broker(gate, who())
        assert answer.status == wire.OK, answer.error()
        self.sock = socket.socket(fileno=descriptors[0])
        assert self.sock.type == socket.SOCK_SEQPACKET and len(descriptors) == 1
        self.client = wire.Client(self.sock)
        opened = self.client.ask(wire.CONNECT_OPEN, wire.open_args("qemu:///system"))
        assert opened.status == wire.OK
        self.upstream = back.session()
        self.seen = len(self.upstream.frames)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def passed(self):
        """Frames that reached the upstream; the session may be over by now."""
        try:
            self.client.ask(wire.GET_LIB_VERSION)
        except wire.Closed:
            self.upstream.owner.wait(lambda: self.upstream.closed)
        frames = self.upstream.frames[self.seen :]
        return [f for f in frames if f.proc != wire.GET_LIB_VERSION]


@pytest.fixture
def worker(gate, back):
    """Every test leaves the same worker, which still serves sessions that come through the gate."""
    with gate.open("qemu:///system") as witness:
        before = gate.pids("virtgate-worker")
        yield before
        assert witness.ask(wire.GET_LIB_VERSION).status == wire.OK
        assert gate.pids("virtgate-worker") == before


def test_session_without_a_gate_works(gate, back, worker):
    """The control of the tests below."""
    with Lie(gate, back) as lie:
        frame = wire.call(wire.LOOKUP_BY_NAME, wire.string("x"), 7)
        lie.client.send(frame)
        assert lie.client.answer(frame).status == wire.OK
        assert lie.passed() == [frame]


@pytest.mark.parametrize("common_name", ["mallory", "ADMIN", "admin ", "", "adm\x01in"])
def test_broker_refuses_identities_that_the_policy_does_not_know(gate, worker, common_name):
    answer, descriptors = ask_broker(gate, who(common_name=common_name))
    assert answer.error()[2] and descriptors == []


def test_broker_refuses_what_does_not_decode(gate, worker):
    for payload in (
        b"",
        who()[:-4],
        who() + bytes(4),
        b"\xff" * 200,
        who()[:8] + b"\xff\xff\xff\xff" + who()[12:],
    ):
        answer, descriptors = ask_broker(gate, payload)
        assert answer.error()[2] and descriptors == []


@pytest.mark.parametrize("data", CLOSED.values(), ids=CLOSED)
def test_frame_that_a_gate_closes_for_reaches_nobody(gate, back, worker, data):
    with Lie(gate, back) as lie:
        lie.client.send(data)
        assert lie.passed() == []


# AUTH_LIST is the only call of these that a libvirt daemon would take; it tells nothing.
REFUSED = {key: frame for key, (frame, _) in ANSWERED.items()}


@pytest.mark.parametrize("frame", REFUSED.values(), ids=REFUSED)
def test_call_that_a_gate_refuses_reaches_nobody(gate, back, worker, frame):
    with Lie(gate, back) as lie:
        lie.client.send(frame)
        assert lie.passed() == []


def test_noncanonical_arguments_of_every_shape(gate, back, worker):
    """Rewritten or refused: the recording upstream fails this test if one comes through as it is."""
    lie = Lie(gate, back)
    for serial, entry in enumerate(distinct_calls()):
        for payload in (
            entry.arguments.make(True, flag=0x01000000, pad=b"\x01\x80\xff"),
            entry.arguments.make(True) + bytes(4),
            entry.arguments.make(True)[:-4],
        ):
            try:
                lie.client.send(wire.call(entry.number, payload, serial, entry.prog))
                lie.client.ask(wire.GET_LIB_VERSION)
            except wire.Closed:
                lie.client.close()
                lie = Lie(gate, back)
    lie.client.close()
    back.check_canonical()


def test_stream_packets_for_no_stream_reach_nobody(gate, back, worker):
    opener = wire.call(wire.VOL_UPLOAD, b"", 9)
    packets = (
        wire.stream(opener, b"x"),
        wire.hole(opener, 5),
        wire.stream(opener, b"", 0),
        wire.keepalive(),
        wire.hole(opener, -1),
    )
    for frame in packets:
        with Lie(gate, back) as lie:
            lie.client.send(frame)
            assert lie.passed() == []


def test_frame_in_packets_of_any_size(gate, back, worker):
    frame = wire.call(wire.LOOKUP_BY_NAME, wire.string("hello"), 7)
    data = frame.pack()
    with Lie(gate, back) as lie:
        for at in range(1, len(data)):
            lie.client.send(data[:at])
            lie.client.send(data[at:])
            assert lie.client.answer(frame).status == wire.OK
        assert lie.passed() == [frame] * (len(data) - 1)


def test_packet_with_a_descriptor_brings_nothing(gate, back, worker):
    frame = wire.call(wire.LOOKUP_BY_NAME, wire.string("hello"), 7)
    with Lie(gate, back) as lie, open("/dev/null", "rb") as spare:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [spare.fileno()] * 8))]
        try:
            lie.sock.sendmsg([frame.pack()], rights)
        except ConnectionError:
            pass
        assert lie.passed() in ([], [frame])


def test_packet_that_is_too_long(gate, back, worker):
    data = wire.call(wire.LOOKUP_BY_NAME, wire.string("h" * 100_000), 7).pack()
    with Lie(gate, back) as lie:
        try:
            lie.sock.send(data)
        except OSError:
            pass
        assert lie.passed() == []


def test_gate_that_goes_away_inside_a_frame(gate, back, worker):
    for at in (1, 4, 27, 30):
        lie = Lie(gate, back)
        lie.client.send(wire.call(wire.LOOKUP_BY_NAME, wire.string("hello"), 7).pack()[:at])
        lie.client.close()
        back.wait(lambda: lie.upstream.closed)
        assert lie.upstream.frames[lie.seen :] == []


def test_ceiling_of_a_session_holds_in_the_worker(gate, back, worker):
    """SET_IDENTITY is outside of what any identity may do, whoever asks."""
    with Lie(gate, back) as lie:
        refused = lie.client.ask(wire.SET_IDENTITY, table.procedure(wire.SET_IDENTITY).arguments.make(True))
        assert refused.error()[2]
        assert lie.passed() == []
