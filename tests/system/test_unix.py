# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_unix - clients of the UNIX sockets: who they are, read-only, and descriptors both ways."""

import array
import os
import socket
import subprocess
import threading

import pytest

from vgtest import fixtures, processes, suite, upstream, wire
from vgtest.clients import attempt, run

OPEN_GRAPHICS, OPEN_GRAPHICS_FD = 249, 343
NOBODY = 65534


def uri_of(gate, read_only=False, scheme="test", path="/default"):
    return f"{scheme}+unix://{path}?socket={gate.local_socket}{'-ro' if read_only else ''}"


@pytest.fixture(scope="module")
def open_suite(scratch, running_suite):
    """A suite whose UNIX sockets every user may connect to, with an identity for user nobody."""
    wide = running_suite.sibling(
        scratch / "wide", {"netd.unix.mode": '"0666"', "netd.unix.read_only_mode": '"0666"'}
    )
    with wide:
        yield wide


def test_virsh_lists_over_the_unix_socket(gate):
    assert run("virsh", "-q", "-c", uri_of(gate), "list", "--name").strip() == "test"


def test_read_only_socket_changes_nothing(gate):
    assert run("virsh", "-q", "-c", uri_of(gate, True), "list", "--name").strip() == "test"
    done = attempt("virsh", "-q", "-c", uri_of(gate, True), "suspend", "test")
    assert done.returncode == 1 and "read only access" in done.stderr, done.stderr


def test_log_says_who_connected(gate):
    with wire.connect_unix(gate.local_socket) as client:
        client.open("test:///default")
        upstream.await_log(gate, f"uid {os.getuid()} pid {os.getpid()}")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's connection needs root")
def test_other_users_are_other_identities(open_suite, scratch):
    def as_nobody(*words):
        return attempt(
            "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/usr/bin/virsh", "-q", "-c",
            uri_of(open_suite), *words, environment={"HOME": "/nonexistent", "XDG_RUNTIME_DIR": "/tmp"},
        )

    refused = as_nobody("list", "--name")
    assert refused.returncode == 1 and "does not let this user in" in refused.stderr, refused
    for part in (f"uid {NOBODY} pid", "no identity of the policy matches"):
        upstream.await_log(open_suite, part)
    open_suite.add_policy(
        "30-nobody.toml",
        '[identity.nobody]\nunix = { user = "nobody" }\n[[binding]]\nidentity = "nobody"\nrole = "admin"\n',
    )
    (broker,) = open_suite.pids("virtgate-workerd")
    os.kill(broker, 1)
    upstream.poll(lambda: as_nobody("list", "--name").stdout.strip() == "test", what="the new policy")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's connection needs root")
def test_mode_of_the_socket_keeps_other_users_out(gate):
    done = subprocess.run(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/usr/bin/python3", "-c",
         "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])", str(gate.local_socket)],
        capture_output=True, text=True, timeout=30, check=False,
    )
    assert "PermissionError" in done.stderr


def test_feature_fd_passing_is_true_for_local_clients_only(gate, back):
    for client, expected in ((wire.connect_unix(gate.local_socket), 1), (gate.connect(), 0)):
        with client:
            back.on(wire.SUPPORTS_FEATURE, lambda c, f: c.send(wire.reply(f, wire.u32(1))))
            client.open(fixtures.RECORDED)
            assert client.ask(wire.SUPPORTS_FEATURE, wire.u32(8)).payload == wire.u32(expected)


def open_descriptors(gate):
    """Of all gates and workers. Only root sees what closed processes have: to others it is 0, before and after."""
    return sum(
        processes.descriptors(pid) or 0 for name in ("virtgate-gate", "virtgate-worker") for pid in gate.pids(name)
    )


def call_with_fds(client, proc, payload, descriptors, count=None):
    count = len(descriptors) if count is None else count
    frame = wire.Frame(wire.REMOTE, 1, proc, wire.CALL_WITH_FDS, client.serial, wire.OK, wire.u32(count) + payload)
    client.serial += 1
    client.send(frame)
    for descriptor in descriptors:
        socket.send_fds(client.sock, [b"\0"], [descriptor])
    return frame


class FdDaemon:
    """A libvirt daemon that takes one descriptor with OPEN_GRAPHICS, and gives one with OPEN_GRAPHICS_FD."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        os.chmod(path, 0o777)
        self.listener.listen(8)
        self.path, self.got = path, []

    def accept(self):
        """Serve connections until the listener is closed, each in a thread of its own."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        """Serve one connection to its end; frames are answered as they come."""
        sock.settimeout(wire.PATIENCE)
        buffer, came = b"", []
        while True:
            data, ancillary, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(4 * 32))
            for level, kind, raw in ancillary:
                assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                numbers = array.array("i")
                numbers.frombytes(raw)
                came += numbers
            if not data:
                return sock.close()
            buffer += data
            while len(buffer) >= 4 and len(buffer) >= (size := int.from_bytes(buffer[:4], "big")):
                frame, buffer = wire.unpack(buffer[:size]), buffer[size:]
                if frame.type == wire.CALL_WITH_FDS:
                    count = int.from_bytes(frame.payload[:4], "big")
                    while len(buffer) < count or len(came) < count:
                        data, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(4))
                        buffer += data
                        for _, _, raw in ancillary:
                            numbers = array.array("i")
                            numbers.frombytes(raw)
                            came += numbers
                    assert buffer[:count] == bytes(count)
                    buffer = buffer[count:]
                    self.got += came[:count]
                    del came[:count]
                    sock.sendall(wire.reply(frame).pack())
                elif frame.proc == OPEN_GRAPHICS_FD:
                    read, write = os.pipe()
                    os.write(write, b"from the daemon")
                    os.close(write)
                    answer = wire.Frame(*wire.reply(frame)[:3], wire.REPLY_WITH_FDS, frame.serial, wire.OK, wire.u32(1))
                    sock.sendall(answer.pack())
                    socket.send_fds(sock, [b"\0"], [read])
                    os.close(read)
                else:
                    sock.sendall(wire.reply(frame, upstream.minimal_result(frame)).pack())


@pytest.fixture(scope="module")
def fd_suite(scratch, running_suite):
    daemon = FdDaemon(scratch / "fd-daemon.sock")
    thread = threading.Thread(target=daemon.accept, daemon=True)
    thread.start()
    directory = scratch / "fd-suite"
    directory.mkdir()
    with suite.Suite(directory, {"qemu:///system": daemon.path}) as started:
        yield started, daemon
    daemon.listener.shutdown(socket.SHUT_RDWR)
    daemon.listener.close()
    thread.join(5)
    assert not thread.is_alive()


def test_descriptors_travel_both_ways(fd_suite):
    gate, daemon = fd_suite
    with wire.connect_unix(gate.local_socket) as client:
        client.open("qemu:///system")
        before = open_descriptors(gate)
        for _ in range(20):
            ours, theirs = socket.socketpair()
            request = call_with_fds(client, OPEN_GRAPHICS, wire.domain() + wire.u32(0) + wire.u32(0), [theirs.fileno()])
            theirs.close()
            assert client.answer(request).status == wire.OK
            with socket.socket(fileno=daemon.got.pop()) as far:
                far.sendall(b"hello")
                assert ours.recv(5) == b"hello"
            ours.close()
            # And back: the reply, then one byte with the descriptor.
            request = client.start(OPEN_GRAPHICS_FD, wire.domain() + wire.u32(0) + wire.u32(0))
            frame = receive_frame(client)
            assert frame.type == wire.REPLY_WITH_FDS and frame.serial == request.serial
            assert frame.payload == wire.u32(1)
            client.sock.setblocking(True)
            client.sock.settimeout(wire.PATIENCE)
            data, descriptors, _, _ = socket.recv_fds(client.sock, 1, 1)
            client.sock.setblocking(False)
            assert data == b"\0" and len(descriptors) == 1
            assert os.read(descriptors[0], 64) == b"from the daemon"
            os.close(descriptors[0])
        assert client.ask(wire.GET_HOSTNAME).status == wire.OK
        assert open_descriptors(gate) == before


def receive_frame(client):
    """The next frame, and no byte behind it."""
    client.sock.setblocking(True)
    client.sock.settimeout(wire.PATIENCE)
    head = client.sock.recv(4, socket.MSG_WAITALL)
    rest = client.sock.recv(int.from_bytes(head, "big") - 4, socket.MSG_WAITALL)
    client.sock.setblocking(False)
    return wire.unpack(head + rest)


@pytest.mark.parametrize(
    "what",
    ["more than announced", "fewer than announced", "none announced", "too many", "not announced at all"],
)
def test_wrong_descriptors_close_the_connection_and_are_closed(fd_suite, what):
    gate, _ = fd_suite
    args = wire.domain() + wire.u32(0) + wire.u32(0)
    with wire.connect_unix(gate.local_socket) as other:
        other.open("qemu:///system")
        before = open_descriptors(gate)
        with wire.connect_unix(gate.local_socket) as client:
            client.open("qemu:///system")
            null = os.open("/dev/null", os.O_RDONLY)
            try:
                if what == "more than announced":
                    call_with_fds(client, OPEN_GRAPHICS, args, [null, null], 1)
                elif what == "fewer than announced":
                    call_with_fds(client, OPEN_GRAPHICS, args, [], 1)
                    client.send(b"\0")
                elif what == "none announced":
                    call_with_fds(client, OPEN_GRAPHICS, args, [], 0)
                elif what == "too many":
                    call_with_fds(client, OPEN_GRAPHICS, args, [], 33)
                else:
                    client.sock.setblocking(True)
                    socket.send_fds(client.sock, [wire.call(wire.GET_HOSTNAME, b"", 99).pack()], [null])
                    client.sock.setblocking(False)
            except (wire.Closed, OSError):
                pass
            finally:
                os.close(null)
            client.rest()
        upstream.poll(lambda: open_descriptors(gate) <= before, what="the end of the descriptors")
        assert other.ask(wire.GET_HOSTNAME).status == wire.OK


def test_call_that_takes_no_descriptor_is_refused_with_one(fd_suite):
    gate, _ = fd_suite
    with wire.connect_unix(gate.local_socket) as client:
        client.open("qemu:///system")
        before = open_descriptors(gate)
        null = os.open("/dev/null", os.O_RDONLY)
        request = call_with_fds(client, wire.GET_HOSTNAME, b"", [null])
        os.close(null)
        assert client.answer(request).status == wire.ERROR
        assert client.ask(wire.GET_HOSTNAME).status == wire.OK
        assert open_descriptors(gate) == before


def test_network_clients_pass_no_descriptors(gate, back):
    with gate.connect() as client:
        client.open(fixtures.RECORDED)
        frame = wire.Frame(wire.REMOTE, 1, OPEN_GRAPHICS, wire.CALL_WITH_FDS, 50, wire.OK, wire.u32(1))
        client.send(frame)
        assert client.rest() == []
    assert processes.identity(gate.pids("virtgate-gate")[0])
