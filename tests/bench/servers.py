# SPDX-License-Identifier: LGPL-2.1-or-later
"""servers - what is measured: private libvirt daemons and virtgate, each in a directory of its own.

libvirtd runs in its session mode, as user nobody when root starts it: as root it would use the machine's own
directories.
"""

import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support" / "python"))
from vgtest import processes  # noqa: E402

LIBVIRTD = "/usr/sbin/libvirtd"
PROXY = "/usr/sbin/virtproxyd"
NOBODY = 65534
PATIENCE = 20.0
KEYS = {"rsa": ("RSA", "rsa_keygen_bits:2048"), "ecdsa": ("EC", "ec_paramgen_curve:P-256")}
LEAF = "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
EXTENSIONS = {
    "ca": "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n",
    "server": LEAF + "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n",
    "client": LEAF + "extendedKeyUsage=clientAuth\n",
}


class BenchError(Exception):
    """Something that must work before anything can be measured does not."""


def wait_for(condition, what, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {patience:.0f} s for {what}")
        time.sleep(0.02)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _openssl(*arguments):
    command = ["openssl", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if run.returncode != 0:
        raise BenchError(f"openssl {arguments[0]}: {run.stderr.strip()}")


def make_key(kind, path):
    algorithm, option = KEYS[kind]
    _openssl("genpkey", "-algorithm", algorithm, "-pkeyopt", option, "-out", path)


def issue(authority, role, kind, certificate, key, name):
    """A certificate of `role` with a new key of `kind`, signed by the CA in the directory `authority`."""
    work = pathlib.Path(certificate).with_suffix(".work")
    work.mkdir(exist_ok=True)
    request = "[req]\ndistinguished_name=n\nx509_extensions=x\n[n]\n[x]\n"
    (work / "req.cnf").write_text(request + EXTENSIONS[role])
    (work / "ext.cnf").write_text(EXTENSIONS[role])
    make_key(kind, key)
    subject = ["-subj", f"/O=virtgate bench/CN={name}", "-config", work / "req.cnf"]
    if role == "ca":
        _openssl("req", "-x509", "-new", "-key", key, "-out", certificate, "-days", "30", *subject)
    else:
        _openssl("req", "-new", "-key", key, "-out", work / "csr", *subject)
        _openssl("x509", "-req", "-in", work / "csr", "-out", certificate, "-days", "30",
                 "-CA", authority / "cacert.pem", "-CAkey", authority / "cakey.pem",
                 "-set_serial", str(time.time_ns()), "-extfile", work / "ext.cnf")
    shutil.rmtree(work)


class Pki:
    """libvirtd's certificates: a CA, a server's and a client's, with keys of one kind, as virtgate's own are.

    `client` is a directory for virtgate-load.
    """

    def __init__(self, directory, kind):
        self.kind, self.directory = kind, pathlib.Path(directory)
        self.client, self.server = self.directory / "client", self.directory / "server"
        authority = self.directory / "ca"
        for part in (authority, self.client, self.server):
            part.mkdir(parents=True)
        for role, name in (("ca", "CA"), ("server", "localhost"), ("client", "client")):
            to = self.directory / role
            issue(authority, role, kind, to / f"{role}cert.pem", to / f"{role}key.pem", name)
        for user in (self.client, self.server):
            shutil.copy(authority / "cacert.pem", user)


def role(pid):
    """What a process is; of virtgate's, which call themselves "virtgate: gate-0", without the index."""
    try:
        title = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return "gone"
    if title.startswith("virtgate: "):
        return title.split()[1].split("-")[0]
    return "up" if title.endswith("/virtgate") else os.path.basename(title)


class Server:
    """A started daemon; `members` finds all its processes."""

    process = None

    def _start(self, command, log, ready, environment=None):
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=subprocess.STDOUT, cwd="/", env=environment,
                                            start_new_session=True)
        try:
            wait_for(lambda: ready() or self.process.poll() is not None, f"{command[0]}, see {self.log}")
            if self.process.poll() is not None:
                raise BenchError(f"{command[0]} ended:\n{self.log.read_text(errors='replace')[-2000:]}")
        except BenchError:
            self.stop()
            raise

    def members(self):
        """{pid: short name} of its processes, now."""
        return {pid: role(pid) for pid in sorted(processes.family(self.process.pid))}

    def stop(self):
        started = {processes.identity(pid) for pid in processes.family(self.process.pid)}
        processes.end(self.process)
        for pid, _ in processes.wait_gone(started, 5.0):
            os.kill(pid, 9)


class Libvirtd(Server):
    """Debian's daemon: UNIX socket at `socket`, TLS at `port`; its directory `storage` may hold a pool."""

    def __init__(self, directory, pki):
        self.directory, self.pki, self.port = pathlib.Path(directory), pki, free_port()
        self.socket = self.directory / "sock" / "libvirt-sock"
        self.storage = self.directory / "storage"
        for part in ("sock", "run", "home", "storage", "pki"):
            (self.directory / part).mkdir(parents=True)
        for file in pki.server.iterdir():
            shutil.copy(file, self.directory / "pki")
        (self.directory / "run").chmod(0o700)
        (self.directory / "daemon.conf").write_text(
            f'auth_unix_rw = "none"\nauth_tls = "none"\n'
            f'unix_sock_dir = "{self.directory}/sock"\nunix_sock_rw_perms = "0777"\n'
            f'listen_tls = 1\ntls_port = "{self.port}"\nlisten_addr = "127.0.0.1"\n'
            f'ca_file = "{self.directory}/pki/cacert.pem"\n'
            f'cert_file = "{self.directory}/pki/servercert.pem"\n'
            f'key_file = "{self.directory}/pki/serverkey.pem"\nlog_outputs = "3:stderr"\n'
            "max_clients = 20000\nmax_queued_clients = 5000\nmax_anonymous_clients = 20000\n")
        command = [LIBVIRTD, "--listen", "-f", self.directory / "daemon.conf", "-p", self.directory / "pid"]
        if os.geteuid() == 0:
            for path in [self.directory, *self.directory.rglob("*")]:
                os.chown(path, NOBODY, NOBODY)
            drop = ["/usr/bin/setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            command = drop + command
        home = self.directory / "home"
        self._start(command, self.directory.with_suffix(".log"), self._is_ready, {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(home), "LC_ALL": "C",
            "XDG_RUNTIME_DIR": str(self.directory / "run"), "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(home / "cache"), "XDG_DATA_HOME": str(home / "data")})

    def _is_ready(self):
        with socket.socket() as probe:
            return self.socket.exists() and probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def direct(self):
        return f"unix:{self.socket}"

    @property
    def tls(self):
        return f"tls:127.0.0.1:{self.port}:{self.pki.client}"

    def virsh(self, *arguments):
        command = ["virsh", "-c", f"storage+unix:///session?socket={self.socket}", *map(str, arguments)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if run.returncode != 0:
            raise BenchError(f"virsh {arguments[0]}: {run.stderr.strip()}")
        return run.stdout

    def make_volume(self, pool, volume, size):
        """A raw volume of `size` bytes in a new directory pool; its key."""
        self.virsh("pool-create-as", pool, "dir", "--target", self.storage)
        self.virsh("vol-create-as", pool, volume, str(size))
        return self.virsh("vol-key", "--pool", pool, volume).strip()


class Virtgate(Server):
    """The suite, by `virtgate up`, with keys of `kind`. `upstreams`: URI to socket, `settings`: name to TOML.
    """

    def __init__(self, program, directory, kind, upstreams, settings=None):
        self.directory = pathlib.Path(directory)
        command = [program, "up", "--dir", self.directory, "--tls-port", "0", "--key-type", kind]
        for uri, path in upstreams.items():
            command += ["--upstream", f"{uri}={path}"]
        for name, value in (settings or {}).items():
            command += ["--set", f"{name}={value}"]
        ready = self.directory / "ready"
        self._start(command, self.directory.with_suffix(".log"), ready.exists)
        self.port = int(re.search(r"^tls_port=(\d+)$", ready.read_text(), re.M)[1])

    @property
    def tls(self):
        return f"tls:127.0.0.1:{self.port}:{self.directory / 'pki' / 'client'}"


def raise_descriptors(wanted):
    """The soft limit that every daemon inherits; the hard one where we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return max(soft, wanted)
