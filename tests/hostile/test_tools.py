# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_tools - the tools of these tests judged by libvirt itself, so that a passing hostile test means
something.
"""

import pytest

from vgtest import certificates, clients, libvirtd, table, upstream, wire


def test_table_makes_payloads_that_it_finds_canonical():
    for entry in table.load().values():
        for full in (False, True):
            for shape in (entry.arguments, entry.result):
                table.check_payload(shape, shape.make(full))


@pytest.mark.parametrize(
    "why, payload",
    [
        ("padding", wire.string(b"a", pad=b"\x01\x02\x03")),
        ("NUL", wire.string(b"demo\0evil")),
        ("bytes left over", wire.string(b"demo") + b"\xde\xad\xbe\xef"),
        ("cut short", wire.string(b"demo")[:-1]),
        ("length beyond the end", wire.u32(5) + b"demo"),
        ("length beyond the bound", wire.u32(wire.MAX_STRING + 1) + b"x" * (wire.MAX_STRING + 4)),
    ],
)
def test_judge_refuses(why, payload):
    with pytest.raises(table.NotCanonical):
        table.check_payload(table.procedure(wire.LOOKUP_BY_NAME).arguments, payload)


@pytest.mark.parametrize("flag", [2, 0x01000000, 0xFFFFFFFF])
def test_judge_refuses_an_optional_flag_other_than_0_and_1(flag):
    payload = wire.optional(wire.string("qemu:///system"), flag) + wire.u32(0)
    with pytest.raises(table.NotCanonical):
        table.check_payload(table.procedure(wire.CONNECT_OPEN).arguments, payload)


def test_judge_refuses_stream_packets_for_no_stream():
    judge = table.ConnectionJudge()
    opener = wire.call(wire.VOL_UPLOAD, table.procedure(wire.VOL_UPLOAD).arguments.make(False), 7)
    with pytest.raises(table.NotCanonical):
        judge.see(wire.stream(opener, b"data"))
    judge.see(opener)
    judge.see(wire.stream(opener, b"data"))
    with pytest.raises(table.NotCanonical):
        judge.see(wire.hole(opener, -1))


def exercise(client):
    """What every test relies on: prologue, call, error, ping."""
    client.open("test:///default", keepalive_too=True)
    found = client.ask(wire.LOOKUP_BY_NAME, wire.string("test"))
    table.check_payload(table.procedure(wire.LOOKUP_BY_NAME).result, found.payload)
    code, where, text = client.ask(wire.LOOKUP_BY_NAME, wire.string("none")).error()
    assert (code, where) == (42, 12) and "not found" in text
    assert client.alive()
    assert client.ask(wire.CONNECT_CLOSE).status == wire.OK
    client.rest()


def test_raw_client_speaks_to_libvirtd_over_unix(private_libvirtd):
    with wire.connect_unix(private_libvirtd.socket) as client:
        exercise(client)


def listens(port):
    try:
        wire.connect_tcp(port).close()
    except ConnectionRefusedError:
        return False
    return True


def test_raw_client_speaks_to_libvirtd_over_tls(scratch):
    authority = certificates.Authority.new(scratch / "tools-ca", "CN=CA of the tools' test")
    pki = authority.pkipath(scratch / "tools-pki", "/CN=client")
    certificate, key = authority.issue("/CN=localhost", kind="server")
    for source, name in ((certificate, "servercert.pem"), (key, "serverkey.pem")):
        (pki / name).write_bytes(source.read_bytes())
        (pki / name).chmod(0o644)
    pki.chmod(0o755)
    (pki / "clientkey.pem").chmod(0o644)
    port = clients.free_port()
    with libvirtd.Libvirtd(scratch / "tls-libvirtd", pki, port):
        upstream.poll(lambda: listens(port), what="the TLS port of libvirtd")  # which opens it last
        with wire.connect_tls(port, wire.tls_context(pki)) as client:
            exercise(client)
        with pytest.raises(wire.Closed):
            wire.connect_tls(port, wire.tls_context(pki, certificate=()))


def test_recording_upstream_is_a_server_for_the_raw_client(recording):
    recording.forget()
    with wire.connect_unix(recording.path) as client:
        client.open("qemu:///system")
        assert client.alive()
        for entry in table.load().values():
            if entry.kind == "call" and entry.prog == wire.REMOTE and entry.number > wire.CONNECT_CLOSE:
                answer = client.ask(entry.number, entry.arguments.make(True))
                table.check_payload(entry.result, answer.payload)
        recording.check_canonical()
        assert recording.session().uri == "qemu:///system"


def test_recording_upstream_tells_of_bytes_that_are_not_canonical(recording):
    recording.forget()
    with wire.connect_unix(recording.path) as client:
        client.open("qemu:///system")
        client.send(wire.call(wire.LOOKUP_BY_NAME, wire.string(b"a", pad=b"\x01\x02\x03"), 9))
        client.rest()
        with pytest.raises(table.NotCanonical):
            recording.check_canonical()
    recording.forget()


def test_virsh_accepts_the_recording_upstream(recording):
    recording.forget()
    clients.run("virsh", "-c", f"qemu+unix:///system?socket={recording.path}", "list", "--all")
    recording.check_canonical()
