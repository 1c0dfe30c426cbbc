# SPDX-License-Identifier: LGPL-2.1-or-later
"""ssh - an sshd of its own on the loopback address, for the user who runs the tests, and the ssh that speaks to it.

Keys, settings and known hosts are in one directory; nothing of the user's or the machine's ssh is read or changed. What
virt-ssh-helper connects to over there, libvirt's usual socket, is `socket`: in the user's $XDG_RUNTIME_DIR, and in /run, in a
mount namespace of sshd's own.
"""

import os
import pathlib
import pwd
import socket as sockets
import subprocess

from vgtest import clients, upstream

PROGRAM = "/usr/sbin/sshd"
# sshd wants /run/sshd, and keeps users out whose password is locked even if they come with a key.
AS_ROOT = """mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/sshd /run/libvirt && ln -s "$1" /run/libvirt/libvirt-sock &&
mount --bind "$2" /etc/shadow && shift 2 && exec "$@"
"""
# A user is nobody else in a namespace of his own, and may mount there until the capabilities are gone.
AS_USER = """mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/libvirt && ln -s "$1" /run/libvirt/libvirt-sock && shift &&
exec setpriv --ambient-caps=-all --inh-caps=-all -- "$@"
"""
NAMESPACE = ("unshare", "--user", "--map-current-user", "--keep-caps", "--mount")


def available():
    """Whether sshd can have such a namespace."""
    return os.geteuid() == 0 or clients.attempt(*NAMESPACE, "true").returncode == 0


class Sshd:
    """Listens while it is a context. `command`: what to give as "command" of a URI."""

    def __init__(self, directory, socket):
        self.directory, self.socket = pathlib.Path(directory), str(socket)
        self.directory.mkdir(mode=0o755)
        self.user, self.port = pwd.getpwuid(os.geteuid()).pw_name, clients.free_port()
        for name in ("host", "other-host", "user"):
            clients.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.directory / name)
        (self.directory / "authorized_keys").write_bytes((self.directory / "user.pub").read_bytes())
        runtime = self.directory / "runtime" / "libvirt"
        runtime.mkdir(parents=True)
        (runtime / "libvirt-sock").symlink_to(self.socket)
        (self.directory / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.directory}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {self.directory}/authorized_keys\nPasswordAuthentication no\nPermitRootLogin yes\n"
            f"KbdInteractiveAuthentication no\nSetEnv XDG_RUNTIME_DIR={self.directory}/runtime\n"
        )
        self.command = self._client("ssh", "host")
        self.stranger = self._client("ssh-that-knows-another", "other-host")
        self.newcomer = self._client("ssh-that-knows-none", None)
        self.process = None

    def _client(self, name, known):
        """A ssh that knows this host by that key. It is the real one, with settings of its own."""
        hosts, settings, script = (self.directory / f"{name}{end}" for end in (".hosts", ".config", ""))
        key = (self.directory / f"{known}.pub").read_text() if known else ""
        hosts.write_text(f"[localhost]:{self.port} {key}\n" if key else "")
        settings.write_text(
            f"UserKnownHostsFile {hosts}\nGlobalKnownHostsFile none\nIdentityFile {self.directory}/user\nIdentitiesOnly yes\n"
            "StrictHostKeyChecking yes\nAddressFamily inet\nLogLevel ERROR\n"
        )
        script.write_text(f'#!/bin/sh\nexec ssh -F {settings} "$@"\n')
        script.chmod(0o755)
        return script

    def uri(self, driver="test", path="/default", command=None, **parameters):
        words = {"command": command or self.command} | parameters
        return f"{driver}+ssh://{self.user}@localhost:{self.port}{path}?" + "&".join(f"{k}={v}" for k, v in words.items())

    def log(self):
        return (self.directory / "log").read_text(errors="replace")

    def __enter__(self):
        command = [PROGRAM, "-D", "-f", f"{self.directory}/sshd_config", "-E", f"{self.directory}/log"]
        if os.geteuid() == 0:
            shadow = self.directory / "shadow"
            shadow.touch(mode=0o600)
            shadow.write_text("root:*:19000::::::\nsshd:*:19000::::::\n")
            command = ["unshare", "--mount", "sh", "-c", AS_ROOT, "sh", self.socket, str(shadow), *command]
        else:
            command = [*NAMESPACE, "sh", "-c", AS_USER, "sh", self.socket, *command]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        upstream.poll(self._answers, 20, lambda: f"sshd; its log:\n{self.log()}")
        return self

    def _answers(self):
        assert self.process.poll() is None, f"sshd has ended; its log:\n{self.log()}"
        try:
            with sockets.create_connection(("127.0.0.1", self.port), 5) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
