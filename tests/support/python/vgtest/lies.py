# SPDX-License-Identifier: LGPL-2.1-or-later
"""lies - what somebody sends in the place of an answer: a daemon, a worker or a program that was taken over."""

from vgtest import wire


def make_lies(result, with_nul, event, other):
    """{name: function of the call that gives the bytes}. `result`: a good result of that call; `with_nul`: one with NUL in a
    string; event(payload, **changes): an event, without arguments a good one; `other`: the number of another program.
    """

    def answer_of(call):
        return wire.reply(call, result)

    good = event().payload
    return {
        "a reply to a call that nobody made": lambda f: answer_of(f)._replace(serial=f.serial + 9999).pack(),
        "a reply with another procedure": lambda f: answer_of(f)._replace(proc=f.proc + 1).pack(),
        "a reply of another program": lambda f: answer_of(f)._replace(prog=other).pack(),
        "a reply of another version": lambda f: answer_of(f)._replace(vers=f.vers + 1).pack(),
        "a reply of an unknown program": lambda f: answer_of(f)._replace(prog=0x12345678).pack(),
        "a reply with status CONTINUE": lambda f: answer_of(f)._replace(status=wire.CONTINUE).pack(),
        "a reply with status 99": lambda f: answer_of(f)._replace(status=99).pack(),
        "a reply with descriptors": lambda f: answer_of(f)
        ._replace(type=wire.REPLY_WITH_FDS, payload=wire.u32(1))
        .pack(),
        "a call": lambda f: f.pack(),
        "type 7": lambda f: answer_of(f)._replace(type=7).pack(),
        "an empty result": lambda f: answer_of(f)._replace(payload=b"").pack(),
        "a result cut short": lambda f: answer_of(f)._replace(payload=result[:-1]).pack(),
        "bytes behind the result": lambda f: answer_of(f)._replace(payload=result + b"\xde\xad\xbe\xef").pack(),
        "NUL in the result": lambda f: answer_of(f)._replace(payload=with_nul).pack(),
        "a string longer than the frame": lambda f: answer_of(f)
        ._replace(payload=wire.u32(0xFFFFFFFF) + bytes(40))
        .pack(),
        "an error that does not decode": lambda f: answer_of(f)
        ._replace(status=wire.ERROR, payload=b"\0\0\0\1\0\0\0")
        .pack(),
        "an error with bytes behind": lambda f: wire.reply(
            f, wire.error_payload(1, 7, "x") + bytes(4), wire.ERROR
        ).pack(),
        "an event of an unknown program": lambda f: event(prog=0x12345678).pack(),
        "an event that is a call": lambda f: event(b"", proc=f.proc).pack(),
        "an unknown event": lambda f: event(proc=99999).pack(),
        "an event cut short": lambda f: event(good[:-4]).pack(),
        "an event with bytes behind": lambda f: event(good + bytes(4)).pack(),
        "an event with status ERROR": lambda f: event(status=wire.ERROR).pack(),
        "stream data for no stream": lambda f: wire.stream(f, b"data").pack(),
        "stream data for a stream that was not opened": lambda f: wire.stream(
            f._replace(proc=wire.VOL_DOWNLOAD), b"data"
        ).pack(),
        "a hole for no stream": lambda f: wire.hole(f, 4096).pack(),
        "length word 0": lambda f: wire.u32(0),
        "length word 3": lambda f: wire.u32(3) + b"abc",
        "length word 27": lambda f: wire.u32(27) + bytes(23),
        "a frame of 33 MiB": lambda f: wire.u32(33 << 20) + answer_of(f).pack()[4:],
        "length word 2^32-1": lambda f: wire.u32(0xFFFFFFFF) + bytes(64),
        "garbage": lambda f: b"HTTP/1.1 400 Bad Request\r\n\r\n" * 40,
        "half a frame and the end": lambda f: answer_of(f).pack()[:-5],
        "the end": lambda f: b"",
    }
