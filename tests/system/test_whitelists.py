# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_whitelists - who may do what, on which domain: real virsh and a real libvirtd with several domains."""

import os
import re
import signal

import pytest

from vgtest import libvirtd, suite, table, upstream, wire
from vgtest.clients import attempt

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
def node(scratch):
    """A file of libvirt's test driver with four domains."""
    domains = "".join(
        f"<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory>8192</memory><vcpu>1</vcpu>"
        "<os><type>hvm</type></os></domain>"
        for name, uuid in DOMAINS.items()
    )
    path = scratch / "node.xml"
    path.write_text(f"<node>{domains}</node>")
    path.chmod(0o644)
    return path


@pytest.fixture(scope="module")
def listed(scratch, running_suite, private_libvirtd, node):
    """A suite in front of the test driver with several domains, with three identities."""
    assert libvirtd.available()
    directory = scratch / "whitelists"
    running_suite.sibling(directory)
    fresh = suite.Suite(directory, {f"test://{node}": private_libvirtd.socket})
    fresh.add_policy("20-roles.toml", POLICY)
    with fresh:
        yield fresh


@pytest.fixture(scope="module")
def pki(authority, scratch):
    return {name: authority.pkipath(scratch / f"pki-{name}", f"/CN={name}") for name in ("watcher", "operator", "exact")}


@pytest.fixture
def virsh(listed, node, pki):
    def call(who, *words):
        return attempt("virsh", "-q", "-c", listed.uri(path=str(node), pki=pki[who]), *words)

    return call


@pytest.fixture
def client(listed, node, pki):
    """client(who): a raw connection that keeps all bytes that it got."""
    opened = []

    def connect(who):
        one = listed.connect(context=wire.tls_context(pki[who]))
        one.open(f"test://{node}")
        opened.append(one)
        return one

    yield connect
    for one in opened:
        seen = b"".join(frame.pack() for frame in one.log)
        assert not [word for word in HIDDEN if word in seen], "something hidden was told"
        one.close()


def named(name, uuid, number=-1):
    return wire.domain(name, raw(DOMAINS[uuid]), number)


def test_watcher_sees_all_and_changes_nothing(virsh):
    assert set(virsh("watcher", "list", "--all", "--name").stdout.split()) == set(DOMAINS)
    assert "<name>db-1</name>" in virsh("watcher", "dumpxml", "db-1").stdout
    for words in (["destroy", "web-1"], ["suspend", "db-1"], ["undefine", "web-2"]):
        done = virsh("watcher", *words)
        assert done.returncode == 1 and "access denied" in done.stderr, done.stderr


def test_refusal_is_logged_with_role_and_rule(virsh, listed):
    virsh("watcher", "destroy", "web-1")
    assert re.search(r"domain_destroy: no-binding, role watcher at \S+/20-roles\.toml:\d+", listed.log()), listed.log()


@pytest.mark.parametrize("who, expected", [("operator", {"web-1", "web-2"}), ("exact", {"web-1"})])
def test_lists_show_what_may_be_seen(virsh, who, expected):
    assert set(virsh(who, "list", "--all", "--name").stdout.split()) == expected


def test_operator_works_with_his_own(virsh):
    assert virsh("operator", "suspend web-1; domstate web-1").stdout.split()[-1] == "paused"


def test_hidden_domain_is_one_that_does_not_exist(virsh):
    """Word for word, but for the name."""
    hidden, absent = virsh("operator", "dominfo", "db-1"), virsh("operator", "dominfo", "db-9")
    assert hidden.returncode == absent.returncode == 1
    assert hidden.stderr.replace("db-1", "X") == absent.stderr.replace("db-9", "X")
    by_uuid = virsh("operator", "dominfo", DOMAINS["db-1"])
    never = virsh("operator", "dominfo", "99999999-9999-4999-8999-999999999999")
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
    """libvirt acts on the uuid; a name that is allowed does not help, and one that is hidden does not hurt."""
    operator = client("operator")
    for procedure, more in ((RESUME, b""), (DESTROY, b""), (GET_STATE, wire.u32(0)), (GET_XML_DESC, wire.u32(0))):
        lie = operator.ask(procedure, named("web-1", "db-1") + more)
        assert lie.error()[0] == 42, (procedure, lie.error())
    state = operator.ask(GET_STATE, named("whatever", "web-2") + wire.u32(0))
    assert state.status == wire.OK


def domain_calls():
    """(number, arguments) of each call whose arguments begin with a domain: the name of one, the uuid of another."""
    made = wire.string("hello") + bytes(range(1, 17)) + wire.u32(1)
    for (program, number), procedure in table.load().items():
        arguments = procedure.arguments.make(True)
        if program == wire.REMOTE and procedure.kind == "call" and arguments.startswith(made):
            yield number, named("web-1", "db-1") + arguments[len(made) :]


def test_every_call_on_a_hidden_domain_is_refused(client):
    """Every procedure whose arguments begin with a domain, with another's name and the hidden uuid."""
    operator = client("operator")
    tried = 0
    for number, payload in domain_calls():
        answer = operator.ask(number, payload)
        assert answer.status == wire.ERROR, number
        tried += 1
    assert tried > 100


def test_reload_takes_rights_from_sessions_that_are_open(listed, client, node):
    operator = client("operator")
    assert operator.ask(NUM_OF_DOMAINS).payload == wire.u32(2)
    path = listed.directory / "etc/policy.d/20-roles.toml"
    kept = path.read_text()

    def reload(text, patience=10):
        marks = listed.log().count("identities in force")
        path.write_text(text)
        os.kill(listed.pids("virtgate-workerd")[0], signal.SIGHUP)
        upstream.poll(lambda: listed.log().count("identities in force") > marks, patience, what="the new policy")

    try:
        reload(kept.replace('domain = ["glob:web-*"]', 'domain = ["web-2"]'))
        assert operator.ask(NUM_OF_DOMAINS).payload == wire.u32(1)
        assert operator.ask(GET_STATE, named("web-1", "web-1") + wire.u32(0)).error()[0] == 42
        mark = len(listed.log())
        path.write_text("version = 1\n[role.broken")
        os.kill(listed.pids("virtgate-workerd")[0], signal.SIGHUP)
        upstream.poll(lambda: "20-roles.toml:2" in listed.log()[mark:], what="the complaint")
        assert operator.ask(NUM_OF_DOMAINS).payload == wire.u32(1)
        # The grant is gone altogether: so is the session.
        cut = kept[: kept.index('[[binding]]\nidentity = "operator"')] + kept[kept.index('[[binding]]\nidentity = "exact"') :]
        reload(cut)
        assert operator.rest() == []
    finally:
        reload(kept)


def test_what_may_be_used_is_what_the_unrestricted_see(listed, node):
    """The identity of `virtgate up` may do everything, as before."""
    done = attempt("virsh", "-q", "-c", listed.uri(path=str(node)), "list", "--all", "--name")
    assert set(done.stdout.split()) == set(DOMAINS)


def test_limits_are_named_when_they_refuse(listed, client, authority, scratch, node):
    """Calls in a second, calls at once and idle sessions, for one identity; the others go on."""
    limited = wire.tls_context(authority.pkipath(scratch / "pki-limited", "/CN=limited"))
    listed.add_policy(
        "30-limited.toml",
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
    )
    marks = listed.log().count("identities in force")
    os.kill(listed.pids("virtgate-workerd")[0], signal.SIGHUP)
    upstream.poll(lambda: listed.log().count("identities in force") > marks, what="the new policy")
    with listed.connect(context=limited) as one, client("operator") as other:
        one.open(f"test://{node}")
        answers = [one.ask(NUM_OF_DOMAINS) for _ in range(20)]
        refused = [answer.error() for answer in answers if answer.status == wire.ERROR]
        assert refused and all(error[0] == 87 and "calls_per_second=5" in error[2] for error in refused)
        assert one.alive(), "its keepalive is answered all the same"
        assert all(other.ask(NUM_OF_DOMAINS).status == wire.OK for _ in range(20))
        with listed.connect(context=limited):
            with pytest.raises(wire.Closed):
                listed.connect(context=limited)
        assert "connections=2" in listed.log()
        frames = one.rest(12)
        assert not frames and "idle_timeout=4" in listed.log()


def test_explain_says_why(listed, tmp_path):
    directory = listed.directory / "etc/policy.d"
    done = attempt(
        suite.BUILD / "virtgate", "policy", "explain", "--identity", "operator", "--dir", directory,
        "DOMAIN_DESTROY", "domain=db-1",
    )  # fmt: skip
    assert "DENY" in done.stdout and "20-roles.toml" in done.stdout, done


@pytest.fixture
def directory(tmp_path):
    """A policy of its own, for the tools."""
    path = tmp_path / "policy.d"
    path.mkdir(mode=0o755)
    (path / "20-roles.toml").write_text("version = 1\n" + POLICY)
    return path


def policy(command, *words, environment=None):
    return attempt(suite.BUILD / "virtgate", "policy", command, *words, environment=environment)


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

