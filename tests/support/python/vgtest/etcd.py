# SPDX-License-Identifier: LGPL-2.1-or-later
"""etcd - real etcd servers on loopback, in directories of their own, that can be killed, paused and cut off; and hosts
that have a lock space in them: virtgate-lockd with an [[etcd]].
"""

import base64
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.request

from vgtest import locks, processes, upstream

PROGRAM = "/usr/bin/etcd"
FIRST_UID = 61_100  # nobody's
SPACE, PREFIX = "/etcd", "/virtgate-test/"


def free_ports(count):
    """Ports of 127.0.0.1 that nobody uses. Held together, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def can_cut():
    return os.geteuid() == 0 and shutil.which("iptables") is not None


class Server:
    """One etcd. Its election is fast, so that a test need not wait for seconds."""

    def __init__(self, directory, name, client_port, peer_port, arguments=(), scheme="http"):
        self.directory, self.name = pathlib.Path(directory), name
        self.url, self.peer_url = f"{scheme}://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
        self.peer_port, self.client_port = peer_port, client_port
        self.arguments, self.process = list(arguments), None
        # As root each has a user of its own, by which what it sends can be told from what others send.
        self.uid = FIRST_UID + int(name[1:]) if can_cut() else None
        self.cut_rule = None

    def start(self, cluster, state="new"):
        command = [
            PROGRAM, "--name", self.name, "--data-dir", str(self.directory / self.name),
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
            "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url,
            "--initial-cluster", cluster, "--initial-cluster-state", state, "--initial-cluster-token", self.directory.name,
            "--heartbeat-interval", "50", "--election-timeout", "500", "--unsafe-no-fsync",
            "--log-level", "error", *self.arguments,
        ]  # fmt: skip
        data = self.directory / self.name
        data.mkdir(mode=0o700, exist_ok=True)
        if self.uid is not None:
            os.chown(data, self.uid, self.uid)
        with open(self.directory / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                user=self.uid, group=self.uid, extra_groups=[] if self.uid is not None else None, cwd="/",
            )  # fmt: skip

    def cut(self, peer_ports):
        """Nothing goes to the other servers, or comes from them; clients still reach it. As root."""
        ports = ",".join(str(port) for port in peer_ports)
        self.cut_rule = ["OUTPUT", "-o", "lo", "-p", "tcp", "-m", "owner", "--uid-owner", str(self.uid), "-m", "multiport",
                         "--ports", ports, "-j", "DROP"]  # fmt: skip
        subprocess.run(["iptables", "-w", "-I", *self.cut_rule], check=True)

    def mend(self):
        if self.cut_rule is not None:
            subprocess.run(["iptables", "-w", "-D", *self.cut_rule], check=True)
            self.cut_rule = None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.mend()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()


class Cluster:
    """Three of them, or as many as there are; `tls`: their certificate, its key, and the CA that it is from."""

    def __init__(self, directory, count=3, tls=None):
        arguments, self.tls = [], None
        if tls:
            arguments = ["--cert-file", str(tls[0]), "--key-file", str(tls[1])]
            self.tls = ssl.create_default_context(cafile=tls[2])
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        ports = free_ports(2 * count)
        self.servers = [
            Server(self.directory, f"m{i}", ports[2 * i], ports[2 * i + 1], arguments, "https" if tls else "http")
            for i in range(count)
        ]
        self.names = ",".join(f"{one.name}={one.peer_url}" for one in self.servers)

    @property
    def urls(self):
        return [one.url for one in self.servers]

    def start(self):
        for one in self.servers:
            one.start(self.names)
        upstream.poll(self.answers, 20, lambda: "etcd:\n" + self.log())
        return self

    def restart(self, server):
        server.start(self.names, "existing")

    def log(self):
        return "".join(path.read_text(errors="replace") for path in sorted(self.directory.glob("*.log")))

    def ask(self, path, words, patience=3.0, token=None):
        """What any server answers."""
        last = None
        for one in self.servers:
            try:
                return ask(one.url, path, words, patience, self.tls, token)
            except OSError as error:
                last = error
        raise last

    def answers(self):
        try:
            return "header" in self.ask("kv/put", {"key": text("probe"), "value": ""}, 1.0)
        except OSError:
            return False

    def keys(self, prefix=PREFIX):
        """Of all keys beneath: key -> (value, create_revision, lease)."""
        found = self.ask("kv/range", {"key": text(prefix), "range_end": text(prefix[:-1] + chr(ord(prefix[-1]) + 1))})
        return {
            untext(one["key"]): (untext(one.get("value", "")), int(one["create_revision"]), int(one.get("lease", 0)))
            for one in found.get("kvs", [])
        }

    def time_left(self, lease):
        """Seconds that the lease lives on as etcd sees it; negative: it is gone."""
        return int(self.ask("lease/timetolive", {"ID": str(lease)}).get("TTL", -1))

    def delete(self, key):
        return int(self.ask("kv/deleterange", {"key": text(key)}).get("deleted", 0))

    def stop(self):
        for one in self.servers:
            one.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()


def text(key):
    return base64.b64encode(key.encode()).decode()


def untext(word):
    return base64.b64decode(word).decode()


def ask(url, path, words, patience=3.0, tls=None, token=None):
    """POST to one server. OSError if it does not answer, or refuses."""
    headers = {"Authorization": token} if token else {}
    request = urllib.request.Request(f"{url}/v3/{path}", json.dumps(words).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=patience, context=tls) as answer:
            return json.load(answer)
    except TimeoutError as error:
        raise OSError(f"{url}: {error}") from error


class Host(locks.Lockd):
    """virtgate-lockd with a lock space in etcd."""

    def __init__(self, directory, urls, settings=(), **etcd):
        super().__init__(directory, **dict(settings))
        self.etcd = {"path": SPACE, "endpoints": list(urls), "prefix": PREFIX, "ttl": 9, "timeout": 1} | etcd

    def write_settings(self):
        super().write_settings()
        with open(self.settings_path, "a", encoding="utf-8") as file:
            file.write("[[etcd]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in self.etcd.items()))

    @property
    def leasers(self):
        return processes.by_name(self.process.pid).get("virtgate-leaser", [])

    def wait_alive(self, patience=15):
        """Until something can be taken. The name is this host's own."""
        name = f"alive-{os.urandom(4).hex()}"

        def alive():
            with self.owner() as client:
                if client.acquire(SPACE, name, locks.AUTOCREATE) is not None:
                    return False
                return client.release(SPACE, name) is None

        upstream.poll(alive, patience, lambda: f"a lock space:\n{self.log()[-3000:]}")
        return self
