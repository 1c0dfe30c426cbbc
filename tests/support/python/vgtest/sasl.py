# SPDX-License-Identifier: LGPL-2.1-or-later
"""sasl - SCRAM as a client speaks it, by hand, and users for a suite.

Nothing here is shared with the programs under test. Source: RFC 5802 and RFC 7677.
"""

import base64
import hashlib
import hmac
import os
import struct
import subprocess

from vgtest import suite, wire

INIT, START, STEP, POLKIT = 67, 68, 69, 70
AUTH_FAILED, AUTH_REQUIRED = 45, 39

POLICY = """
[identity.{name}]
sasl = "{name}"

[[binding]]
identity = "{name}"
role = "admin"
"""


def add_user(path, name, password, *options):
    subprocess.run(
        [str(suite.BUILD / "virtgate"), "passwd", "set", name, "--file", str(path), *options],
        input=password + "\n",
        text=True,
        check=True,
        capture_output=True,
        timeout=30,
    )


def auth_file(path, name, password, host="localhost"):
    """libvirt's auth.conf with one user."""
    path.write_text(
        f"[credentials-x]\nauthname={name}\npassword={password}\n[auth-libvirt-{host}]\ncredentials=x\n"
    )
    return path


def characters(data):
    """SASL data as libvirt sends it: a word for each byte, sign extended."""
    return b"".join(struct.pack(">i", byte - 256 if byte > 127 else byte) for byte in data)


def start_args(mechanism, data):
    return wire.string(mechanism) + token(data)


def token(data):
    if data is None:
        return wire.u32(1) + wire.u32(0)
    return wire.u32(0) + wire.u32(len(data)) + characters(data)


def read_answer(frame):
    """(complete, data or None) of a reply to START or STEP."""
    assert frame.status == wire.OK, frame.error()
    r = wire.Reader(frame.payload)
    complete, nil, size = r.u32(), r.u32(), r.u32()
    data = bytes(r.u32() & 0xFF for _ in range(size))
    r.finish()
    return bool(complete), None if nil else data


class Scram:
    """One exchange of SCRAM-SHA-256."""

    def __init__(self, name, password, digest="sha256"):
        self.name, self.password, self.digest = name, password.encode(), digest
        self.nonce = base64.b64encode(os.urandom(18)).decode()

    def first(self):
        self.bare = f"n={self.name},r={self.nonce}"
        return ("n,," + self.bare).encode()

    def final(self, challenge):
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) > len(self.nonce)
        self.salt, self.iterations = base64.b64decode(fields["s"]), int(fields["i"])
        salted = hashlib.pbkdf2_hmac(self.digest, self.password, self.salt, self.iterations)
        client = hmac.digest(salted, b"Client Key", self.digest)
        stored = hashlib.new(self.digest, client).digest()
        without_proof = f"c=biws,r={fields['r']}"
        message = f"{self.bare},{challenge.decode()},{without_proof}".encode()
        proof = bytes(a ^ b for a, b in zip(client, hmac.digest(stored, message, self.digest)))
        server = hmac.digest(salted, b"Server Key", self.digest)
        self.signature = hmac.digest(server, message, self.digest)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def check(self, last):
        assert last == b"v=" + base64.b64encode(self.signature), f"the server does not know the password: {last}"


def log_in(client, name, password, patience=wire.PATIENCE):
    """A whole login on a connection that is not let in yet. The frame that refused it, or None."""
    exchange = Scram(name, password)
    listed = client.ask(INIT)
    assert listed.status == wire.OK, listed.error()
    answer = client.ask(START, start_args("SCRAM-SHA-256", exchange.first()))
    if answer.status != wire.OK:
        return answer
    complete, challenge = read_answer(answer)
    assert not complete
    answer = client.ask(STEP, token(exchange.final(challenge)), patience=patience)
    if answer.status != wire.OK:
        return answer
    complete, last = read_answer(answer)
    exchange.check(last)
    if not complete:
        complete, _ = read_answer(client.ask(STEP, token(b"")))
    assert complete
    return None
