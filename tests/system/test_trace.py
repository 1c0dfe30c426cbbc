# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_trace - what virsh says to libvirtd, seen by `virtgate trace` on the way."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from vgtest import clients, sasl
from vgtest.suite import BUILD

TOP = pathlib.Path(__file__).parents[2]
DRIVER = "test:///default"
SECRET = "correct horse battery"
# Logins over TLS and over plain TCP.
DIGESTS = {
    "netd.tcp.enabled": "true",
    "netd.sasl.mechanisms": '["SCRAM-SHA-256", "DIGEST-MD5"]',
    "netd.sasl.host_name": '"localhost"',
    "netd.sasl.realm": '"localhost"',
}


def trace(server, *words, command=(), **options):
    return subprocess.run(
        [BUILD / "virtgate", "trace", *words, server, "--", *command],
        capture_output=True, text=True, timeout=60, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def uri(private_libvirtd):
    """What the trace is told; the driver is named, since the server's own default is another one."""
    return f"test+unix:///default?socket={private_libvirtd.socket}"


def test_calls_and_replies_of_a_client(uri):
    done = trace(uri, command=("virsh", "-q", "domid", "test"))
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
    lines = done.stderr.splitlines()
    pattern = r"\d\d:\d\d:\d\d\.\d{6} 1 (-|[<>] (call|reply|event) [a-z]+\.[a-z_]+ #\d+( \d+\.\d\dms)?)( |$)"
    assert all(re.match(pattern, line) for line in lines), lines
    (call,) = [line for line in lines if "> call remote.domain_lookup_by_name" in line]
    serial = re.search(r"#(\d+)", call)[1]
    assert call.endswith('{"name":"test"}')
    (reply,) = [line for line in lines if f"< reply remote.domain_lookup_by_name #{serial} " in line]
    assert '"name":"test"' in reply and '"id":1' in reply
    assert lines[0].endswith("connected") and lines[-1].endswith("closed")


def test_errors_and_exit_status_are_the_clients(uri):
    done = trace(uri, command=("virsh", "-q", "domid", "absent"))
    assert done.returncode == 1
    assert re.search(r"< error remote\.domain_lookup_by_name #\d+ \d+\.\d\dms [^\n]*\(code 42\)\n", done.stderr)
    assert trace(uri, command=("sh", "-c", "kill -KILL $$")).returncode == 137
    assert trace(uri, command=("/absent",)).returncode == 127


def test_lines_of_json_in_a_file(uri, tmp_path):
    file = tmp_path / "trace"
    done = trace(uri, "--json", "--output", str(file), command=("virsh", "-q", "list", "--all", "--name"))
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["test"], "")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [lines[0]["what"], lines[-1]["what"]] == ["connected", "closed"]
    calls = {line["serial"]: line for line in lines if line["what"] == "call"}
    for line in lines:
        if line["what"] == "reply":
            call = calls[line["serial"]]
            assert line["procedure"] == call["procedure"] and line["milliseconds"] >= 0
            assert (line["from"], call["from"]) == ("server", "client")
    opened = [line for line in calls.values() if line["procedure"] == "connect_open"]
    assert opened[0]["payload"]["name"] == DRIVER and opened[0]["size"] > 28


def test_secrets_are_hidden(uri, tmp_path):
    """A password in XML, which the server gets all the same, and one in arguments."""
    xml = tmp_path / "vm.xml"
    xml.write_text(
        "<domain type='test'><name>closed</name><memory>1024</memory><os><type>hvm</type></os>"
        f"<devices><graphics type='vnc' port='5900' passwd='{SECRET}'/></devices></domain>"
    )
    script = f"define {xml}; dumpxml --security-info closed; set-user-password test root '{SECRET}'; undefine closed"
    done = trace(uri, "--full", command=("virsh", "-q", script))
    assert SECRET not in done.stderr and SECRET in done.stdout, done.stderr
    assert "passwd='(hidden)'" in done.stderr
    assert re.search(r'> call remote\.domain_set_user_password #\d+ "\(hidden\)"\n', done.stderr)


def test_streams_pass_and_only_their_size_is_shown(private_libvirtd, tmp_path):
    uri = f"test+unix:///default?socket={private_libvirtd.socket}"
    picture = tmp_path / "picture"
    done = trace(uri, command=("virsh", "-q", "screenshot", "test", str(picture)))
    assert done.returncode == 0 and picture.stat().st_size > 1000, done.stderr
    assert re.search(r"< data remote\.domain_screenshot #\d+ \d+ bytes\n", done.stderr)
    assert re.search(r"< finish remote\.domain_screenshot #\d+\n", done.stderr)


def test_socket_of_ones_own_until_a_signal(private_libvirtd, tmp_path):
    path = tmp_path / "sock"
    command = [BUILD / "virtgate", "trace", "--listen", path, private_libvirtd.socket]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr.readline() == f"virtgate: connect to remote+unix:///?socket={path}\n"
            assert path.stat().st_mode & 0o777 == 0o600
            uri = f"test+unix:///default?socket={path}"
            for _ in range(2):
                done = subprocess.run(["virsh", "-q", "-c", uri, "domid", "test"], capture_output=True, text=True, timeout=30)
                assert done.stdout.strip() == "1", done.stderr
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0 and not path.exists()
    assert re.search(r" 2 > call remote\.domain_lookup_by_name ", out)


def test_nothing_is_left(uri, tmp_path):
    trace(uri, command=("true",), env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert not list(tmp_path.iterdir())


# --- over TLS, to the front door ---


@pytest.fixture(scope="module")
def door(running_suite, scratch):
    """Who has no certificate logs in. The URI says where the authorities are, and where users and passwords."""
    settings = {"netd.tls.authentication": '"x509-or-sasl"', **DIGESTS}
    suite = running_suite.sibling(scratch / "traced", settings)
    (suite.directory / "etc").mkdir()
    sasl.add_user(suite.directory / "etc" / "users", "alice", SECRET, "--digest-md5", "localhost")
    suite.add_policy("20-alice.toml", sasl.POLICY.format(name="alice").replace('"alice"', '"alice@localhost"', 1))
    authorities = scratch / "authorities"
    authorities.mkdir()
    shutil.copy(suite.pki / "cacert.pem", authorities)
    suite.login = f"&authfile={sasl.auth_file(scratch / 'auth.conf', 'alice', SECRET)}"
    suite.authorities = authorities
    with suite:
        yield suite


def test_server_over_tls(door, tmp_path):
    """With a certificate, which the client itself does not need."""
    picture = tmp_path / "picture"
    done = trace(door.uri(), command=("virsh", "-q", f"domid test; screenshot test {picture}"))
    assert (done.returncode, done.stdout.split()[0]) == (0, "1"), done.stderr
    assert picture.stat().st_size > 1000
    assert re.search(r'> call remote\.domain_lookup_by_name #\d+ {"name":"test"}\n', done.stderr)
    assert re.search(r"< finish remote\.domain_screenshot #\d+\n", done.stderr)
    lines = done.stderr.splitlines()
    assert lines[0].endswith("connected") and lines[-1].endswith("closed")


def test_client_logs_in_over_tls_and_its_password_is_hidden(door):
    uri = door.uri(pki=door.authorities, more=door.login)
    done = trace(uri, "--full", command=("virsh", "-q", "domid", "test"))
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
    assert "> call remote.auth_sasl_start" in done.stderr and '"(hidden)"' in done.stderr
    assert SECRET not in done.stderr and "alice" not in done.stderr


def test_login_over_tcp_cannot_be_looked_at(door):
    uri = door.tcp_uri(more=door.login.replace("&", "?"))
    assert clients.attempt("virsh", "-q", "-c", uri, "domid", "test").stdout.strip() == "1"
    done = trace(uri, command=("virsh", "-q", "domid", "test"))
    assert done.returncode == 1 and "a login over plain TCP has to encrypt all that follows" in done.stderr, done.stderr
    assert SECRET not in done.stderr


def test_server_that_is_not_trusted(door, foreign_authority, scratch):
    pki = scratch / "foreign-authorities"
    pki.mkdir()
    shutil.copy(foreign_authority.certificate, pki / "cacert.pem")
    done = trace(door.uri(pki=pki), command=("virsh", "-q", "domid", "test"))
    assert done.returncode == 1, done.stderr
    assert re.search(r" 1 - [^\n]*certificate", done.stderr), done.stderr
    assert "call" not in done.stderr


def test_many_clients_at_once_over_tls(door):
    script = "for i in 1 2 3 4 5; do virsh -q domid test & done; wait"
    done = trace(door.uri(), command=("sh", "-c", script))
    assert (done.returncode, done.stdout.split()) == (0, ["1"] * 5), done.stderr
    assert len(re.findall(r" [1-5] - closed\n", done.stderr)) == 5


@pytest.mark.parametrize(
    ("server", "options", "text"),
    [("nonsense", (), ""), ("qemu+tls://host/system", ("--readonly",), "--readonly chooses between UNIX sockets")],
)
def test_servers_that_cannot_be_looked_at(server, options, text):
    done = trace(server, *options, command=("true",))
    assert done.returncode == 64 and done.stderr.startswith("virtgate: ") and text in done.stderr


def test_server_that_is_not_there(tmp_path):
    done = trace(str(tmp_path / "absent"), command=("virsh", "-q", "list"))
    assert done.returncode == 1
    assert re.search(r" 1 - cannot connect to \S+/absent: No such file or directory\n", done.stderr)


# --- what is written about it ---


@pytest.mark.parametrize("command", ["trace", "discover"])
def test_manual_and_completions_have_every_option(command):
    help_ = subprocess.run([BUILD / "virtgate", "help", command], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^ +(?:-\w, ?)?(--[a-z-]+)", help_, re.M)) - {"--help"}
    assert known
    page = (TOP / f"docs/man/virtgate-{command}.1").read_text()
    assert {f"--{word}" for word in re.findall(r"Fl -([a-z-]+)", page)} == known
    zsh = (TOP / "packaging/completions/_virtgate").read_text()
    block = re.search(rf"^        {command}\)\n(.*?);;$", zsh, re.M | re.S)[1]
    assert set(re.findall(r"--[a-z-]+", block)) - {"--help"} == known
    script = f"""
        . {TOP}/packaging/completions/virtgate.bash
        compopt() {{ :; }}
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _virtgate
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script, "bash", BUILD / "virtgate", command, "--"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert set(done.stdout.split()) - {"--help"} == known
