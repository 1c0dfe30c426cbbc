# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_policy_reload - the policy changes again and again under a hundred clients that never stop calling."""

import json
import time

import pytest

from vgtest import guarded, wire

DOMAINS = {"red": "11111111-1111-4111-8111-111111111111", "green": "22222222-2222-4222-8222-222222222222",
           "blue": "33333333-3333-4333-8333-333333333333"}  # fmt: skip
# Under one policy the clients see one domain, and under the other the other two; a mixture of both sees none, or three.
ONE, TWO = {"red"}, {"green", "blue"}
POLICY = """[role.reader]
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


def policy(names):
    return POLICY.format(names=json.dumps(sorted(names)))


@pytest.fixture(scope="module")
def changing(guard):
    with guard("changing", policy(ONE), node=guarded.domains_xml(DOMAINS)) as made:
        yield made


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


def test_each_call_is_judged_by_one_policy(changing):
    """No answer shows a mixture, nobody is dropped, and behind each reload everybody sees the new one."""
    clients, every = [changing.open_as("crowd") for _ in range(CLIENTS)], set()
    try:
        for turn in range(RELOADS):
            expected = (TWO, ONE)[turn % 2]
            changing.change_policy(policy(expected))
            # The calls go out and are answered while the new policy is compiled and told to the worker.
            deadline, shown = time.monotonic() + PATIENCE, set()
            while shown != {frozenset(expected)}:
                assert time.monotonic() < deadline, f"{shown} is still shown; log:\n{changing.log()[-2000:]}"
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
