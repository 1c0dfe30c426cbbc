# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_pki - what `virtgate pki` makes is accepted by libvirt, GnuTLS and OpenSSL, and `virtgate pki check`
names the cause of each failure that is provoked here with a real server.
"""

import concurrent.futures
import contextlib
import datetime
import io
import json
import os
import pty
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import tarfile
import threading
import time

import pytest

from vgtest import certificates, clients, libvirtd, suite, upstream

VIRTGATE = suite.BUILD / "virtgate"
NAMES = ("localhost", "127.0.0.1", "::1")


def attempt(*words, **options):
    return clients.attempt(VIRTGATE, "pki", *words, **options)


def pki(*words):
    return clients.run(VIRTGATE, "pki", *words)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def place(scratch):
    directory = scratch / "pki-tests"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def store(place):
    """An authority with one server and one client, which no test changes."""
    directory = place / "store"
    pki("init", "--dir", directory, "--organisation", "Example")
    pki("server", *NAMES, "--dir", directory)
    pki("client", "alice", "--dir", directory)
    return directory


@pytest.fixture
def fresh(place, request):
    directory = place / request.node.name.partition("[")[0]
    pki("init", "--dir", directory, "--organisation", "Example")
    return directory


@pytest.fixture(scope="module")
def other(place):
    """Somebody else's authority."""
    return certificates.Authority.new(place / "other", "O=Other/CN=Other CA")


@pytest.fixture(scope="module")
def authority(store, place):
    """The store's own authority, for certificates that virtgate does not make."""
    return certificates.Authority(store / "ca/cacert.pem", store / "ca/cakey.pem", place / "openssl")


# ---- what is made


@pytest.mark.parametrize("kind", ["ecdsa", "rsa", "ed25519"])
def test_openssl_and_certtool_accept_what_is_made(place, kind):
    directory = place / f"kind-{kind}"
    pki("init", "--dir", directory, "--key-type", kind)
    pki("server", "host.example.org", "192.0.2.1", "--dir", directory)
    pki("client", "alice", "--dir", directory)
    ca, crl = directory / "ca/cacert.pem", directory / "ca/cacrl.pem"
    for purpose, path in (
        ("sslserver", "servers/host.example.org/servercert.pem"),
        ("sslclient", "clients/alice/clientcert.pem"),
    ):
        clients.run(
            "openssl",
            "verify",
            "-x509_strict",
            "-crl_check",
            "-CRLfile",
            crl,
            "-CAfile",
            ca,
            "-purpose",
            purpose,
            directory / path,
        )
        clients.run("certtool", "--verify", "--load-ca-certificate", ca, "--infile", directory / path)
    server = directory / "servers/host.example.org/servercert.pem"
    clients.run("openssl", "verify", "-CAfile", ca, "-verify_hostname", "host.example.org", server)
    clients.run("openssl", "verify", "-CAfile", ca, "-verify_ip", "192.0.2.1", server)
    text = clients.run("openssl", "x509", "-in", server, "-noout", "-text")
    assert "X509v3 Key Usage: critical\n                Digital Signature, Key Encipherment\n" in text
    assert "X509v3 Extended Key Usage: \n                TLS Web Server Authentication\n" in text
    assert "CA:FALSE" in text


def test_keys_are_private_whatever_the_umask(place):
    directory = place / "umask"
    before = os.umask(0)
    try:
        pki("init", "--dir", directory)
        pki("client", "alice", "--dir", directory)
        pki("renew", "alice", "--new-key", "--dir", directory)
        pki("export", "alice", "--dir", directory, "--output", place / "umask.tar")
    finally:
        os.umask(before)
    keys = [path for path in directory.rglob("*key.pem")]
    assert len(keys) == 3 and {mode(path) for path in keys} == {0o600}
    for path in directory.rglob("*"):
        assert mode(path) & 0o022 == 0, path
        if path.is_dir():
            assert mode(path) == 0o700, path
    assert mode(directory) == 0o755 and mode(place / "umask.tar") == 0o600


def test_nothing_is_overwritten(store):
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    for words in (["init"], ["server", "localhost"], ["client", "alice"]):
        done = attempt(*words, "--dir", store)
        assert done.returncode == 71 and "never overwritten" in done.stderr and done.stdout == ""
    assert before == {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        ["server", "not a host"],
        ["server", "-bad.example"],
        ["server", "10.0.0.300"],
        ["server", "*.org"],
        ["client", "x,CN=admin"],
        ["client", "../x"],
        ["client", "a/b"],
        ["client", "."],
        ["client", "a\nb"],
        ["client", "x" * 65],
        ["client", ""],
        ["init", "--days", "0"],
        ["init", "--key-type", "dsa"],
        ["intt"],
        ["renew"],
        ["check", "host:99999"],
        ["check", "[::1"],
        ["check", "qemu:///system"],
        ["check", "--key", "x"],
        ["check", "localhost", "--certificate", "x"],
    ],
    ids=repr,
)
def test_bad_command_lines_are_refused_before_anything_happens(place, words):
    nowhere = place / "nowhere"
    done = attempt(*words, *([] if words[0] == "intt" else ["--dir", nowhere]))
    assert done.returncode == 64, done
    assert done.stderr.startswith("virtgate: ") and not nowhere.exists()


def test_names_of_other_alphabets_and_stars(fresh):
    pki("server", "BÜCHER.example.org", "*.Example.org", "[2001:db8:0::1]", "--dir", fresh)
    entry = json.loads(pki("list", "--json", "--dir", fresh))["certificates"][1]
    assert entry["dns"] == ["xn--bcher-kva.example.org", "*.example.org"]
    assert entry["addresses"] == ["2001:db8::1"]
    pki("renew", "bücher.example.org", "--dir", fresh)


def test_list_and_json(fresh):
    pki("client", "alice", "bob", "--dir", fresh, "--days", "21")
    pki("client", "carol", "--dir", fresh, "--organisation", "Guests", "--days", "2")
    pki("revoke", "bob", "--dir", fresh)
    text = pki("list", "--dir", fresh)
    for name, words in (
        ("alice", "expires in 3 weeks"),
        ("carol", "expires in 2 days"),
        ("bob", "revoked less than a minute ago"),
        ("crl", "1 revoked"),
    ):
        assert any(
            line.split()[0 if name == "crl" else 1] == name and words in line for line in text.splitlines()
        ), (name, text)
    entries = {
        entry["name"]: entry for entry in json.loads(pki("list", "--json", "--dir", fresh))["certificates"]
    }
    assert entries["alice"]["organisation"] == "Example" and entries["carol"]["organisation"] == "Guests"
    assert entries["bob"]["state"] == "revoked" and not entries["bob"]["in_use"]
    assert 20 * 86400 < entries["alice"]["seconds_left"] <= 21 * 86400
    for entry in entries.values():
        assert len(entry["serial"]) == 32


def test_renewal_keeps_key_and_names_and_replaces_in_one_step(fresh):
    pki("server", *NAMES, "--dir", fresh)
    bundle = fresh / "servers/localhost"
    key, old = (bundle / "serverkey.pem").read_bytes(), (bundle / "servercert.pem").read_bytes()
    pki("renew", "localhost", "--dir", fresh, "--days", "40")
    new = (bundle / "servercert.pem").read_bytes()
    assert new != old and (bundle / "serverkey.pem").read_bytes() == key
    assert old in [path.read_bytes() for path in (fresh / "ca/issued").iterdir()]
    assert sorted(path.name for path in bundle.iterdir()) == ["cacert.pem", "servercert.pem", "serverkey.pem"]
    clients.run(
        "openssl",
        "verify",
        "-CAfile",
        fresh / "ca/cacert.pem",
        "-verify_ip",
        "::1",
        bundle / "servercert.pem",
    )
    pki("renew", "localhost", "--dir", fresh, "--new-key")
    assert (bundle / "serverkey.pem").read_bytes() != key
    (aside,) = (fresh / "old/servers").iterdir()
    assert (aside / "serverkey.pem").read_bytes() == key and (aside / "servercert.pem").read_bytes() == new


def test_a_certificate_never_outlives_its_authority(place):
    directory = place / "short"
    pki("init", "--dir", directory, "--days", "10")
    assert "less than asked for" in pki("client", "alice", "--dir", directory)
    ends = {
        entry["not_after"] for entry in json.loads(pki("list", "--json", "--dir", directory))["certificates"]
    }
    assert len(ends) == 1


def test_revocation_ends_every_certificate_of_the_name(fresh):
    pki("client", "alice", "bob", "--dir", fresh)
    first = (fresh / "clients/alice/clientcert.pem").read_bytes()
    pki("renew", "alice", "--dir", fresh)
    second = (fresh / "clients/alice/clientcert.pem").read_bytes()
    out = pki("revoke", "alice", "--dir", fresh)
    assert out.count("Revoked O=Example,CN=alice") == 2 and not (fresh / "clients/alice").exists()
    ca, crl = fresh / "ca/cacert.pem", fresh / "ca/cacrl.pem"
    for number, certificate in enumerate((first, second)):
        path = fresh / f"alice{number}.pem"
        path.write_bytes(certificate)
        done = clients.attempt("openssl", "verify", "-crl_check", "-CRLfile", crl, "-CAfile", ca, path)
        assert done.returncode != 0 and "certificate revoked" in done.stderr
    clients.run(
        "openssl",
        "verify",
        "-crl_check",
        "-CRLfile",
        crl,
        "-CAfile",
        ca,
        fresh / "clients/bob/clientcert.pem",
    )
    # The name is free again, and what is new is not revoked.
    pki("client", "alice", "--dir", fresh)
    clients.run(
        "openssl",
        "verify",
        "-crl_check",
        "-CRLfile",
        crl,
        "-CAfile",
        ca,
        fresh / "clients/alice/clientcert.pem",
    )
    assert attempt("revoke", "nobody", "--dir", fresh).returncode == 71


def test_crl_is_in_force_as_long_as_the_authority_and_its_number_grows(fresh):
    def field(name):
        return (
            clients.run("openssl", "crl", "-in", fresh / "ca/cacrl.pem", "-noout", name)
            .strip()
            .partition("=")[2]
        )

    end = (
        clients.run("openssl", "x509", "-in", fresh / "ca/cacert.pem", "-noout", "-enddate")
        .strip()
        .partition("=")[2]
    )
    assert field("-nextupdate") == end
    numbers = [int(field("-crlnumber"), 16)]
    for _ in range(3):
        pki("crl", "--dir", fresh)
        numbers.append(int(field("-crlnumber"), 16))
    assert numbers == sorted(set(numbers))
    assert "nobody is let in" in pki("crl", "--days", "7", "--dir", fresh)
    assert "crl_expires_soon" in codes(attempt("check", "--dir", fresh, "--json"))


def test_a_host_may_be_server_and_client(fresh):
    pki("server", "host1", "--dir", fresh)
    pki("client", "host1", "--dir", fresh)
    done = attempt("renew", "host1", "--dir", fresh)
    assert done.returncode == 71 and "--server or --client" in done.stderr
    pki("renew", "host1", "--client", "--dir", fresh)
    pki("revoke", "host1", "--server", "--dir", fresh)
    pki("renew", "host1", "--dir", fresh)


def test_concurrent_runs_wait_for_each_other(fresh):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda i: attempt("client", f"c{i % 8}", "--dir", fresh), range(16)))
    assert sorted(one.returncode for one in done) == [0] * 8 + [71] * 8
    entries = json.loads(pki("list", "--json", "--all", "--dir", fresh))["certificates"]
    assert len({entry["serial"] for entry in entries}) == len(entries) == 9


def test_concurrent_beginnings_make_one_authority(place):
    directory = place / "twice"
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: attempt("init", "--dir", directory).returncode, range(4)))
    assert sorted(done) == [0, 71, 71, 71]
    assert sorted(path.name for path in directory.iterdir()) == ["ca"]


def test_a_killed_run_leaves_nothing_half_made(fresh):
    for i in range(30):
        process = subprocess.Popen(
            [VIRTGATE, "pki", "client", f"k{i}", "--dir", fresh], stdout=subprocess.DEVNULL
        )
        time.sleep(i * 0.0007)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    for bundle in (fresh / "clients").glob("k*"):
        assert len(list(bundle.iterdir())) == 3
        clients.run("openssl", "verify", "-CAfile", fresh / "ca/cacert.pem", bundle / "clientcert.pem")
    pki("client", "last", "--dir", fresh)
    assert not list(fresh.glob("*/.*"))
    assert attempt("check", "--dir", fresh).returncode == 0


# ---- handing it over


def unpack(*words):
    archive = subprocess.run(
        [VIRTGATE, "pki", "export", *words], capture_output=True, check=True, timeout=30
    ).stdout
    return tarfile.open(fileobj=io.BytesIO(archive))


def test_export_is_what_libvirt_looks_for(store, place):
    with unpack("alice", "--dir", store) as archive:
        found = {member.name: (member.mode, member.isfile()) for member in archive}
    assert found == {
        "cacert.pem": (0o644, True),
        "clientcert.pem": (0o644, True),
        "clientkey.pem": (0o600, True),
    }
    file = place / "server.tar"
    pki("export", "localhost", "--dir", store, "--output", file, "--crl")
    assert clients.run("tar", "-tf", file).split() == [
        "cacert.pem",
        "servercert.pem",
        "serverkey.pem",
        "cacrl.pem",
    ]
    before = file.read_bytes()
    assert attempt("export", "localhost", "--dir", store, "--output", file).returncode == 71
    assert file.read_bytes() == before


def test_export_never_writes_to_a_terminal(store):
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [VIRTGATE, "pki", "export", "alice", "--dir", store],
            stdout=slave,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 64 and "terminal" in done.stderr
        os.set_blocking(master, False)
        with pytest.raises(BlockingIOError):
            os.read(master, 1)
    finally:
        os.close(master)
        os.close(slave)


@pytest.fixture(scope="module")
def daemon(store, place):
    """libvirtd with the server's files as they come out of the archive; (port, directory of alice)."""
    assert libvirtd.available(), "libvirtd is not installed (Debian: libvirt-daemon)"
    parts = {}
    for name in ("localhost", "alice"):
        parts[name] = place / f"unpacked-{name}"
        parts[name].mkdir()
        with unpack(name, "--dir", store) as archive:
            archive.extractall(parts[name])
    parts["localhost"].chmod(0o755)
    (parts["localhost"] / "serverkey.pem").chmod(0o644)  # libvirtd runs as nobody
    port = clients.free_port()
    with libvirtd.Libvirtd(place / "libvirtd", parts["localhost"], port):

        def listens():
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(
                ("127.0.0.1", port), 5
            ):
                return True

        upstream.poll(listens, what="the TLS port of libvirtd")
        yield port, parts["alice"]


def test_virsh_connects_with_what_was_exported(daemon):
    port, alice = daemon
    out = clients.run(
        "virsh", "-q", "-c", f"test+tls://localhost:{port}/default?pkipath={alice}", "list", "--name"
    )
    assert out.split() == ["test"]


def test_check_of_a_real_libvirtd(daemon, other, place, store):
    port, alice = daemon
    done = attempt("check", f"test+tls://localhost:{port}/default?pkipath={alice}")
    assert done.returncode == 0 and "the server accepts the client" in done.stdout, done
    stranger = other.pkipath(place / "stranger", "/CN=stranger", ca=store / "ca/cacert.pem")
    done = attempt("check", f"localhost:{port}", "--pkipath", stranger, "--json")
    assert {"client_refused", "certificate_not_wanted"} & codes(done), done


# ---- check: one failure at a time


def codes(done):
    """The codes of a run with --json; its status says whether there is a problem."""
    document = json.loads(done.stdout)
    problems = [finding for finding in document["findings"] if finding["level"] == "problem"]
    assert document["good"] == (not problems) and done.returncode == (1 if problems else 0), done
    for finding in document["findings"]:
        assert finding["where"] and finding["what"]
        assert (finding["remedy"] != "") == (finding["level"] != "good"), finding
    return {finding["code"] for finding in document["findings"] if finding["level"] != "good"}


@contextlib.contextmanager
def serving(serve):
    """A TCP server on a free port that runs serve(connection) for each connection, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)

        def work():
            with contextlib.suppress(OSError):
                while True:
                    connection = listener.accept()[0]
                    with connection, contextlib.suppress(OSError):
                        connection.settimeout(20)
                        serve(connection)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(30)
            assert not thread.is_alive()


def tls_server(certificate, key, client_ca=None, say=b"\x01", newest=ssl.TLSVersion.TLSv1_3):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    context.load_cert_chain(certificate, key)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)

    def serve(connection):
        with context.wrap_socket(connection, server_side=True) as tls:
            if say:
                tls.sendall(say)
                with contextlib.suppress(OSError):
                    tls.recv(1)

    return serving(serve)


@pytest.fixture
def server_files(store):
    return store / "servers/localhost/servercert.pem", store / "servers/localhost/serverkey.pem"


@pytest.fixture
def alice(store):
    return store / "clients/alice"


def check(port, alice, *words, host="localhost"):
    return attempt("check", f"{host}:{port}", "--pkipath", alice, "--json", *words)


def test_check_of_a_good_server(server_files, alice, store):
    with tls_server(*server_files, store / "ca/cacert.pem") as port:
        for host in ("localhost", "127.0.0.1"):
            assert codes(check(port, alice, host=host)) == set()


def test_check_name_mismatch(server_files, alice):
    with tls_server(*server_files) as port:
        done = check(port, alice, "--name", "host2.example.org")
        assert codes(done) == {"name_mismatch"}
        assert "localhost, 127.0.0.1, ::1" in done.stdout


def test_check_unknown_issuer(other, alice):
    with tls_server(*other.issue("/CN=localhost", kind="server")) as port:
        done = check(port, alice)
        assert codes(done) == {"unknown_issuer"} and "CN=Other CA" in done.stdout.replace("Other/", "")


def test_check_same_name_other_key(store, alice, place):
    again = place / "again"
    pki("init", "--dir", again, "--organisation", "Example")
    pki("server", *NAMES, "--dir", again)
    bundle = again / "servers/localhost"
    with tls_server(bundle / "servercert.pem", bundle / "serverkey.pem") as port:
        assert codes(check(port, alice)) == {"same_name_other_key"}


def openssl_self_signed(directory, *extensions):
    directory.mkdir(exist_ok=True)
    certificates.make_key(directory / "key.pem")
    (directory / "cnf").write_text(
        "[req]\ndistinguished_name=n\nx509_extensions=x\n[n]\n[x]\n" + "\n".join(extensions)
    )
    clients.run(
        "openssl",
        "req",
        "-x509",
        "-new",
        "-key",
        directory / "key.pem",
        "-out",
        directory / "cert.pem",
        "-subj",
        "/CN=localhost",
        "-days",
        "60",
        "-config",
        directory / "cnf",
    )
    return directory / "cert.pem", directory / "key.pem"


def test_check_self_signed(place, alice):
    files = openssl_self_signed(
        place / "self", "subjectAltName=DNS:localhost", "basicConstraints=critical,CA:false"
    )
    with tls_server(*files) as port:
        assert codes(check(port, alice)) == {"self_signed"}


def dates(**offset):
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        name: (now + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ") for name, days in offset.items()
    }


@pytest.mark.parametrize(
    "code, start, end", [("expired", -20, -2), ("not_yet_valid", 1, 40), ("expires_soon", -2, 5)]
)
def test_check_dates(authority, alice, code, start, end):
    with tls_server(*authority.issue("/CN=localhost", kind="server", **dates(start=start, end=end))) as port:
        done = check(port, alice)
        assert codes(done) == {code}
        assert code == "expires_soon" or "clock of this machine" in done.stdout


EXTENSIONS = {
    "no_key_encipherment": "basicConstraints=CA:false\nkeyUsage=critical,digitalSignature\n"
    "extendedKeyUsage=serverAuth\n",
    "no_digital_signature": "basicConstraints=CA:false\nkeyUsage=critical,keyEncipherment\n"
    "extendedKeyUsage=serverAuth\n",
    "wrong_purpose": "basicConstraints=CA:false\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
    "extendedKeyUsage=critical,clientAuth\n",
}


@pytest.mark.parametrize("code", EXTENSIONS)
@pytest.mark.parametrize("critical", [True, False])
def test_check_usage_and_purpose(place, code, critical):
    """A server that itself has such a certificate, looked at as a file and over the network."""
    work = place / f"usage-{code}-{critical}"
    mine = certificates.Authority.new(work)
    text = EXTENSIONS[code] + "subjectAltName=DNS:localhost\n"
    certificates._EXTENSIONS["here"] = text if critical else text.replace("critical,", "")
    certificate, key = mine.issue("/CN=localhost", kind="here", **dates(start=-1, end=60))
    server = work / "servercert.pem"
    shutil.copy(certificate, server)
    done = attempt("check", "--ca", mine.certificate, "--certificate", server, "--key", key, "--json")
    if code != "wrong_purpose":
        assert code in codes(done) and done.returncode == (1 if critical else 0)
    if code == "no_digital_signature":
        return  # no TLS library of a server signs with such a key
    with tls_server(certificate, key) as port:
        done = attempt(
            "check",
            f"localhost:{port}",
            "--ca",
            mine.certificate,
            "--certificate",
            certificate,
            "--key",
            key,
            "--json",
        )
        assert code in codes(done)
        assert any(
            finding["where"] == f"localhost:{port}" and finding["code"] == code
            for finding in json.loads(done.stdout)["findings"]
        )


def test_check_authority_as_server(place, alice, store):
    ca = store / "ca"
    with tls_server(ca / "cacert.pem", ca / "cakey.pem") as port:
        assert "is_authority" in codes(check(port, alice, "--name", "localhost"))


def test_check_intermediate_missing(place):
    """An authority below another; the server forgets to send its certificate, then sends it."""
    work = place / "middle"
    work.mkdir()
    certificates.make_key(work / "cakey.pem")
    (work / "cnf").write_text("[req]\ndistinguished_name=n\n[n]\n")
    clients.run(
        "openssl",
        "req",
        "-new",
        "-key",
        work / "cakey.pem",
        "-subj",
        "/O=Root/CN=Middle",
        "-config",
        work / "cnf",
        "-out",
        work / "csr",
    )
    root = certificates.Authority.new(work / "root", "O=Root/CN=Root CA")
    (work / "ext").write_text("basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n")
    clients.run(
        "openssl",
        "x509",
        "-req",
        "-in",
        work / "csr",
        "-CA",
        root.certificate,
        "-CAkey",
        root.key,
        "-set_serial",
        "77",
        "-days",
        "60",
        "-extfile",
        work / "ext",
        "-out",
        work / "cacert.pem",
    )
    middle = certificates.Authority(work / "cacert.pem", work / "cakey.pem", work / "issued")
    certificate, key = middle.issue("/O=Root/CN=localhost", kind="server", **dates(start=-1, end=60))
    client = root.pkipath(work / "client", "/O=Root/CN=client")
    (client / "clientkey.pem").chmod(0o600)
    with tls_server(certificate, key) as port:
        assert codes(check(port, client)) - {"expires_soon"} == {"intermediate_missing"}
    chain = work / "chain.pem"
    chain.write_bytes(certificate.read_bytes() + (work / "cacert.pem").read_bytes())
    with tls_server(chain, key) as port:
        assert codes(check(port, client)) - {"expires_soon"} == set()


def test_check_revoked_server(fresh):
    pki("server", *NAMES, "--dir", fresh)
    pki("client", "alice", "--dir", fresh)
    bundle = shutil.copytree(fresh / "servers/localhost", fresh / "kept")
    pki("revoke", "localhost", "--dir", fresh)
    with tls_server(bundle / "servercert.pem", bundle / "serverkey.pem") as port:
        done = check(port, fresh / "clients/alice", "--crl", fresh / "ca/cacrl.pem")
        assert codes(done) == {"revoked"}


# ---- check: the client's side is refused


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_check_client_refused(server_files, other, place, store, newest):
    stranger = other.pkipath(place / f"refused-{newest.name}", "/CN=stranger", ca=store / "ca/cacert.pem")
    (stranger / "cacert.pem").write_bytes(
        (store / "ca/cacert.pem").read_bytes() + other.certificate.read_bytes()
    )
    with tls_server(*server_files, store / "ca/cacert.pem", newest=newest) as port:
        done = check(port, stranger)
        assert codes(done) & {"client_refused", "certificate_not_wanted"}, done
        assert "CN=stranger" in done.stdout


def test_check_without_a_certificate(server_files, place, store):
    nobody = place / "nobody"
    nobody.mkdir()
    shutil.copy(store / "ca/cacert.pem", nobody)
    with tls_server(*server_files, store / "ca/cacert.pem") as port:
        assert codes(check(port, nobody)) == {"no_certificate", "client_refused"}


def test_check_closed_after_the_handshake(server_files, alice):
    with tls_server(*server_files, say=b"") as port:
        assert codes(check(port, alice)) == {"client_refused"}


def test_check_no_confirmation(server_files, alice, place):
    """gnutls-serv shakes hands and then waits for the client."""
    port = clients.free_port()
    process = subprocess.Popen(
        [
            "gnutls-serv",
            "--echo",
            "--quiet",
            "--port",
            str(port),
            "--x509certfile",
            server_files[0],
            "--x509keyfile",
            server_files[1],
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:

        def listens():
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(
                ("127.0.0.1", port), 5
            ):
                return True

        upstream.poll(listens, what="gnutls-serv")
        started = time.monotonic()
        assert codes(check(port, alice, "--timeout", "1")) == {"no_confirmation"}
        assert time.monotonic() - started < 5
    finally:
        process.kill()
        process.wait()


def test_check_another_protocol_over_tls(server_files, alice):
    with tls_server(*server_files, say=b"* OK IMAP4rev1 ready\r\n") as port:
        assert codes(check(port, alice)) == {"not_libvirt"}


# ---- check: not even TLS


def test_check_connection_refused(alice):
    assert codes(check(clients.free_port(), alice)) == {"connection_refused"}


def test_check_unknown_host(alice):
    assert codes(check(16514, alice, host="no-such-host.invalid")) == {"unknown_host"}


@pytest.mark.parametrize(
    "name, greeting, words",
    [
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH server"),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n", "web server"),
        ("hostile", b"\x1b[31m\x07\xff", "\\\\x1b"),
        ("closes", b"", "closed as soon as TLS begins"),
    ],
)
def test_check_not_tls(alice, name, greeting, words):
    def serve(connection):
        connection.recv(1000)
        connection.sendall(greeting)

    with serving(serve) as port:
        done = check(port, alice)
        assert codes(done) == {"not_tls"} and words in done.stdout and "\x1b" not in done.stdout


def test_check_silent_server_is_given_up(alice):
    with serving(lambda connection: connection.recv(1) and time.sleep(3)) as port:
        started = time.monotonic()
        assert codes(check(port, alice, "--timeout", "1")) == {"not_tls"}
        assert time.monotonic() - started < 5


def test_check_tls_version(server_files, alice):
    with tls_server(*server_files, newest=ssl.TLSVersion.TLSv1_2) as port:
        assert codes(check(port, alice, "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3")) == {"tls_version"}


# ---- check: files


def test_check_files_of_a_store(fresh):
    pki("server", "host1", "--dir", fresh)
    pki("client", "alice", "--dir", fresh)
    assert codes(attempt("check", "--dir", fresh, "--json")) == set()
    client, server = fresh / "clients/alice", fresh / "servers/host1"
    (client / "clientkey.pem").chmod(0o644)
    assert codes(attempt("check", "--dir", fresh, "--json")) == {"key_permissions"}
    (client / "clientkey.pem").chmod(0o600)
    (client / "clientkey.pem").write_bytes((server / "serverkey.pem").read_bytes())
    assert codes(attempt("check", "--dir", fresh, "--json")) == {"key_mismatch"}
    (client / "clientkey.pem").write_bytes((client / "clientcert.pem").read_bytes())
    assert codes(attempt("check", "--dir", fresh, "--json")) == {"malformed"}
    (client / "clientkey.pem").unlink()
    assert codes(attempt("check", "--dir", fresh, "--json")) == {"missing"}
    (client / "clientcert.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")
    (fresh / "servers/README").write_text("no bundle")
    assert codes(attempt("check", "--dir", fresh, "--json")) == {"malformed"}
    pki("client", "bob", "--dir", fresh)
    shutil.copy(fresh / "clients/bob/clientcert.pem", client)
    shutil.copy(fresh / "clients/bob/clientkey.pem", client)
    assert codes(attempt("check", "--dir", fresh, "--json")) == set()
    pki("revoke", "bob", "--dir", fresh)
    assert codes(attempt("check", "--dir", fresh, "--json")) == {"revoked"}
    shutil.rmtree(client)
    (server / "serverkey.pem").chmod(0o640)
    done = attempt("check", "--dir", fresh, "--json")
    assert codes(done) == {"key_permissions"} and done.returncode == 0
    assert "key_permissions" in codes(attempt("check", "--pkipath", server, "--json"))


def test_check_encrypted_key(place, store, alice):
    bundle = shutil.copytree(alice, place / "encrypted")
    clients.run(
        "openssl",
        "pkey",
        "-in",
        alice / "clientkey.pem",
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        bundle / "clientkey.pem",
    )
    (bundle / "clientkey.pem").chmod(0o600)
    done = attempt("check", "--pkipath", bundle, "--json")
    assert codes(done) == {"malformed"} and "encrypted" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as somebody else")
def test_check_unreadable_key(place, store, alice):
    bundle = shutil.copytree(alice, place / "unreadable")
    bundle.chmod(0o755)
    program = shutil.copy(VIRTGATE, place / "virtgate")
    done = clients.attempt(
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        program,
        "pki",
        "check",
        "--pkipath",
        bundle,
        "--json",
    )
    assert codes(done) == {"unreadable"} and "another user" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a home directory that is empty")
def test_the_places_of_a_user(place, store):
    """Not root: the store is in the home directory, and libvirt's files in ~/.pki/libvirt are found."""
    home = place / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    program = shutil.copy(VIRTGATE, place / "virtgate-user")

    def as_user(*words):
        return clients.attempt(
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "env",
            "-u",
            "XDG_DATA_HOME",
            f"HOME={home}",
            program,
            "pki",
            *words,
        )

    assert as_user("init").returncode == 0 and as_user("client", "me").returncode == 0
    own = home / ".local/share/virtgate/pki"
    assert (own / "clients/me/clientkey.pem").exists()
    libvirts = home / ".pki/libvirt"
    shutil.copytree(own / "clients/me", libvirts)
    for path in [libvirts, *libvirts.iterdir()]:
        os.chown(path, 65534, 65534)
    done = as_user("check")
    assert done.returncode == 0 and str(libvirts / "clientcert.pem") in done.stdout, done


# ---- with the rest of virtgate


def test_the_authority_of_up_is_a_store(gate, place):
    """More clients for the suite under test, as the guide tells; they are checked against its real gate."""
    directory = place / "of-up"
    shutil.copytree(gate.directory / "pki", directory)
    pki("client", "guest", "--dir", directory)
    assert attempt("check", "--dir", directory).returncode == 0
    done = attempt("check", f"localhost:{gate.port}", "--pkipath", gate.pki, "--json")
    assert codes(done) <= {"expires_soon"} and done.returncode == 0
    done = attempt("check", f"localhost:{gate.port}", "--pkipath", directory / "clients/guest", "--json")
    assert "client_refused" in codes(done)
