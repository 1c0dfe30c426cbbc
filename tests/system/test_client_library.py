# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_client_library - libshared/client against Debian's libvirtd, over each transport: client-probe makes the calls."""

import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess

import pytest

from vgtest import certificates, clients, libvirtd, sasl, suite, tools, upstream

PROBE = str(suite.BUILD / "client-probe")
USER, PASSWORD = "alice", "two words"
MEBIBYTE = 1 << 20
NOBODY = 65534


def probe(uri, *words, timeout=60, **variables):
    """(exit status, first line) of the probe."""
    run = subprocess.run(
        [PROBE, uri, *map(str, words)], capture_output=True, text=True, timeout=timeout, check=False,
        env=os.environ | variables,
    )  # fmt: skip
    assert run.returncode in (0, 1) and not run.stderr, run
    return run.returncode, run.stdout.rstrip("\n")


class Server:
    """A libvirtd with TLS, and TCP with SASL."""

    def __init__(self, directory):
        directory.mkdir()
        directory.chmod(0o755)
        self.directory = directory
        self.authority = certificates.Authority.new(directory / "ca")
        self.tls_port, self.tcp_port = clients.free_port(), clients.free_port()
        certificate, key = self.authority.issue("/CN=localhost", "server")
        pki = directory / "pki"
        pki.mkdir()
        shutil.copy(self.authority.certificate, pki / "cacert.pem")
        shutil.copy(certificate, pki / "servercert.pem")
        shutil.copy(key, pki / "serverkey.pem")
        if os.geteuid() == 0:
            os.chown(pki / "serverkey.pem", NOBODY, NOBODY)
        self.daemon = libvirtd.Libvirtd(directory / "libvirtd", pki, self.tls_port)
        with (self.daemon.directory / "libvirtd.conf").open("a") as conf:
            conf.write(f'listen_tcp = 1\ntcp_port = "{self.tcp_port}"\nauth_tcp = "sasl"\n')
        self._add_sasl()

    def _add_sasl(self):
        rules = self.directory / "sasl"
        rules.mkdir()
        database = rules / "users.db"
        (rules / "libvirt.conf").write_text(
            f"mech_list: digest-md5 scram-sha-256\nauxprop_plugin: sasldb\nsasldb_path: {database}\n"
        )
        subprocess.run(
            ["/usr/sbin/saslpasswd2", "-p", "-c", "-f", str(database), "-a", "libvirt", "-u", socket.gethostname(), USER],
            input=PASSWORD, text=True, check=True, timeout=30,
        )  # fmt: skip
        if os.geteuid() == 0:
            for path in (rules, *rules.iterdir()):
                os.chown(path, NOBODY, NOBODY)
        self.daemon.command = ["/usr/bin/env", f"SASL_CONF_PATH={rules}", *self.daemon.command]

    def await_listening(self):
        """Its sockets have names a moment before they are listened at."""
        upstream.poll(lambda: not probe(self.unix(), "list")[1].startswith("unreachable"), what="libvirtd")

    def unix(self, driver="test", path="/default", **more):
        return self._print(f"{driver}+unix://{path}", {"socket": self.daemon.socket} | more)

    def tls(self, pkipath, host="localhost", **more):
        return self._print(f"test+tls://{host}:{self.tls_port}/default", {"pkipath": pkipath} | more)

    def tcp(self, **more):
        return self._print(f"test+tcp://localhost:{self.tcp_port}/default", more)

    @staticmethod
    def _print(base, parameters):
        return base + "?" + "&".join(f"{name}={value}" for name, value in parameters.items())


@pytest.fixture(scope="module")
def server(scratch):
    made = Server(scratch / "client-library")
    with made.daemon:
        made.await_listening()
        yield made


def test_calls_over_a_unix_socket(server):
    assert probe(server.unix(), "list") == (0, "test")
    assert probe(server.unix(), "lookup", "test") == (0, "1")
    assert probe(server.unix(), "lookup", "no such") == (1, "remote 42: Domain not found")


def test_threads_on_one_connection(server):
    assert probe(server.unix(), "threads", 32, 40) == (0, "1280")


def test_events_come_in_their_order(server):
    # defined, started, stopped, undefined
    assert probe(server.unix(), "events") == (0, "0 2 5 1")


def serve_once(directory, authority, subject, kind="server", **dates):
    """A TLS server with a certificate of its own; (process, port)."""
    certificate, key = authority.issue(subject, kind, **dates)
    port = clients.free_port()
    process = subprocess.Popen(
        ["openssl", "s_server", "-accept", str(port), "-cert", str(certificate), "-key", str(key), "-quiet"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory,
    )  # fmt: skip
    return process, port


def refusal_of(port, pki):
    """What the probe says of the server at `port`, once that listens."""
    uri = f"test+tls://localhost:{port}/default?pkipath={pki}"
    upstream.poll(lambda: "cannot connect" not in probe(uri, "list")[1], what="openssl's server")
    status, text = probe(uri, "list")
    assert status == 1
    return text


def test_tls_proves_the_server(server, scratch):
    good = server.authority.pkipath(scratch / "client-good", "/CN=alice")
    assert probe(server.tls(good), "list") == (0, "test")
    assert probe(server.tls(good), "threads", 16, 20) == (0, "320")
    assert probe(server.tls(good), "events") == (0, "0 2 5 1")

    foreign = certificates.Authority.new(scratch / "client-foreign")
    strange = server.authority.pkipath(scratch / "client-strange", "/CN=alice", foreign.certificate)
    status, text = probe(server.tls(strange), "list")
    assert status == 1 and "untrusted" in text and "authority that is not known here" in text, text
    assert probe(server.tls(strange, no_verify=1), "list") == (0, "test")

    # A certificate of the same authority, but somebody else's.
    process, port = serve_once(scratch, server.authority, "/CN=elsewhere.example", "client")
    try:
        text = refusal_of(port, good)
        assert "untrusted" in text and "is for CN=" in text and "not for localhost" in text, text
    finally:
        process.kill()
        process.wait()


def test_a_client_that_the_server_does_not_know_is_told_so(server, scratch):
    other = certificates.Authority.new(scratch / "client-other-ca")
    unknown = other.pkipath(scratch / "client-unknown", "/CN=mallory", server.authority.certificate)
    status, text = probe(server.tls(unknown), "list")
    assert status == 1 and "did not accept our certificate" in text, text
    (unknown / "clientcert.pem").unlink()
    status, text = probe(server.tls(unknown), "list")
    assert status == 1 and "is there, but not" in text, text
    (unknown / "clientkey.pem").unlink()
    status, text = probe(server.tls(unknown), "list")
    assert status == 1 and "did not accept a client without a certificate" in text, text


def test_an_expired_certificate_of_ours_is_named(server, scratch):
    late = server.authority.pkipath(scratch / "client-late", "/CN=alice")
    certificate, key = server.authority.issue("/CN=alice", "client", "20200101000000Z", "20210101000000Z")
    shutil.copy(certificate, late / "clientcert.pem")
    shutil.copy(key, late / "clientkey.pem")
    status, text = probe(server.tls(late), "list")
    assert status == 1 and "expired on 2021-01-01" in text, text


def test_an_expired_server_is_refused(server, scratch):
    pki = server.authority.pkipath(scratch / "client-expired", "/CN=alice")
    process, port = serve_once(
        scratch, server.authority, "/CN=localhost", start="20200101000000Z", end="20210101000000Z"
    )
    try:
        text = refusal_of(port, pki)
        assert "untrusted" in text and "expired on 2021-01-01" in text, text
    finally:
        process.kill()
        process.wait()


def test_sasl_over_plain_tcp_encrypts(server, scratch):
    answers = {"VIRTGATE_USER": USER, "VIRTGATE_PASSWORD": PASSWORD}
    assert probe(server.tcp(), "list", **answers) == (0, "test")
    assert probe(server.tcp(), "threads", 16, 20, **answers) == (0, "320")
    status, text = probe(server.tcp(), "list", VIRTGATE_USER=USER, VIRTGATE_PASSWORD="wrong")
    assert status == 1 and text.startswith("denied 45: "), text
    # SCRAM proves, but does not encrypt: the server does not offer it over plain TCP.
    status, text = probe(server.tcp(auth="sasl.SCRAM-SHA-256"), "list", **answers)
    assert status == 1 and "does not offer SCRAM-SHA-256, only DIGEST-MD5" in text, text
    status, text = probe(server.tcp(), "list")
    assert status == 1 and "needs a user name" in text, text
    # The file that libvirt's own clients use.
    file = sasl.auth_file(scratch / "client-auth.conf", USER, PASSWORD)
    assert probe(server.tcp(authfile=file), "list") == (0, "test")


def test_a_command_asks_on_its_terminal(server):
    with tools.Terminal("ping", "-n", "1", "-c", server.tcp()) as terminal:
        terminal.wait_for(b"User name at localhost: ")
        terminal.type(f"{USER}\n".encode())
        terminal.wait_for(b"Password for localhost: ")
        terminal.type(f"{PASSWORD}\n".encode())
        assert terminal.end() == 0
        assert b"1 answered" in terminal.shown and PASSWORD.encode() not in terminal.shown
    # Who is asked can say no.
    with tools.Terminal("ping", "-c", server.tcp()) as terminal:
        terminal.wait_for(b"User name at localhost: ")
        terminal.type(f"{USER}\n".encode())
        terminal.wait_for(b"Password for localhost: ")
        terminal.type(b"\x03")
        assert terminal.end() == -signal.SIGINT and terminal.is_as_before()
    # Nobody is there to be asked.
    done = tools.virtgate("ping", uri=server.tcp())
    assert done.returncode in (tools.DENIED, tools.USAGE) and "user name" in done.stderr, done


def test_scram_where_the_channel_is_safe(scratch):
    server = Server(scratch / "client-scram")
    conf = server.daemon.directory / "libvirtd.conf"
    conf.write_text(conf.read_text().replace('auth_unix_rw = "none"', 'auth_unix_rw = "sasl"'))
    answers = {"VIRTGATE_USER": USER, "VIRTGATE_PASSWORD": PASSWORD}
    with server.daemon:
        server.await_listening()
        uri = server.unix(auth="sasl.scram-sha-256")
        assert probe(uri, "list", **answers) == (0, "test")
        assert probe(uri, "threads", 8, 20, **answers) == (0, "160")
        status, text = probe(uri, "list", VIRTGATE_USER="nobody", VIRTGATE_PASSWORD=PASSWORD)
        assert status == 1 and text.startswith("denied 45: "), text
        status, text = probe(server.unix(auth="polkit"), "list", **answers)
        assert status == 1 and "does not offer auth=polkit" in text, text


def test_nobody_there_and_nobody_answering(scratch):
    status, text = probe(f"test+tcp://localhost:{clients.free_port()}/default", "list")
    assert status == 1 and text.startswith("unreachable") and "refused" in text, text
    status, text = probe(f"test+unix:///default?socket={scratch}/none", "list")
    assert status == 1 and text.startswith("unreachable"), text
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for transport in ("tcp", "tls"):
            uri = f"test+{transport}://127.0.0.1:{silent.getsockname()[1]}/default?pkipath={scratch}/client-good"
            status, text = probe(uri, "list", VIRTGATE_DEADLINE="300")
            assert status == 1 and text.startswith("timeout"), text


def test_a_tunnel_of_any_command(server, scratch):
    script = scratch / "tunnel"
    script.write_text(f"#!/bin/sh\nexec nc -U {server.daemon.socket}\n")
    script.chmod(0o755)
    assert probe(f"test+ext:///default?command={script}", "list") == (0, "test")
    script.write_text("#!/bin/sh\necho 'the tunnel is closed' >&2\nexit 3\n")
    status, text = probe(f"test+ext:///default?command={script}", "list")
    assert status == 1 and "the tunnel is closed" in text and "exit status 3" in text, text


def test_ssh_runs_the_helper_or_a_netcat_over_there(server, scratch):
    """Somebody in the place of ssh notes its arguments, and runs the command as a login shell over there would."""
    log = scratch / "ssh-arguments"
    ssh = scratch / "ssh"
    ssh.write_text(
        f"#!/bin/bash\nprintf '%s\\n' \"$@\" > {log}\nwhile [ \"$1\" != -- ]; do shift; done\n"
        'exec bash -c "$3"\n'
    )
    ssh.chmod(0o755)
    quoted = scratch / "it's a socket"
    quoted.symlink_to(server.daemon.socket)
    uri = f"test+ssh://me@far.example:222/default?command={ssh}&no_tty=1&keyfile=/key&socket="
    assert probe(uri + str(quoted).replace(" ", "%20"), "list") == (0, "test")
    words = log.read_text().splitlines()
    assert words[:12] == [
        "-p", "222", "-l", "me", "-i", "/key", "-T", "-e", "none", "-o", "BatchMode=yes", "--",
    ]  # fmt: skip
    assert words[12] == "far.example"
    # With the helper of libvirt over there, which is given the URI and finds the socket by itself.
    helper = scratch / "virt-ssh-helper"
    helper.write_text(f"#!/bin/sh\n[ \"$1\" = \"it's a URI\" ] && exec nc -U {server.daemon.socket}\n")
    helper.chmod(0o755)
    native = f"test+ssh://far.example/default?command={ssh}&proxy=native&name=it's%20a%20URI"
    status, text = probe(native, "list", PATH=f"{scratch}:{os.environ['PATH']}")
    # It came as far as OPEN, which is asked for the same name.
    assert status == 1 and text.startswith("remote "), text
    assert log.read_text().splitlines()[-1].startswith("sh -c ")


@pytest.mark.parametrize("transport", ["unix", "tls"])
def test_a_server_may_die_at_any_byte(private_libvirtd, running_suite, transport):
    """Of login, OPEN, a call, a registration and a download; "make check-client-cuts" takes each byte, over TLS not of all of the
    picture.

    It is the front door, since Debian's libvirtd itself does not survive TLS handshakes that end in the middle. Nor does it,
    at its own socket or behind the front door, some thousands of clients that end in a download ("corrupted double-linked list"):
    then it goes on from there with a new one.
    """
    uri = running_suite.uri() if transport == "tls" else running_suite.local_uri()
    step = int(os.environ.get("VIRTGATE_CUT_STEP", 97))
    dense = {"unix": 100_000, "tls": 12_000}[transport] if step == 1 else 6_000
    first, cuts, deaths, whole = random.randrange(step), 0, 0, None
    while not whole:
        command = [suite.BUILD / "client-cuts", uri, *map(str, (first, step, dense))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
        whole = re.fullmatch(r"(\d+) cuts in (\d+) bytes\n", done.stdout)
        if not whole:
            failed = re.match(r"after (\d+) bytes: ", done.stdout)
            assert failed and has_died(private_libvirtd), done
            private_libvirtd.socket.unlink(missing_ok=True)
            private_libvirtd.start()
            deaths, cuts, first = deaths + 1, cuts + (int(failed[1]) - first) // step, int(failed[1])
    cuts += int(whole[1])
    assert cuts * step > 600, done
    print(transport, f"{cuts} cuts in {whole[2]} bytes; libvirtd died {deaths} times")


def has_died(daemon):
    try:
        return daemon.process.wait(5) < 0
    except subprocess.TimeoutExpired:
        return False


@pytest.fixture(scope="module")
def pool(server):
    """The URI and name of a directory pool, with a volume of 8 MiB."""
    uri = server.unix("storage", "/session")
    directory = server.daemon.storage / "client-pool"
    directory.mkdir()
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    for words in (
        ["pool-create-as", "client-pool", "dir", "--target", str(directory)],
        ["vol-create-as", "client-pool", "disk", str(8 * MEBIBYTE), "--format", "raw"],
    ):
        clients.run("virsh", "-q", "-c", uri, *words)
    return uri, directory / "disk"


def test_a_volume_goes_up_and_comes_down(pool, scratch):
    uri, path = pool
    source, back = scratch / "client-source", scratch / "client-back"
    source.write_bytes(os.urandom(3 * MEBIBYTE) + bytes(2 * MEBIBYTE) + os.urandom(3 * MEBIBYTE - 17) + bytes(17))
    assert probe(uri, "upload", "client-pool", "disk", source) == (0, "")
    assert pathlib.Path(path).read_bytes() == source.read_bytes()
    status, text = probe(uri, "download", "client-pool", "disk", back)
    assert status == 0 and text.startswith(f"{8 * MEBIBYTE} bytes"), text
    assert back.read_bytes() == source.read_bytes()


def test_a_stream_is_aborted_and_calls_run_beside_one(pool):
    uri, _ = pool
    assert probe(uri, "beside", "client-pool", "disk") == (0, f"50 calls, {8 * MEBIBYTE} bytes")
    status, text = probe(uri, "upload", "client-pool", "none", "/dev/null")
    assert status == 1 and text.startswith("remote 50: "), text


def test_the_examples_do_what_they_say(server):
    listed = subprocess.run(
        [suite.BUILD / "client-list", server.unix()], capture_output=True, text=True, timeout=60, check=True
    )
    assert listed.stdout.split()[:4] == ["1", "test", "state", "1,"], listed
    nobody = subprocess.run(
        [suite.BUILD / "client-list", "test+unix:///default?socket=/none"], capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert nobody.returncode == 1 and nobody.stderr.startswith("cannot connect: "), nobody

    # All connections to test:///default see one node.
    watching = subprocess.Popen(
        [suite.BUILD / "client-events", server.unix()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        os.set_blocking(watching.stdout.fileno(), False)

        def has_seen():
            assert probe(server.unix(), "events")[0] == 0
            return (watching.stdout.read() or b"").decode().splitlines()

        seen = upstream.poll(has_seen, what="an event")
        assert seen[0].startswith("watched: event "), seen
        watching.stdin.close()
        assert watching.wait(60) == 0
    finally:
        watching.kill()
        watching.wait()
