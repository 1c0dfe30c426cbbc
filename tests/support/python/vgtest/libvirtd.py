# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirtd - Debian's own libvirtd, private: in a temporary directory, UNIX socket only, never as root.

As root it would use /run/libvirt and /var/lib/libvirt of the machine. So it runs in its session mode, as user
nobody when the
tests run as root; its test driver and its storage driver do all that the tests need.
"""

import os
import pathlib
import shutil
import subprocess

from vgtest import processes, upstream

PROGRAM = "/usr/sbin/libvirtd"
NOBODY = 65534


class Libvirtd:
    """Serves on `self.socket` when it is started: test:///default, storage:///session (the directory self.storage may hold
    pools) and others.
    """

    def __init__(self, directory, tls_pki=None, tls_port=None, files=None):
        """`files`: {name: text} of what else it reads in its directory of settings, as qemu.conf."""
        self.directory = pathlib.Path(directory)
        self.socket = self.directory / "sock" / "libvirt-sock"
        self.storage = self.directory / "storage"
        for part in ("sock", "run", "home", "storage"):
            (self.directory / part).mkdir(parents=True)
        (self.directory / "run").chmod(0o700)
        lines = [
            'auth_unix_rw = "none"',
            f'unix_sock_dir = "{self.directory}/sock"',
            'unix_sock_rw_perms = "0777"',
            f'log_outputs = "3:file:{self.directory}/log"',
        ]
        if tls_pki:
            pki = pathlib.Path(tls_pki)
            lines += [
                "listen_tls = 1",
                f'tls_port = "{tls_port}"',
                'listen_addr = "127.0.0.1"',
                'auth_tls = "none"',
                f'ca_file = "{pki}/cacert.pem"',
                f'cert_file = "{pki}/servercert.pem"',
                f'key_file = "{pki}/serverkey.pem"',
            ]
        (self.directory / "libvirtd.conf").write_text("\n".join(lines) + "\n")
        settings = self.directory / "home" / "config" / "libvirt"
        settings.mkdir(parents=True)
        for name, text in (files or {}).items():
            (settings / name).write_text(text)
        command = [PROGRAM, "-f", str(self.directory / "libvirtd.conf"), "-p", str(self.directory / "pid")]
        if tls_pki:
            command.append("--listen")
        if os.geteuid() == 0:
            for path in [self.directory, *self.directory.rglob("*")]:
                os.chown(path, NOBODY, NOBODY)
            command = [
                "/usr/bin/setpriv",
                f"--reuid={NOBODY}",
                f"--regid={NOBODY}",
                "--clear-groups",
                *command,
            ]
        self.command, self.process = command, None

    def start(self):
        home = self.directory / "home"
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(self.directory / "run"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_DATA_HOME": str(home / "data"),
            "LC_ALL": "C",
        }
        self.process = subprocess.Popen(
            self.command, env=environment, cwd=self.directory, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self.started = {processes.identity(self.process.pid)}
        upstream.poll(
            lambda: self.socket.exists() or self.process.poll() is not None, what="the socket of libvirtd"
        )
        assert self.process.poll() is None, (self.directory / "log").read_text()
        return self

    def stop(self):
        """End it; what it left behind fails the test."""
        self.started |= {processes.identity(pid) for pid in processes.family(self.process.pid)}
        processes.end(self.process)
        left = processes.wait_gone(self.started)
        assert not left, f"libvirtd left processes behind: {left}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def available():
    return os.access(PROGRAM, os.X_OK) and (os.geteuid() != 0 or shutil.which("setpriv") is not None)
