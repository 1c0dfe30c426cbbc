# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_policy_reload - the policy changes again and again under a hundred clients that never stop calling."""

import os
import signal
import time

import pytest

from vgtest import suite, wire

DOMAINS = {"red": "11111111-1111-4111-8111-111111111111", "green": "22222222-2222-4222-8222-222222222222",
           "blue": "33333333-3333-4333-8333-333333333333"}  # fmt: skip
# Under one policy the clients see one domain, and under the other the other two; a mixture of both sees none, or three.
ONE, TWO = {"red"}, {"green", "blue"}
POLICY = """version = 1
[role.reader]
allow = ["@read-only"]
[identity.crowd]
x509 = {{ CN = "crowd" }}
[[binding]]
identity = "crowd"
role = "reader"
objects = {{ domain = {names} }}
"""
CLIENTS, RELOADS, PATIENCE = 100, 12, 60
LIST_ALL, NUM_OF_DOMAINS = 273, 51


@pytest.fixture(scope="module")
def changing(scratch, running_suite, private_libvirtd):
    node = scratch / "reload.xml"
    domains = "".join(
        f"<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory>8192</memory><vcpu>1</vcpu>"
        "<os><type>hvm</type></os></domain>"
        for name, uuid in DOMAINS.items()
    )
    node.write_text(f"<node>{domains}</node>")
    node.chmod(0o644)
    running_suite.sibling(scratch / "changing")
    fresh = suite.Suite(scratch / "changing", {f"test://{node}": private_libvirtd.socket})
    (fresh.directory / "etc" / "policy.d").mkdir(parents=True, exist_ok=True)
    write(fresh, ONE)
    with fresh:
        yield fresh, f"test://{node}"


def write(where, names):
    path = where.directory / "etc" / "policy.d" / "20-crowd.toml"
    new = path.with_suffix(".new")
    new.write_text(POLICY.format(names=sorted(names)).replace("'", '"'))
    new.rename(path)


def seen(frame):
    """The names in the reply to LIST_ALL."""
    assert frame.status == wire.OK, frame.error()
    reader = wire.Reader(frame.payload)
    names = set()
    for _ in range(reader.u32()):
        names.add(reader.text())
        reader.take(16)
        reader.u32()
    assert reader.u32() == len(names)
    return frozenset(names)


def test_each_call_is_judged_by_one_policy(changing, authority, scratch):
    """No answer shows a mixture, nobody is dropped, and behind each reload everybody sees the new one."""
    where, uri = changing
    context = wire.tls_context(authority.pkipath(scratch / "pki-crowd", "/CN=crowd"))
    clients = [where.connect(context=context).open(uri) for _ in range(CLIENTS)]
    pid, every = where.pids("virtgate-workerd")[0], set()
    try:
        for turn in range(RELOADS):
            expected = (TWO, ONE)[turn % 2]
            write(where, expected)
            os.kill(pid, signal.SIGHUP)
            # The calls go out and are answered while the new policy is compiled and told to the worker.
            deadline, shown = time.monotonic() + PATIENCE, set()
            while shown != {frozenset(expected)}:
                assert time.monotonic() < deadline, f"{shown} is still shown; log:\n{where.log()[-2000:]}"
                calls = [(one, one.start(LIST_ALL, wire.u32(1) + wire.u32(0))) for one in clients]
                shown = {seen(one.answer(call)) for one, call in calls}
                every |= shown
            counts = {one.ask(NUM_OF_DOMAINS).payload for one in clients}
            assert counts == {wire.u32(len(expected))}
        assert every <= {frozenset(ONE), frozenset(TWO)}, every
        assert len(every) == 2
    finally:
        for one in clients:
            one.close()
