# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_bad_input - what is broken, unreadable, open to others, missing or taken: each daemon and tool says what and what to do.

Each row is one way to start a program that cannot work: its exit status (as in sysexits) and words of its message.
"""

import contextlib
import datetime
import os
import pathlib
import resource
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest

from vgtest import certificates, processes, suite, upstream
from vgtest.clients import attempt

USAGE, NO_INPUT, UNAVAILABLE, SYSTEM, NO_PERMISSION, CONFIG = 64, 66, 69, 71, 77, 78
DAEMONS = ("netd", "workerd", "lockd")
NOBODY = 65534
OUTER_FILTER = pathlib.Path(suite.__file__).with_name("outer_filter.py")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


def run(daemon, file, *options, before=None, prefix=()):
    """How the daemon ends, which has to be soon."""
    command = [*prefix, suite.BUILD / f"virtgate-{daemon}", "--config", file, *options]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=20, check=False, preexec_fn=before,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def expect(done, status, *words):
    assert done.returncode == status, (done.returncode, done.stderr)
    for word in words:
        assert word in done.stderr, done.stderr


def as_nobody():
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


@pytest.fixture(scope="module")
def pki(scratch):
    """(authority, server's certificate, its key)"""
    authority = certificates.Authority.new(scratch / "bad-input-ca", "CN=Bad input")
    return (authority, *authority.issue("/CN=localhost", kind="server"))


def is_open_to_all(path):
    return all(one.stat().st_mode & 0o001 for one in (path, *path.parents))


class House:
    """Configurations that work, to be spoilt."""

    def __init__(self, directory, pki):
        directory.chmod(0o755)
        self.directory = directory
        authority, certificate, key = pki
        self.certificate, self.key, self.users = directory / "cert.pem", directory / "key.pem", directory / "users"
        shutil.copy(certificate, self.certificate)
        shutil.copy(key, self.key)
        self.key.chmod(0o600)
        self.policy = directory / "policy.d"
        self.policy.mkdir()
        self.state = directory / "state"
        self.broker, self.lock, self.local = (directory / f"{name}.sock" for name in ("broker", "lock", "local"))
        self.sections = {
            "netd": {
                "": {"gates": "1", "user_switch": "false"},
                "tls": {
                    "address": '"127.0.0.1"', "port": "0", "certificate": f'"{self.certificate}"', "key": f'"{self.key}"',
                    "ca": f'"{authority.certificate}"',
                },
                "unix": {"path": f'"{self.local}"'},
                "admin": {"path": f'"{directory}/admin.sock"'},
                "broker": {"socket": f'"{self.broker}"'},
                "programs": {"directory": f'"{directory}/programs.d"'},
            },
            "workerd": {
                "": {"user_switch": "false", "lockd_socket": '""'},
                "broker": {"socket": f'"{self.broker}"'},
                "policy": {"directories": f'["{self.policy}"]'},
                "audit": {"journal": "false", "file": f'"{directory}/audit.jsonl"'},
                "programs": {"directory": f'"{directory}/programs.d"'},
            },
            "lockd": {
                "": {
                    "socket": f'"{self.lock}"', "state_directory": f'"{self.state}"', "lock_spaces": "[]",
                    "direct": "[]", "users": "[]", "session_users": "[]",
                },
            },
        }  # fmt: skip

    def file(self, daemon, changes=None):
        """Its configuration; `changes`: {"tls.port": "1"}."""
        sections = {name: dict(keys) for name, keys in self.sections[daemon].items()}
        for name, value in (changes or {}).items():
            section, _, key = name.rpartition(".")
            sections.setdefault(section, {})[key] = value
        text = "".join(
            (f"[{name}]\n" if name else "") + "".join(f"{key} = {value}\n" for key, value in keys.items())
            for name, keys in sections.items()
        )
        path = self.directory / f"{daemon}.toml"
        path.write_text(text)
        path.chmod(0o644)
        return path


@pytest.fixture
def house(scratch, pki):
    return House(pathlib.Path(tempfile.mkdtemp(prefix="bad-", dir=scratch)), pki)


# --- the file of settings ---


@pytest.mark.parametrize("daemon", DAEMONS)
def test_what_these_tests_spoil_is_good(house, daemon):
    done = run(daemon, house.file(daemon), "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("daemon", DAEMONS)
def test_settings_that_are_not_there(house, daemon):
    expect(run(daemon, house.directory / "none.toml"), NO_INPUT, "none.toml: No such file or directory (make it")
    missing = house.directory / "etc" / "more"
    expect(run(daemon, missing / "a.toml"), NO_INPUT, f"there is no directory {missing.parent}: make it")
    expect(run(daemon, house.directory), NO_INPUT, f"{house.directory}: Is a directory (name a file in it)")


@pytest.mark.parametrize("daemon", DAEMONS)
def test_settings_that_others_may_change(house, daemon):
    file = house.file(daemon)
    for mode in (0o666, 0o664, 0o646):
        file.chmod(mode)
        expect(run(daemon, file, "--check"), CONFIG, f"(mode {mode:04o}, owner", f"chmod go-w {file}")
    file.chmod(0o644)
    house.directory.chmod(0o777)
    expect(run(daemon, file, "--check"), CONFIG, f"chmod go-w {house.directory}")
    house.directory.chmod(0o1777)
    assert run(daemon, file, "--check").returncode == 0


@as_root
@pytest.mark.parametrize("daemon", DAEMONS)
def test_settings_of_somebody_else(house, daemon):
    file = house.file(daemon)
    os.chown(file, 4321, 0)
    expect(run(daemon, file, "--check"), CONFIG, "belongs neither to root nor to one of virtgate's users", "owner uid 4321", f"chown root {file}")


@pytest.mark.parametrize("daemon", DAEMONS)
def test_settings_that_cannot_be_read(house, daemon):
    file = house.file(daemon)
    file.chmod(0)
    before = as_nobody if os.geteuid() == 0 else None
    if before and not is_open_to_all(suite.BUILD):
        pytest.skip("the build lies in a directory that is not for everybody")
    expect(run(daemon, file, before=before), NO_PERMISSION, f"{file} belongs to", "with mode 0000", "this process is uid")
    file.chmod(0o644)
    house.directory.chmod(0o700 if before else 0)
    try:
        done = run(daemon, file, before=before)
    finally:
        house.directory.chmod(0o755)
    expect(done, NO_PERMISSION, f"{house.directory} belongs to", "change the one or the other")


@pytest.mark.parametrize("daemon", DAEMONS)
@pytest.mark.parametrize("bytes_, words", [(b"[", ":1:2: error: "), (b"a = 1\n\xff\xfe", "invalid utf-8"), (b"tsl = 1\n", "unknown key")])
def test_settings_that_are_broken(house, daemon, bytes_, words):
    file = house.file(daemon)
    file.write_bytes(bytes_)
    expect(run(daemon, file), CONFIG, f"{file}", words)


@pytest.mark.parametrize("daemon", DAEMONS)
def test_command_lines_and_pid_files(house, daemon):
    expect(run(daemon, house.file(daemon), "--no-such-option"), USAGE, "--no-such-option")
    file = house.file(daemon)
    expect(run(daemon, file, "-p", house.directory / "no" / "pid"), NO_INPUT, "cannot open the pid file", "make it")
    done = run(daemon, house.file(daemon, {"log_outputs": f'["file:{house.directory}/no/log"]'}))
    expect(done, NO_INPUT, "cannot open the log file", f"there is no directory {house.directory}/no")


# --- certificates, keys, users ---


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_files_of_tls_that_are_not_there(house, which):
    path = house.directory / "none.pem"
    expect(run("netd", house.file("netd", {f"tls.{which}": f'"{path}"'})), NO_INPUT, f"{path}: No such file")


def test_files_of_tls_that_are_open_to_others(house):
    file = house.file("netd")
    house.key.chmod(0o640)
    expect(run("netd", file), CONFIG, f"{house.key} is open to its group or to everybody (mode 0640)")
    house.key.chmod(0o600)
    house.certificate.chmod(0o666)
    expect(run("netd", file), CONFIG, f"chmod go-w {house.certificate}")


@as_root
@pytest.mark.parametrize("which", ["certificate", "key"])
def test_files_of_tls_with_another_owner(house, which):
    path = getattr(house, which)
    os.chown(path, 4321, 0)
    expect(run("netd", house.file("netd")), CONFIG, "owner uid 4321", f"chown root {path}")


def test_files_of_tls_that_are_no_certificates(house):
    house.certificate.write_text("hello\n")
    expect(run("netd", house.file("netd")), CONFIG, f"{house.certificate} is not a PEM file of that kind")


def test_a_certificate_of_the_future_and_one_of_the_past(house, pki):
    """Of which the first is what a clock in the past makes of a good one."""
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=2)
    for start, end, words in [
        (later.strftime("%Y%m%d%H%M%SZ"), "20491231235959Z", ("is not valid before", "the clock of this machine says", "set it")),
        ("20200101000000Z", "20200201000000Z", ("has expired, on 2020-02-01 00:00 UTC: get a new one",)),
    ]:
        certificate, key = pki[0].issue("/CN=localhost", kind="server", start=start, end=end)
        shutil.copy(certificate, house.certificate)
        shutil.copy(key, house.key)
        expect(run("netd", house.file("netd")), CONFIG, str(house.certificate), *words)


def test_a_file_of_users(house):
    """One that everybody may read is refused. One that is missing may come later."""
    made = attempt(suite.BUILD / "virtgate", "passwd", "set", "--file", house.users, "alice", "--stdin", stdin="secret-words\n")
    assert made.returncode == 0, made.stderr
    house.users.chmod(0o644)
    file = house.file("netd", {"tls.authentication": '"sasl"', "sasl.users": f'"{house.users}"'})
    expect(run("netd", file), CONFIG, f"chmod o= {house.users}", "sasl ended with status 78")
    if os.geteuid() == 0:
        house.users.chmod(0o600)
        os.chown(house.users, 4321, 0)
        expect(run("netd", file), CONFIG, f"chown root {house.users}")
    house.users.unlink()
    log = house.directory / "log"
    with serving("netd", file, house.local, log=log):
        missing = f"{house.users}: No such file or directory (make it"
        upstream.poll(lambda: missing in log.read_text(), 10.0, missing)
        assert "nobody can log in with a password" in log.read_text()


# --- what another process has ---


def test_a_port_that_is_taken(house):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = run("netd", house.file("netd", {"tls.port": str(other.getsockname()[1])}))
        expect(done, UNAVAILABLE, f"port {other.getsockname()[1]}, which is taken by ", f"(pid {os.getpid()})")


@pytest.mark.parametrize("daemon, name, kind", [
    ("netd", "local", socket.SOCK_STREAM), ("workerd", "broker", socket.SOCK_SEQPACKET), ("lockd", "lock", socket.SOCK_STREAM),
])  # fmt: skip
def test_a_socket_that_is_taken_and_one_without_a_directory(house, daemon, name, kind):
    path = getattr(house, name)
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(path))
        other.listen()
        expect(run(daemon, house.file(daemon)), UNAVAILABLE, f"{path} is served by ", f"(pid {os.getpid()})")
    key = {"netd": "unix.path", "workerd": "broker.socket", "lockd": "socket"}[daemon]
    done = run(daemon, house.file(daemon, {key: f'"{house.directory}/no/socket"'}))
    expect(done, NO_INPUT, f"cannot bind {house.directory}/no/socket", f"there is no directory {house.directory}/no")


def test_the_state_of_the_lock_daemon(house):
    house.state.mkdir()
    house.state.chmod(0o777)
    expect(run("lockd", house.file("lockd")), CONFIG, f"{house.state} belongs to uid", "mode 0777")
    house.state.chmod(0o700)
    with serving("lockd", house.file("lockd"), house.lock):
        done = run("lockd", house.file("lockd", {"socket": f'"{house.directory}/second.sock"'}))
        expect(done, UNAVAILABLE, f"another virtgate-lockd uses {house.state}")


def test_a_policy_that_others_may_change(house):
    (house.policy / "10-a.toml").write_text("")
    for path in (house.policy / "10-a.toml", house.policy):
        path.chmod(0o777)
        expect(run("workerd", house.file("workerd"), "--check"), CONFIG, f"{path}: error: ", "may write to it")
        path.chmod(0o755)


# --- what the machine does not have ---


@contextlib.contextmanager
def serving(daemon, file, ready, before=None, log=None):
    """The daemon, until the path `ready` is there and to the end of the block."""
    command = [suite.BUILD / f"virtgate-{daemon}", "--config", file]
    with open(log or os.devnull, "ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=before)
    family = set()
    try:
        upstream.poll(lambda: ready.exists() or process.poll() is not None, 10.0, f"{ready}")
        assert process.poll() is None, pathlib.Path(log).read_text() if log else process.returncode
        family = {processes.identity(pid) for pid in processes.family(process.pid)} - {None}
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert not processes.wait_gone(family, 5.0)


@pytest.mark.parametrize("daemon", DAEMONS)
def test_too_few_descriptors_at_the_start(house, daemon):
    def before():
        resource.setrlimit(resource.RLIMIT_NOFILE, (7, 7))

    expect(run(daemon, house.file(daemon), before=before), SYSTEM, "Too many open files", 'raise "ulimit -n"')


@pytest.mark.parametrize("daemon", ("netd", "lockd"))
def test_no_process_to_be_had(house, daemon):
    """A kernel that refuses what fork() asks for, as it does at a bound of processes."""
    prefix = (sys.executable, "-B", OUTER_FILTER, "clone=EAGAIN", "--")
    file = house.file(daemon)
    done = run(daemon, file, "--daemon", "--pid-file", house.directory / "pid", prefix=prefix)
    expect(done, SYSTEM, "cannot make the daemon's process: Resource temporarily unavailable", "ulimit -u", "TasksMax=")


def test_no_process_for_a_child_is_told_and_given_up(house):
    prefix = (sys.executable, "-B", OUTER_FILTER, "clone=EAGAIN", "--")
    done = run("netd", house.file("netd", {"sandbox": '"off"'}), prefix=prefix)
    expect(done, SYSTEM, "cannot make a process", "ulimit -u", "this has never worked")


def test_no_random_numbers(house):
    """Nothing that needs secret numbers begins without them: the doorman ends, and so does netd."""
    done = run("netd", house.file("netd"), prefix=(sys.executable, "-B", OUTER_FILTER, "getrandom=EAGAIN", "--"))
    expect(done, SYSTEM, "there are no random numbers", "doorman ended with status 71")


# --- tools ---


@pytest.mark.parametrize("words, status, said", [
    (("audit", "--file", "{}/none"), NO_INPUT, "{}/none: No such file or directory"),
    (("audit", "--file", "{}/no/none"), NO_INPUT, "there is no directory {}/no"),
    (("policy", "explain", "--dir", "{}", "--cert", "{}/none.pem", "DOMAIN_CREATE"), NO_INPUT, "No such file"),
    (("migrate-config", "{}/none.conf"), NO_INPUT, "{}/none.conf: No such file"),
    (("config", "check", "netd", "--config", "{}/none.toml"), NO_INPUT, "none.toml: No such file"),
    (("config", "show", "netd", "--config", "{}/none.toml"), NO_INPUT, "none.toml: No such file"),
    (("sessions", "--dir", "{}"), UNAVAILABLE, "does not run, or not with that socket"),
    (("drain", "--dir", "{}"), UNAVAILABLE, "does not run, or not with that socket"),
    (("locks", "list", "--socket", "{}/none.sock"), UNAVAILABLE, "cannot reach the lock daemon at {}/none.sock"),
    (("passwd", "list", "--file", "{}/none"), NO_INPUT, "{}/none: No such file"),
    (("trace", "--no-such-option"), USAGE, "--no-such-option"),
    (("up", "--dir", "{}/no/house"), NO_INPUT, "there is no directory {}/no"),
])  # fmt: skip
def test_tools(tmp_path, words, status, said):
    done = attempt(suite.BUILD / "virtgate", *(word.format(tmp_path) for word in words))
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert said.format(tmp_path) in done.stderr + done.stdout


def test_nothing_can_be_written(tmp_path):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([suite.BUILD / "virtgate", "config", "show", "netd", "--config", "/dev/null"], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=20, check=False)  # fmt: skip
    assert done.returncode == 74 and "cannot write to standard output" in done.stderr
