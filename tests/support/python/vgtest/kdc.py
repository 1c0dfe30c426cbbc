# SPDX-License-Identifier: LGPL-2.1-or-later
"""kdc - a throwaway Kerberos realm: MIT's KDC in a directory of its own, on a port of the loopback address.

Nothing of the machine's Kerberos is read or written: every program gets KRB5_CONFIG and KRB5_KDC_PROFILE. TCP
only, so that the port is one port.
"""

import os
import pathlib
import socket
import subprocess

from vgtest import processes, upstream
from vgtest.clients import attempt, free_port

REALM = "VIRTGATE.TEST"
PROGRAMS = {
    name: pathlib.Path(directory) / name
    for name, directory in (
        ("krb5kdc", "/usr/sbin"),
        ("kdb5_util", "/usr/sbin"),
        ("kadmin.local", "/usr/sbin"),
        ("kinit", "/usr/bin"),
    )
}

# A client never asks the name service about the server's name, or which realm it is in.
_CONFIGURATION = """[libdefaults]
default_realm = {realm}
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
udp_preference_limit = 1
[realms]
{realm} = {{
 kdc = 127.0.0.1:{port}
}}
[domain_realm]
localhost = {realm}
"""
# The empty kdc_ports: no UDP.
_PROFILE = """[kdcdefaults]
kdc_ports = ""
kdc_listen = ""
[realms]
{realm} = {{
 database_name = {directory}/principal
 key_stash_file = {directory}/stash
 acl_file = {directory}/acl
 kdc_tcp_listen = 127.0.0.1:{port}
 max_life = 1h
 supported_enctypes = aes256-cts-hmac-sha1-96:normal aes256-cts-hmac-sha384-192:normal
}}
[logging]
kdc = FILE:{directory}/log
default = FILE:{directory}/log
"""


def missing():
    """The programs that are not installed (Debian: krb5-kdc, krb5-admin-server, krb5-user)."""
    return [str(path) for path in PROGRAMS.values() if not os.access(path, os.X_OK)]


def host_names():
    """What a client or this machine's resolver may call the server that listens on the loopback address."""
    names = {"localhost", socket.gethostname(), socket.getfqdn()}
    for name in tuple(names):
        try:
            names |= {entry[3] for entry in socket.getaddrinfo(name, None, flags=socket.AI_CANONNAME)}
        except OSError:
            continue
    return sorted(name.lower() for name in names if name)


class Kdc:
    """A realm with the service "libvirt" of this machine, whose keys are in `keytab`. login() adds users."""

    def __init__(self, directory, realm=REALM):
        self.directory, self.realm, self.port = pathlib.Path(directory), realm, free_port()
        self.directory.mkdir()
        self.keytab = self.directory / "libvirt.keytab"
        self.environment = {
            "KRB5_CONFIG": str(self.directory / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(self.directory / "kdc.conf"),
            "KRB5RCACHENAME": "none:",
        }
        values = {"realm": realm, "port": self.port, "directory": self.directory}
        (self.directory / "krb5.conf").write_text(_CONFIGURATION.format(**values))
        (self.directory / "kdc.conf").write_text(_PROFILE.format(**values))
        self.process, self.started = None, set()

    def start(self):
        self._run("kdb5_util", "create", "-s", "-r", self.realm, "-P", os.urandom(12).hex())
        for name in host_names():
            self._add(f"libvirt/{name}", self.keytab)
        command = [PROGRAMS["krb5kdc"], "-n", "-r", self.realm, "-P", self.directory / "pid"]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, "LC_ALL": "C", **self.environment},
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.started = {processes.identity(self.process.pid)}
        try:
            upstream.poll(self._answers, what=f"the KDC; log:\n{self.log()}")
        except AssertionError:
            self.stop()
            raise
        return self

    def stop(self):
        """End it; a process that stays behind fails the test."""
        self.started |= {processes.identity(pid) for pid in processes.family(self.process.pid)}
        processes.end(self.process)
        left = processes.wait_gone(self.started)
        assert not left, f"the KDC left processes behind: {left}"

    def log(self):
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def login(self, user):
        """The environment of a client that has a ticket of the new user `user`, got with a keytab."""
        keytab = self.directory / f"{user}.keytab"
        self._add(user, keytab)
        environment = {**self.environment, "KRB5CCNAME": f"FILE:{self.directory}/{user}.ccache"}
        self._run("kinit", "-k", "-t", keytab, f"{user}@{self.realm}", environment=environment)
        return environment

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def _answers(self):
        assert self.process.poll() is None, f"the KDC ended:\n{self.log()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _add(self, principal, keytab):
        for query in (
            f"addprinc -randkey {principal}",
            f"ktadd -k {keytab} -norandkey {principal}",
        ):
            self._run("kadmin.local", "-r", self.realm, "-q", query)
        assert keytab.exists(), f"kadmin.local made no key of {principal}"

    def _run(self, program, *words, environment=None):
        done = attempt(PROGRAMS[program], *words, environment=environment or self.environment)
        assert done.returncode == 0, f"{program} {words}: {done.stdout}{done.stderr}\n{self.log()}"
