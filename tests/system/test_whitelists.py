# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_whitelists - who may do what, on which domain: real virsh and a real libvirtd with several domains."""

import re

import pytest

from vgtest import guarded, upstream, wire

DOMAINS = {
    "web-1": "11111111-1111-4111-8111-111111111111",
    "web-2": "22222222-2222-4222-8222-222222222222",
    "db-1": "33333333-3333-4333-8333-333333333333",
    "db-2": "44444444-4444-4444-8444-444444444444",
}
# What no operator may ever be told. The uuid of db-1 is in what some tests send, and so in the errors that answer it.
HIDDEN = (b"db-1", b"db-2", b"\x44" * 4, b"44444444-4444")
POLICY = """
[role.watcher]
allow = ["@read-only"]

[role.operator]
allow = ["@read-only", "@lifecycle", "@events"]

[identity.watcher]
x509 = { CN = "watcher" }
[identity.operator]
x509 = { CN = "operator" }
[identity.exact]
x509 = { CN = "exact" }

[[binding]]
identity = "watcher"
role = "watcher"
objects = { domain = ["glob:*"], network = ["glob:*"], pool = ["glob:*"] }

[[binding]]
identity = "operator"
role = "operator"
objects = { domain = ["glob:web-*"] }

[[binding]]
identity = "exact"
role = "operator"
objects = { domain = ["uuid:11111111-1111-4111-8111-111111111111"] }
"""
LIST_ALL, LIST_IDS, NUM_OF_DOMAINS, LOOKUP_BY_UUID, LOOKUP_BY_ID = 273, 37, 51, 24, 22
DESTROY, RESUME, GET_STATE, GET_XML_DESC = 12, 28, 212, 14


def raw(uuid):
    return bytes.fromhex(uuid.replace("-", ""))


@pytest.fixture(scope="module")
def listed(guard):
    """A suite in front of the test driver with four domains, with three identities."""
    with guard("whitelists", POLICY, node=guarded.domains_xml(DOMAINS)) as made:
        yield made


@pytest.fixture
def client(listed):
    """client(who): a raw connection that keeps all bytes that it got."""
    opened = []

    def connect(who):
        opened.append(listed.open_as(who))
        return opened[-1]

    yield connect
    for one in opened:
        seen = b"".join(frame.pack() for frame in one.log)
        assert not [word for word in HIDDEN if word in seen], "something hidden was told"
        one.close()


def named(name, uuid, number=-1):
    return wire.domain(name, raw(DOMAINS[uuid]), number)


def test_watcher_sees_all_and_changes_nothing(listed):
    assert set(listed.virsh("watcher", "list", "--all", "--name").stdout.split()) == set(DOMAINS)
    assert "<name>db-1</name>" in listed.virsh("watcher", "dumpxml", "db-1").stdout
    for words in (["destroy", "web-1"], ["suspend", "db-1"], ["undefine", "web-2"]):
        done = listed.virsh("watcher", *words)
        assert done.returncode == 1 and "access denied" in done.stderr, done.stderr


def test_refusal_is_logged_with_role_and_rule(listed):
    listed.virsh("watcher", "destroy", "web-1")
    upstream.await_log(
        listed, re.compile(r"domain_destroy: no-binding, role watcher at \S+/20-whitelists\.toml:\d+")
    )


@pytest.mark.parametrize("who, expected", [("operator", {"web-1", "web-2"}), ("exact", {"web-1"})])
def test_lists_show_what_may_be_seen(listed, who, expected):
    assert set(listed.virsh(who, "list", "--all", "--name").stdout.split()) == expected


def test_operator_works_with_his_own(listed):
    assert listed.virsh("operator", "suspend web-1; domstate web-1").stdout.split()[-1] == "paused"


def test_hidden_domain_is_one_that_does_not_exist(listed):
    """Word for word, but for the name."""
    hidden, absent = listed.virsh("operator", "dominfo", "db-1"), listed.virsh("operator", "dominfo", "db-9")
    assert hidden.returncode == absent.returncode == 1
    assert hidden.stderr.replace("db-1", "X") == absent.stderr.replace("db-9", "X")
    by_uuid = listed.virsh("operator", "dominfo", DOMAINS["db-1"])
    never = listed.virsh("operator", "dominfo", "99999999-9999-4999-8999-999999999999")
    assert by_uuid.stderr.replace(DOMAINS["db-1"], "X") == never.stderr.replace(
        "99999999-9999-4999-8999-999999999999", "X"
    )


def test_counts_and_old_lists_are_filtered(client):
    operator = client("operator")
    assert operator.ask(NUM_OF_DOMAINS).payload == wire.u32(2)
    reader = wire.Reader(operator.ask(LIST_IDS, wire.u32(100)).payload)
    ids = [reader.i32() for _ in range(reader.u32())]
    assert len(ids) == 2
    for number in ids:
        answer = operator.ask(LOOKUP_BY_ID, wire.u32(number))
        assert wire.Reader(answer.payload).text() in ("web-1", "web-2")
    all_ids = set(range(1, 5)) - set(ids)
    for number in all_ids:
        assert operator.ask(LOOKUP_BY_ID, wire.u32(number)).error()[0] == 42
    reader = wire.Reader(operator.ask(LIST_ALL, wire.u32(1) + wire.u32(0)).payload)
    assert reader.u32() == 2


def test_lying_client_gets_what_the_uuid_deserves(client):
    """libvirt acts on the uuid; a name that is allowed does not help, and one that is hidden does not hurt. For every call:
    test_whitelists_lies.
    """
    operator = client("operator")
    for procedure, more in ((RESUME, b""), (DESTROY, b""), (GET_STATE, wire.u32(0)), (GET_XML_DESC, wire.u32(0))):
        lie = operator.ask(procedure, named("web-1", "db-1") + more)
        assert lie.error()[0] == 42, (procedure, lie.error())
    state = operator.ask(GET_STATE, named("whatever", "web-2") + wire.u32(0))
    assert state.status == wire.OK


def test_reload_takes_rights_from_sessions_that_are_open(listed, client):
    operator = client("operator")
    assert operator.ask(NUM_OF_DOMAINS).payload == wire.u32(2)
    try:
        listed.reload(POLICY.replace('domain = ["glob:web-*"]', 'domain = ["web-2"]'))
        # The worker hears of it after the broker has said that it is in force.
        upstream.poll(lambda: operator.ask(NUM_OF_DOMAINS).payload == wire.u32(1), what="the new rights of an open session")
        assert operator.ask(GET_STATE, named("web-1", "web-1") + wire.u32(0)).error()[0] == 42
        mark = len(listed.log())
        listed.change_policy("[role.broken")
        upstream.poll(lambda: f"{listed.policy_file}:2" in listed.log()[mark:], what="the complaint")
        assert operator.ask(NUM_OF_DOMAINS).payload == wire.u32(1)
        # The grant is gone altogether: so is the session.
        binding, following = POLICY.index('[[binding]]\nidentity = "operator"'), POLICY.index('[[binding]]\nidentity = "exact"')
        listed.reload(POLICY[:binding] + POLICY[following:])
        assert operator.rest() == []
    finally:
        listed.reload(POLICY)


def test_what_may_be_used_is_what_the_unrestricted_see(listed):
    """The identity of `virtgate up` may do everything, as before."""
    done = listed.virsh(None, "list", "--all", "--name")
    assert set(done.stdout.split()) == set(DOMAINS)


def test_limits_are_named_when_they_refuse(listed, client):
    """Calls in a second, connections and idle sessions, for one identity; the others go on."""
    listed.reload(
        """
[role.slow]
allow = ["@read-only"]
limits = { calls_per_second = 5, burst = 8, connections = 2, idle_timeout = "4s" }
[identity.limited]
x509 = { CN = "limited" }
[[binding]]
identity = "limited"
role = "slow"
objects = { domain = ["glob:*"] }
""",
        "30-limited.toml",
    )
    with listed.open_as("limited") as one, client("operator") as other:
        answers = [one.ask(NUM_OF_DOMAINS) for _ in range(20)]
        refused = [answer.error() for answer in answers if answer.status == wire.ERROR]
        assert refused and all(error[0] == 87 and "calls_per_second=5" in error[2] for error in refused)
        assert one.alive(), "its keepalive is answered all the same"
        assert all(other.ask(NUM_OF_DOMAINS).status == wire.OK for _ in range(20))
        with listed.dial("limited"):
            with pytest.raises(wire.Closed):
                listed.dial("limited")
        upstream.await_log(listed, "connections=2")
        frames = one.rest(12)
        assert not frames
        upstream.await_log(listed, "idle_timeout=4")


def test_explain_says_why(listed):
    done = policy("explain", "--identity", "operator", "--dir", listed.policy_directory, "DOMAIN_DESTROY", "domain=db-1")
    assert "DENY" in done.stdout and listed.policy_file in done.stdout, done


@pytest.fixture
def directory(tmp_path):
    """A policy of its own, for the tools."""
    path = tmp_path / "policy.d"
    path.mkdir(mode=0o755)
    (path / "20-roles.toml").write_text("version = 1\n" + POLICY)
    return path


def policy(command, *words, environment=None):
    return guarded.virtgate("policy", command, *words, environment=environment)


def test_cases_beside_a_policy_are_run(directory):
    cases = directory / "roles.policytest.toml"
    cases.write_text(
        'version = 1\n[[case]]\nidentity = "operator"\ncall = "DOMAIN_DESTROY domain=web-1"\nexpect = "allow"\n'
        '[[case]]\nidentity = "operator"\ncall = "DOMAIN_DESTROY domain=db-1"\nexpect = "deny"\n'
    )
    done = policy("test", directory)
    assert done.returncode == 0, done
    cases.write_text(cases.read_text().replace('"deny"', '"allow"'))
    done = policy("test", directory)
    assert done.returncode == 1 and "roles.policytest.toml" in done.stdout + done.stderr, done


def test_edit_replaces_a_policy_only_by_a_good_one(directory, tmp_path):
    path = directory / "20-roles.toml"
    before = path.read_text()
    editor = tmp_path / "editor"

    def edit(script):
        editor.write_text(f"#!/bin/sh\n{script}\n")
        editor.chmod(0o755)
        return policy("edit", path, environment={"VISUAL": str(editor), "EDITOR": str(editor)})

    done = edit('echo "[role.broken" >>"$1"')
    assert done.returncode != 0 and path.read_text() == before, done
    done = edit("sed -i s/web-/www-/ \"$1\"")
    assert done.returncode == 0 and 'glob:www-*' in path.read_text(), done
    assert [p.name for p in directory.iterdir()] == ["20-roles.toml"], "something was left behind"


def test_tools_agree_with_the_daemon(directory):
    """check, show, who-can and diff on the policy that the tests above run with."""
    assert policy("check", directory).returncode == 0
    shown = policy("show", "--dir", directory, "--identity", "operator").stdout
    assert "DOMAIN_DESTROY" in shown.upper() and "web-*" in shown
    who = policy("who-can", "--dir", directory, "DOMAIN_DESTROY", "domain=web-1").stdout
    assert "operator" in who and "watcher" not in who
    other = directory.parent / "other.d"
    other.mkdir(mode=0o755)
    (other / "20-roles.toml").write_text("version = 1\n" + POLICY.replace("glob:web-*", "glob:www-*"))
    assert "operator" in policy("diff", directory, other).stdout
    (other / "20-roles.toml").write_text('version = 1\n[role.r]\nallow = ["@read-onyl"]\n')
    wrong = policy("check", other)
    assert wrong.returncode == 1 and 'did you mean "@read-only"' in wrong.stdout + wrong.stderr, wrong

