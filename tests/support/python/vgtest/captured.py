# SPDX-License-Identifier: LGPL-2.1-or-later
"""captured - a test in the place of one of virtgate's processes, with its descriptors.

    with Captor(scratch / "programs", "gate", [index(1), index(2)]) as captor:
        suite.programs = captor.programs
        with suite:
            seat = captor.take()        # a process that stands there for the test

The programs of the suite are hard links but for the one that is replaced by captured_stub.py. What that
process was started with comes here, and the test speaks in its place, as somebody who has taken it over
would: with those descriptors, those that come over them, and nothing else.
"""

import array
import os
import pathlib
import re
import select
import shutil
import socket
import ssl
import struct
import sys
import threading
import time

from vgtest import captured_tls, wire
from vgtest.suite import BUILD

SUPERVISE, KEEPER, DOOR, BROKER, WORK, SASL, EXCHANGE, AUDIT = range(0x56470001, 0x56470009)
ADOPT, DRAIN, READY, SERVE = 1, 2, 3, 4
PEER_KEEPER, PEER_DOORMAN, PEER_GATE, PEER_SASL, PEER_STEWARD = 1, 2, 3, 4, 7
SIGN = 1
NONCES, ADMIT, ENTER, START, STEP, LEAVE, ARRIVE = 1, 2, 3, 4, 5, 6, 7
OPEN_SESSION, REVOKE = 1, 2
WORK_SERVE, WORK_ENDED, WORK_READY, WORK_END, WORK_RIGHTS, WORK_AUDIT, WORK_CONNECT = range(1, 8)
DECISION, OUTCOME = 16, 17

CONFIG, CONTROL, FIRST_EXTRA = 3, 4, 5
PACKET_MAX = 65_536
DESCRIPTORS_MAX = 40


def index(number):
    """How the configuration of gate `number` begins."""
    return wire.u32(number)


def message(prog, proc, payload=b"", serial=0):
    return wire.Frame(prog, 1, proc, wire.MESSAGE, serial, wire.OK, payload)


def opaque(data):
    return wire.u32(len(data)) + data + bytes(-len(data) % 4)


def close_all(descriptors):
    for fd in descriptors:
        os.close(fd)


class Channel:
    """One of our own channels: a frame a packet. `received` keeps every byte that ever came, `aside` the
    (message, descriptors) that came while a reply was waited for.
    """

    def __init__(self, fd):
        self.sock, self.serial, self.received, self.aside = socket.socket(fileno=fd), 0, bytearray(), []

    def close(self):
        for _, descriptors in self.aside:
            close_all(descriptors)
        self.sock.close()

    def send(self, data, descriptors=()):
        """One packet. wire.Closed if the other end is gone, TimeoutError if it does not read."""
        if isinstance(data, wire.Frame):
            data = data.pack()
        rights = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        self.sock.settimeout(wire.PATIENCE)
        try:
            self.sock.sendmsg([data], rights)
        except TimeoutError:
            raise
        except OSError as error:
            raise wire.Closed(str(error)) from error

    def receive(self, patience=wire.PATIENCE):
        """(frame, descriptors) of the next packet."""
        self.sock.settimeout(patience)
        try:
            data, descriptors, _, _ = socket.recv_fds(self.sock, PACKET_MAX, DESCRIPTORS_MAX)
        except TimeoutError:
            raise
        except OSError as error:
            raise wire.Closed(str(error)) from error
        if not data:
            raise wire.Closed("end of file")
        self.received += data
        return wire.unpack(data), descriptors

    def message(self, prog, proc, patience=wire.PATIENCE):
        """(message, descriptors) of the next message of that kind; others are forgotten."""
        while True:
            frame, descriptors = self.aside.pop(0) if self.aside else self.receive(patience)
            if (frame.prog, frame.proc, frame.type) == (prog, proc, wire.MESSAGE):
                return frame, descriptors
            close_all(descriptors)

    def start(self, prog, proc, payload=b""):
        self.serial += 1
        frame = wire.call(proc, payload, self.serial, prog)
        self.send(frame)
        return frame

    def ask(self, prog, proc, payload=b"", patience=wire.PATIENCE):
        """(reply, descriptors) of a call."""
        call = self.start(prog, proc, payload)
        answer, descriptors = self.receive(patience)
        while answer.type == wire.MESSAGE:
            self.aside.append((answer, descriptors))
            answer, descriptors = self.receive(patience)
        assert (answer.prog, answer.proc, answer.type, answer.serial) == (prog, proc, wire.REPLY, call.serial)
        return answer, descriptors

    def is_closed(self, patience=wire.PATIENCE):
        """True if the other end closes within that time, whatever it says before."""
        deadline = time.monotonic() + patience
        try:
            while True:
                close_all(self.receive(max(deadline - time.monotonic(), 0.001))[1])
        except wire.Closed:
            return True
        except (TimeoutError, BlockingIOError):
            return False


class Captured:
    """One process whose place the test has. `descriptors` are those it was started with, by number."""

    def __init__(self, leash, descriptors):
        self.leash, self.descriptors = leash, descriptors
        self.pid = struct.unpack("3i", leash.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        self.config = os.pread(descriptors[CONFIG], 1 << 22, 0)
        self.control = Channel(os.dup(descriptors[CONTROL]))
        self.channels = [self.control]

    def channel(self, fd):
        self.channels.append(Channel(fd))
        return self.channels[-1]

    def say_ready(self):
        self.control.send(message(SUPERVISE, READY))

    def hears(self):
        """Every byte that this process was given or told."""
        return self.config + b"".join(bytes(each.received) for each in self.channels)

    def is_killed(self, patience=wire.PATIENCE):
        """True if the process is ended by somebody else within that time."""
        self.leash.settimeout(patience)
        try:
            assert self.leash.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    def is_quiet(self):
        """True if nothing waits to be read: no answer and no end."""
        return not select.select([self.leash, *(each.sock for each in self.channels)], [], [], 0)[0]

    def release(self):
        """The process ends, and all that it held is closed."""
        for each in self.channels:
            each.close()
        close_all(self.descriptors.values())
        self.descriptors = {}
        self.leash.close()


class Gate(Captured):
    """A gate that was taken over: nobody is accepted, nothing is checked."""

    def __init__(self, leash, descriptors):
        super().__init__(leash, descriptors)
        self.index = int.from_bytes(self.config[:4], "big")
        self.keeper = self.door = self.steward = None
        while not (self.keeper and self.door):
            self.adopt()
        self.say_ready()
        own = re.search(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", self.config, re.S)
        self.chain = [ssl.PEM_cert_to_DER_cert(own[0].decode())]

    def adopt(self, patience=wire.PATIENCE):
        """Take the channel that the supervisor sends next: for a keeper or doorman that was started. The steward's comes when
        that is ready.
        """
        role = PEER_STEWARD
        while role == PEER_STEWARD:
            frame, (fd,) = self.control.message(SUPERVISE, ADOPT, patience)
            role = int.from_bytes(frame.payload[:4], "big")
            if role == PEER_STEWARD:
                self.steward = self.channel(fd)
        if role == PEER_KEEPER:
            self.keeper = self.channel(fd)
        else:
            assert role == PEER_DOORMAN, f"a gate got a channel to a peer of role {role}"
            self.door = self.channel(fd)

    # --- what a gate asks ---

    def nonces(self):
        answer, _ = self.door.ask(DOOR, NONCES)
        reader = wire.Reader(answer.payload)
        return [reader.take(32) for _ in range(reader.u32())]

    def ask_signature(self, scheme, transcript_hash):
        return self.keeper.ask(KEEPER, SIGN, wire.u32(scheme) + opaque(transcript_hash))[0]

    def scheme(self):
        """The one of two schemes that fits the keeper's key."""
        for scheme in (captured_tls.ECDSA_P256, captured_tls.RSA_PSS_2048):
            if self.ask_signature(scheme, bytes(32)).status == wire.OK:
                return scheme
        raise AssertionError("the keeper signs nothing")

    def sign(self, transcript_hash, scheme=None):
        answer = self.ask_signature(scheme or self.scheme(), transcript_hash)
        assert answer.status == wire.OK, answer.error()
        return wire.Reader(answer.payload).opaque()

    def handshake(self, context, nonce=None, **changes):
        """A client's handshake with this gate; `changes` are arguments of captured_tls.Handshake."""
        scheme = self.scheme()
        wanted = {
            "random": nonce or self.nonces()[0],
            "chain": self.chain,
            "scheme": scheme,
            "sign": lambda transcript_hash: self.sign(transcript_hash, scheme),
        }
        return captured_tls.Handshake(context, **{**wanted, **changes})

    def admit(self, transcript, verify, source="127.0.0.1"):
        """(reply, descriptors) of ADMIT."""
        proof = opaque(transcript) + opaque(verify) + wire.string(source) + wire.u32(4711)
        return self.door.ask(DOOR, ADMIT, proof)

    def enter(self, source="127.0.0.1", strength=256, listener="tls"):
        """The number of a visit for a client that shows no certificate."""
        answer, _ = self.door.ask(DOOR, ENTER, enter_args(source, strength, listener))
        return visit_of(answer)

    def start_login(self, visit, mechanism, data, **options):
        return self.door.ask(DOOR, START, wire.u64(visit) + wire.string(mechanism) + token(data), **options)

    def step_login(self, visit, data, **options):
        return self.door.ask(DOOR, STEP, wire.u64(visit) + token(data), **options)

    def leave(self, visit):
        self.door.send(message(DOOR, LEAVE, wire.u64(visit)))


class Worker(Captured):
    """A worker that was taken over. It says that it serves, and keeps what the broker tells it."""

    def __init__(self, leash, descriptors):
        super().__init__(leash, descriptors)
        self.identity = wire.Reader(self.config).text()
        self.rights, self.auditor = None, None
        self.control.send(message(WORK, WORK_READY))

    def serve(self, patience=wire.PATIENCE):
        """(number, descriptor, what doorman said of the client) of the next session."""
        while True:
            frame, descriptors = self.control.receive(patience)
            assert (frame.prog, frame.type) == (WORK, wire.MESSAGE), frame
            if frame.proc == WORK_RIGHTS:
                with open(descriptors[0], "rb") as memory:
                    self.rights = memory.read()
            elif frame.proc == WORK_AUDIT:
                self.auditor = self.channel(descriptors[0])
            elif frame.proc == WORK_SERVE:
                return int.from_bytes(frame.payload[:8], "big"), descriptors[0], frame.payload[8:]

    def hears(self):
        return super().hears() + (self.rights or b"")


class Doorman(Captured):
    """A doorman that was taken over. It lets clients in, so that there are sessions: `claim` makes the facts
    about a client that the broker is told.
    """

    def __init__(self, leash, descriptors):
        super().__init__(leash, descriptors)
        self.gates, self.sasl, self.claim = {}, None, None
        reader = wire.Reader(self.config)
        reader.u32()
        self.broker_path = reader.text()
        self.broker = self.connect()
        self.say_ready()
        self.over, self.lock = threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def connect(self):
        """A new channel to the broker."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(wire.PATIENCE)
        sock.connect(self.broker_path)
        return self.channel(sock.detach())

    def open_session(self, facts):
        """(reply, descriptors) of a wish for a session."""
        with self.lock:
            return self.broker.ask(BROKER, OPEN_SESSION, facts)

    def release(self):
        self.over.set()
        self.thread.join(10)
        super().release()

    def _serve(self):
        while not self.over.is_set():
            channels = [self.control, *self.gates.values()]
            for each in channels:
                try:
                    if select.select([each.sock], [], [], 0.1 / len(channels))[0]:
                        self._take(each, *each.receive())
                except (wire.Closed, ValueError):
                    if each is self.control:
                        return
                    self.gates = {index: gate for index, gate in self.gates.items() if gate is not each}

    def _take(self, channel, frame, descriptors):
        if channel is self.control and frame.proc == ADOPT:
            role, gate, _ = struct.unpack(">3I", frame.payload)
            assert role in (PEER_GATE, PEER_SASL, PEER_STEWARD), f"doorman got a channel to a peer of role {role}"
            adopted = self.channel(descriptors[0])
            if role == PEER_GATE:
                self.gates[gate] = adopted
            elif role == PEER_SASL:
                self.sasl = adopted
        elif (frame.prog, frame.proc, frame.type) == (DOOR, NONCES, wire.CALL):
            channel.send(wire.reply(frame, wire.u32(64) + os.urandom(64 * 32)))
        elif (frame.prog, frame.proc, frame.type) == (DOOR, ADMIT, wire.CALL) and self.claim:
            answer, granted = self.open_session(self.claim())
            if answer.status == wire.OK:
                answer = wire.reply(frame, wire.optional(answer.payload) + wire.u32(0))
            channel.send(answer._replace(prog=DOOR, proc=ADMIT, serial=frame.serial), granted)
            close_all(granted)


def enter_args(source="127.0.0.1", strength=256, listener="tls"):
    return wire.string(source) + wire.u32(4711) + wire.u32(strength) + wire.string(listener)


def token(data):
    return wire.optional(None if data is None else opaque(data))


def visit_of(answer):
    """The number of the visit in an answer to ADMIT or ENTER."""
    assert answer.status == wire.OK, answer.error()
    reader = wire.Reader(answer.payload)
    assert not reader.flag() and reader.flag(), f"no visit: {answer}"
    number = reader.u64()
    assert reader.text()
    reader.finish()
    return number


def grant_of(answer, is_optional=True):
    """(session, identity) of an answer to ADMIT; of one to OPEN_SESSION, where the grant is not optional."""
    assert answer.status == wire.OK, answer.error()
    reader = wire.Reader(answer.payload)
    assert not is_optional or reader.flag(), f"no grant: {answer}"
    return reader.u64(), reader.text()


def step_of(answer):
    """(complete, token, (session, identity) or None) of an answer to START or STEP."""
    assert answer.status == wire.OK, answer.error()
    reader = wire.Reader(answer.payload)
    complete, data = reader.flag(), reader.maybe(reader.opaque)
    grant = reader.maybe(lambda: (reader.u64(), reader.text(), reader.u32(), *(reader.text() for _ in range(4)))[:2])
    reader.finish()
    return complete, data, grant


class Captor:
    """Replaces one program, and collects the processes that are started in its place.

    `prefixes`: only processes whose configuration begins with one of these are captured, without them all;
    the others are real.
    """

    def __init__(self, programs, role, prefixes=None, make=Captured):
        self.programs, self.role, self.make = pathlib.Path(programs), role, make
        self.programs.mkdir(parents=True)
        for path in BUILD.glob("virtgate*"):
            if path.is_file() and os.access(path, os.X_OK):
                self._link(path)
        self.address = str(self.programs / "captor.sock")
        self._install("*" if prefixes is None else " ".join(prefix.hex() for prefix in prefixes))
        self.changed, self.waiting, self.taken, self.failures = threading.Condition(), [], [], []
        self.everybody = []  # those that were dropped, too
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.address)
        os.chmod(self.address, 0o777)
        self.listener.listen(64)
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _link(self, path, name=None):
        """A hard link in our directory; a copy where that is another file system, or the file somebody
        else's.
        """
        place = self.programs / (name or path.name)
        try:
            os.link(path, place)
        except OSError:
            shutil.copy2(path, place)
        return str(place)

    def _install(self, prefixes):
        """The supervisors may execute what is in their own directory, and nothing else: not Python where it
        usually is.
        """
        place = self.programs / f"virtgate-{self.role}"
        text = pathlib.Path(__file__).with_name("captured_stub.py").read_text()
        values = {"ROLE": self.role, "CAPTOR": self.address, "PREFIXES": prefixes}
        values["REAL"] = self._link(place, f"real-{self.role}") if place.exists() else ""
        values["PYTHON"] = self._link(pathlib.Path(sys.executable).resolve(), "python3")
        text = re.sub(r"@([A-Z]+)@", lambda found: values[found[1]], text)
        place.unlink(missing_ok=True)  # a program of others is none of ours
        place.write_text(text)
        place.chmod(0o755)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
        for each in self.waiting + self.taken:
            each.release()
        assert not self.failures, self.failures[0]

    def _accept(self):
        while True:
            try:
                leash, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._receive, args=(leash,), daemon=True).start()

    def _receive(self, leash):
        try:
            leash.settimeout(wire.PATIENCE)
            data, descriptors, _, _ = socket.recv_fds(leash, 4 * DESCRIPTORS_MAX, DESCRIPTORS_MAX)
            numbers = array.array("i", data).tolist()
            if not numbers:
                return  # it was killed before it could speak
            captured = self.make(leash, dict(zip(numbers, descriptors)))
        except (wire.Closed, ConnectionError, OSError):
            return leash.close()  # it was killed meanwhile: the suite is ending
        except Exception as why:  # an exception in a thread fails no test by itself
            self.failures.append(why)
            return leash.close()
        with self.changed:
            self.waiting.append(captured)
            self.everybody.append(captured)
            self.changed.notify_all()

    def take(self, wanted=lambda captured: True, patience=wire.PATIENCE):
        """A captured process that nobody has taken, and for which wanted(it) is true."""
        found = []

        def look():
            found[:] = [each for each in self.waiting if wanted(each)]
            return found

        with self.changed:
            assert self.changed.wait_for(look, patience), f"no {self.role} was started that could be taken"
            self.waiting.remove(found[0])
            self.taken.append(found[0])
        return found[0]

    def give_back(self, captured):
        """For the next one who takes it, if all its channels are open and quiet. If not, its process ends,
        and its parent starts another one.
        """
        if not captured.is_quiet():
            return self.drop(captured)
        with self.changed:
            self.taken.remove(captured)
            self.waiting.append(captured)
            self.changed.notify_all()

    def drop(self, captured):
        """Its process ends; its parent starts another one, which comes here again."""
        self.taken.remove(captured)
        captured.release()
