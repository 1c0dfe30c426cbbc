# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_key_secrecy - the server's private key is in the keepers' memory and in no other process'."""

import base64
import os
import re
import subprocess

import pytest

from vgtest import processes

WINDOW = 24  # bytes: no piece of a key of this length occurs by chance
SECRETS = ("privateExponent", "prime1", "prime2", "exponent1", "exponent2", "coefficient", "priv")


def server_keys(gate):
    """The server's key files of the suite."""
    servers = gate.directory / "pki" / "servers"
    found = [path for path in servers.rglob("*.pem") if b"PRIVATE KEY" in path.read_bytes()]
    assert len(found) == 1, f"one private key of the server expected: {found}"
    return found


def secret_numbers(path):
    """The private numbers of a key file, as big endian bytes, by openssl's own text form."""
    text = subprocess.run(
        ["openssl", "pkey", "-in", str(path), "-noout", "-text"], capture_output=True, text=True, check=True
    ).stdout
    numbers = {}
    for name, body in re.findall(r"^(\w+):\n((?:\s+[0-9a-f:]+\n)+)", text, re.M):
        if name in SECRETS:
            numbers[name] = bytes.fromhex(re.sub(r"[\s:]", "", body)).lstrip(b"\0")
    assert numbers, f"no private number found in {path}"
    return numbers


def windows(path):
    """{description: bytes} to look for: pieces of each private number in both byte orders, and of the file's
    text.
    """
    found = {}
    for name, number in secret_numbers(path).items():
        for order, raw in (("big endian", number), ("little endian", number[::-1])):
            for at in {0, (len(raw) - WINDOW) // 2, len(raw) - WINDOW}:
                found[f"{name}, {order}, from byte {at}"] = raw[at : at + WINDOW]
    body = b"".join(line for line in path.read_bytes().splitlines() if not line.startswith(b"-----"))
    der = base64.b64decode(body)
    first = max(secret_numbers(path).values(), key=len)
    at = der.find(first)
    assert at >= 0, "the file does not hold the key as openssl shows it"
    begin = -(-at // 3) * 4
    found["text of the file"] = body[begin : begin + 32]
    return found


def scan(pid, wanted):
    """Descriptions of those windows that are in the memory of a process."""
    seen = set()
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        for line in open(f"/proc/{pid}/maps", encoding="ascii", errors="replace"):
            borders, rights = line.split()[:2]
            if rights[0] != "r" or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            begin, end = (int(x, 16) for x in borders.split("-"))
            try:
                data = os.pread(memory, end - begin, begin)
            except OSError:
                continue
            seen |= {name for name, piece in wanted.items() if piece in data}
    finally:
        os.close(memory)
    return seen


def test_no_byte_of_the_key_is_anywhere_but_in_keepers(gate):
    """Nor its text, and in neither byte order. The command `virtgate up` has made the key, and is no part of a server."""
    keepers, gates = gate.pids("virtgate-keeper"), gate.pids("virtgate-gate")
    assert keepers and len(gates) == len(keepers)
    try:
        os.close(os.open(f"/proc/{keepers[0]}/mem", os.O_RDONLY))
    except PermissionError:
        pytest.skip("the memory of protected processes can only be read by root")
    with gate.open("test:///default"):
        for _ in range(20 * len(gates)):
            gate.connect().close()
        (path,) = server_keys(gate)
        wanted = windows(path)
        titles = processes.by_title(gate.process.pid)
        assert {"netd", "workerd", "doorman", "auditor", "worker-admin"} <= set(titles), titles
        for title, pids in titles.items():
            for pid in pids:
                found = scan(pid, wanted)
                if title.startswith("keeper"):
                    assert found, "not even the keeper has the key: the scan does not work"
                else:
                    assert found == set(), title


def test_processes_cannot_be_dumped_or_traced_by_their_own_user(gate):
    """Without that, a process of the same user reads the key by ptrace."""
    protected = [
        pid for name in ("virtgate-keeper", "virtgate-gate", "virtgate-doorman") for pid in gate.pids(name)
    ]
    assert protected
    for pid in protected:
        owner = os.stat(f"/proc/{pid}/environ").st_uid
        assert owner == 0 or os.geteuid() != owner, "a dumpable process's files in /proc belong to its user"
        if os.geteuid() != 0:
            with pytest.raises(PermissionError):
                open(f"/proc/{pid}/environ", "rb").close()
