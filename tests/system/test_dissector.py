# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_dissector - wireshark's libvirt dissector, written by others, decodes the frames that virtgate's
encoder makes.
"""

from vgtest import wire
from vgtest.capture import SERVER_PORT, write_pcap
from vgtest.clients import run


def dissect(tmp_path, chunks, *fields):
    """One list per libvirt frame with the values of the fields; tshark must not call any frame malformed."""
    path = tmp_path / "frames.pcap"
    write_pcap(path, chunks)
    common = [
        "tshark",
        "-r",
        path,
        "-d",
        f"tcp.port=={SERVER_PORT},libvirt",
        "-o",
        "tcp.desegment_tcp_streams:TRUE",
    ]
    malformed = run(*common, "-Y", "_ws.malformed || _ws.expert.severity == error")
    assert malformed == "", malformed
    out = run(
        *common,
        "-Y",
        "libvirt",
        "-T",
        "fields",
        "-E",
        "separator=|",
        *[word for f in fields for word in ("-e", f)],
    )
    return [line.split("|") for line in out.splitlines()]


def exchange(client, frame):
    """Send a frame and take the answer: what travelled, for the capture."""
    client.send(frame)
    return [(False, frame.pack()), (True, client.receive().pack())]


def test_errors_made_by_the_gate(gate, recording, tmp_path):
    recording.forget()
    with gate.connect() as client:
        chunks = exchange(client, wire.call(wire.GET_HOSTNAME, b"", 0))
        assert client.open("qemu:///system")
        for number, frame in enumerate(
            (
                wire.call(99999),
                wire.call(wire.LOOKUP_BY_NAME),
                wire.call(wire.SET_IDENTITY, bytes(8)),
                wire.call(wire.CONNECT_OPEN, wire.open_args("qemu:///system")),
            )
        ):
            chunks += exchange(client, frame._replace(serial=100 + number))
    rows = dissect(tmp_path, chunks, "libvirt.type", "libvirt.status", "libvirt.serial")
    assert [row[1] for row in rows] == ["0", "1"] * 5 or [row[1] for row in rows] == ["OK", "ERROR"] * 5, rows
    text = run("tshark", "-r", tmp_path / "frames.pcap", "-d", f"tcp.port=={SERVER_PORT},libvirt", "-V")
    assert "unknown procedure: 99999" in text or text.count("Error") + text.count("ERROR") >= 5


def test_replies_made_by_the_gate(gate, recording, tmp_path):
    """AUTH_LIST, the keepalive feature, CONNECT_OPEN and PONG."""
    recording.forget()
    with gate.connect() as client:
        chunks = []
        for frame in (
            wire.call(wire.AUTH_LIST, b"", 0),
            wire.call(wire.SUPPORTS_FEATURE, wire.u32(10), 1),
            wire.call(wire.CONNECT_OPEN, wire.open_args("qemu:///system"), 2),
            wire.keepalive(),
            wire.call(wire.GET_LIB_VERSION, b"", 3),
        ):
            chunks += exchange(client, frame)
    rows = dissect(tmp_path, chunks, "libvirt.program", "libvirt.type", "libvirt.status")
    assert len(rows) == 10 and not any("1" == row[2] or "ERROR" == row[2] for row in rows), rows


def test_whole_session_of_a_real_driver(gate, tmp_path):
    with gate.connect() as client:
        chunks = []
        for frame in (
            wire.call(wire.CONNECT_OPEN, wire.open_args("test:///default"), 0),
            wire.call(wire.GET_TYPE, b"", 1),
            wire.call(wire.LOOKUP_BY_NAME, wire.string("test"), 2),
            wire.call(wire.LOOKUP_BY_NAME, wire.string("none"), 3),
        ):
            chunks += exchange(client, frame)
    rows = dissect(tmp_path, chunks, "libvirt.procedure", "libvirt.serial", "libvirt.status")
    assert len(rows) == 8, rows
