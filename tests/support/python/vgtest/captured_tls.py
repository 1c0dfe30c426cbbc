# SPDX-License-Identifier: LGPL-2.1-or-later
"""captured_tls - the server's side of a TLS 1.3 handshake, by hand: for a gate that was taken over.

One cipher suite, TLS_CHACHA20_POLY1305_SHA256, and one group, x25519. The caller chooses everything that a
gate could lie about, and gets every message of the transcript. The client is Python's own, in memory. Source:
RFC 8446, RFC 7748, RFC 8439. Slow, and in no way safe against timing: for tests alone.
"""

import hashlib
import hmac
import os
import ssl
import struct

CLIENT_HELLO, SERVER_HELLO, ENCRYPTED_EXTENSIONS, CERTIFICATE = 1, 2, 8, 11
CERTIFICATE_REQUEST, CERTIFICATE_VERIFY, FINISHED = 13, 15, 20
CHACHA20_POLY1305, X25519 = 0x1303, 0x001D
ECDSA_P256, RSA_PSS_2048 = 0x0403, 0x0804
RECORD_HANDSHAKE, RECORD_APPLICATION = 22, 23


def vector(width, data):
    return len(data).to_bytes(width, "big") + data


def message(kind, body):
    return bytes([kind]) + vector(3, body)


def signed_content(transcript_hash, who="server"):
    """What a CertificateVerify of TLS 1.3 signs."""
    return b" " * 64 + f"TLS 1.3, {who} CertificateVerify".encode() + b"\0" + transcript_hash


# --- x25519 ---

PRIME = 2**255 - 19


def x25519(scalar, point):
    number = int.from_bytes(scalar, "little") & ~7 & ~(1 << 255) | 1 << 254
    x = int.from_bytes(point, "little") & (1 << 255) - 1
    x2, z2, x3, z3, swapped = 1, 0, x, 1, 0
    for at in range(254, -1, -1):
        bit = number >> at & 1
        if swapped ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swapped = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a, c * b, a * a % PRIME, b * b % PRIME
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % PRIME, x * (da - cb) ** 2 % PRIME
        x2, z2 = aa * bb % PRIME, e * (aa + 121665 * e) % PRIME
    if swapped:
        x2, z2 = x3, z3
    return (x2 * pow(z2, PRIME - 2, PRIME) % PRIME).to_bytes(32, "little")


# --- ChaCha20-Poly1305 ---

WORD = 0xFFFFFFFF
ROUNDS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
ROUNDS += ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def block(key, nonce, counter):
    start = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
    start += struct.unpack("<8I", key) + (counter,) + struct.unpack("<3I", nonce)
    s = list(start)
    for _ in range(10):
        for a, b, c, d in ROUNDS:
            for one, two, three, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                s[one] = (s[one] + s[two]) & WORD
                mixed = s[three] ^ s[one]
                s[three] = (mixed << turn | mixed >> (32 - turn)) & WORD
    return struct.pack("<16I", *((x + y) & WORD for x, y in zip(s, start)))


def keystream(key, nonce, data):
    stream = b"".join(block(key, nonce, 1 + at // 64) for at in range(0, len(data), 64))
    return bytes(a ^ b for a, b in zip(data, stream))


def tag(key, nonce, associated, text):
    secret = block(key, nonce, 0)
    r = int.from_bytes(secret[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    padded = associated + bytes(-len(associated) % 16) + text + bytes(-len(text) % 16)
    padded += struct.pack("<QQ", len(associated), len(text))
    total = 0
    for at in range(0, len(padded), 16):
        total = (total + int.from_bytes(padded[at : at + 16] + b"\1", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(secret[16:32], "little")) & (1 << 128) - 1).to_bytes(16, "little")


class RecordKey:
    """One direction's protection, from its traffic secret."""

    def __init__(self, secret):
        self.key, self.iv, self.count = expand(secret, b"key", b"", 32), expand(secret, b"iv", b"", 12), 0

    def _nonce(self):
        number = int.from_bytes(self.iv, "big") ^ self.count
        self.count += 1
        return number.to_bytes(12, "big")

    def seal(self, data, kind):
        text = data + bytes([kind])
        head, nonce = struct.pack(">BHH", RECORD_APPLICATION, 0x0303, len(text) + 16), self._nonce()
        sealed = keystream(self.key, nonce, text)
        return head + sealed + tag(self.key, nonce, head, sealed)

    def open(self, record):
        head, sealed, proof, nonce = record[:5], record[5:-16], record[-16:], self._nonce()
        assert proof == tag(self.key, nonce, head, sealed), "a record that was not made with this key"
        text = keystream(self.key, nonce, sealed).rstrip(b"\0")
        return text[-1], text[:-1]


# --- the key schedule ---


def expand(secret, label, context, size):
    info = struct.pack(">H", size) + vector(1, b"tls13 " + label) + vector(1, context)
    return hmac.digest(secret, info + b"\1", "sha256")[:size]


def digest(*messages):
    return hashlib.sha256(b"".join(messages)).digest()


# --- the handshake ---


def records(data):
    """The records in `data`, each whole."""
    while data:
        size = 5 + int.from_bytes(data[3:5], "big")
        yield data[:size]
        data = data[size:]


def messages_of(data):
    while data:
        size = 4 + int.from_bytes(data[1:4], "big")
        assert len(data) >= size, "the client's message comes in more than one flight"
        yield data[:size]
        data = data[size:]


def client_share(hello):
    """The client's x25519 share and its session id, from its ClientHello."""
    at = 4 + 2 + 32
    session = hello[at + 1 : at + 1 + hello[at]]
    at += 1 + len(session)
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + hello[at] + 2
    while at < len(hello):
        kind, size = struct.unpack(">HH", hello[at : at + 4])
        body = hello[at + 4 : at + 4 + size]
        at += 4 + size
        if kind == 51:
            entry = body[2:]
            while entry:
                group, length = struct.unpack(">HH", entry[:4])
                if group == X25519:
                    return entry[4 : 4 + length], session
                entry = entry[4 + length :]
    raise AssertionError("the client offers no share of x25519")


class Handshake:
    """A whole handshake of a client with `context` and a server that uses `random`, shows `chain` (DER) and
    has sign(transcript hash) make its signature of `scheme`. Asks for a certificate; the client has to show
    one.

    `transcript` and `verify` are what a gate proves with: the messages from the ClientHello to the client's
    Certificate, and the body of its CertificateVerify. `messages` has all of them; `client` is the client's
    ssl.SSLObject.
    """

    def __init__(self, context, random, chain, scheme, sign, host="localhost"):
        self.to_client, self.from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self.to_client, self.from_client, server_hostname=host)
        self._step()
        (hello,) = (r[5:] for r in records(self.from_client.read()))
        self.messages = [hello]
        client_secret = self._say(random, chain, scheme, sign)
        assert self._step(), "the client does not take the server's handshake"
        client_key, text = RecordKey(client_secret), b""
        for record in records(self.from_client.read()):
            if record[0] == RECORD_APPLICATION:
                kind, piece = client_key.open(record)
                assert kind == RECORD_HANDSHAKE, f"the client sent content of type {kind}"
                text += piece
        certificate, verify, finished = messages_of(text)
        assert (certificate[0], verify[0], finished[0]) == (CERTIFICATE, CERTIFICATE_VERIFY, FINISHED)
        self.messages += [certificate, verify, finished]
        self.transcript = b"".join(self.messages[:-2])
        self.verify = verify[4:]

    def _step(self):
        """True when the client has finished."""
        try:
            self.client.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False

    def _say(self, random, chain, scheme, sign):
        share, session = client_share(self.messages[0])
        scalar = os.urandom(32)
        extensions = struct.pack(">HHH", 43, 2, 0x0304)
        extensions += struct.pack(">HHHH", 51, 36, X25519, 32) + x25519(scalar, (9).to_bytes(32, "little"))
        hello = b"\3\3" + random + vector(1, session) + struct.pack(">HB", CHACHA20_POLY1305, 0)
        self.messages.append(message(SERVER_HELLO, hello + vector(2, extensions)))

        early = hmac.digest(bytes(32), bytes(32), "sha256")
        derived = expand(early, b"derived", digest(), 32)
        secret = hmac.digest(derived, x25519(scalar, share), "sha256")
        client_secret = expand(secret, b"c hs traffic", digest(*self.messages), 32)
        server_secret = expand(secret, b"s hs traffic", digest(*self.messages), 32)

        schemes = struct.pack(">HH", ECDSA_P256, RSA_PSS_2048)
        wanted = struct.pack(">H", 13) + vector(2, vector(2, schemes))
        entries = b"".join(vector(3, certificate) + b"\0\0" for certificate in chain)
        flight = [message(ENCRYPTED_EXTENSIONS, b"\0\0")]
        flight.append(message(CERTIFICATE_REQUEST, b"\0" + vector(2, wanted)))
        flight.append(message(CERTIFICATE, b"\0" + vector(3, entries)))
        signature = sign(digest(*self.messages, *flight))
        flight.append(message(CERTIFICATE_VERIFY, struct.pack(">H", scheme) + vector(2, signature)))
        key = expand(server_secret, b"finished", b"", 32)
        flight.append(message(FINISHED, hmac.digest(key, digest(*self.messages, *flight), "sha256")))
        plain = self.messages[-1]
        self.to_client.write(struct.pack(">BHH", RECORD_HANDSHAKE, 0x0303, len(plain)) + plain)
        self.to_client.write(RecordKey(server_secret).seal(b"".join(flight), RECORD_HANDSHAKE))
        self.messages += flight
        return client_secret
