# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_policy_tools - `virtgate policy` on directories of policy files: no daemon, and no libvirt."""

import json
import os
import pathlib
import re
import shutil
import stat

import pytest

from vgtest.clients import attempt
from vgtest.suite import BUILD

TOP = pathlib.Path(__file__).parents[2]


def policy(command, *words, **options):
    return attempt(BUILD / "virtgate", "policy", command, *words, **options)


def answer(command, *words, status=0):
    """What a command prints with --json."""
    done = policy(command, *words, "--json")
    assert done.returncode == status, done
    return json.loads(done.stdout)


@pytest.fixture
def examples(tmp_path):
    """Our own examples, with a group that every machine has."""
    directory = tmp_path / "policy.d"
    directory.mkdir(mode=0o755)
    for path in (TOP / "policy/examples").iterdir():
        copy = directory / path.name
        copy.write_text(path.read_text().replace('"virt-ops"', '"root"'))
        copy.chmod(0o640)
    return directory


RECORD = {"record": "call", "verdict": "allowed", "identity": "ops", "session": 1, "listener": "tls",
          "program": "remote", "flags": 0, "role": "operator", "generation": 1, "serial": 1}  # fmt: skip


def domain(name, known=True):
    return {"kind": "domain", "name": name, "uuid": "7a0bb41b-68b2-4683-84e5-9502892bea00", "known": known}


@pytest.fixture
def records(tmp_path):
    """A file of the auditor: ops has started and stopped web-1, was refused db-master, and somebody was not let in."""
    made = [
        {**RECORD, "time": "2026-11-20T10:00:00.5Z", "procedure": "CONNECT_LIST_ALL_DOMAINS"},
        {**RECORD, "time": "2026-11-20T10:00:01Z", "procedure": "DOMAIN_CREATE", "objects": [domain("web-1")]},
        {**RECORD, "time": "2026-11-20T10:00:02Z", "procedure": "DOMAIN_DESTROY", "objects": [domain("web-1")]},
        {**RECORD, "time": "2026-11-20T14:02:11Z", "procedure": "DOMAIN_DESTROY", "verdict": "refused",
         "reason": "object", "objects": [domain("db-master")]},
        {**RECORD, "time": "2026-11-20T15:00:00Z", "procedure": "DOMAIN_DESTROY", "verdict": "refused",
         "reason": "object", "objects": [domain('x"] }\n[[binding]]\nrole = "admin"', known=False)]},
        {"time": "2026-11-20T16:00:00Z", "record": "session", "verdict": "refused", "reason": "no-identity",
         "login": "mallory\n", "mechanism": "PLAIN", "source": "192.0.2.66", "listener": "tls"},
    ]  # fmt: skip
    path = tmp_path / "audit.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in made) + '{"time": "2026-11-20T17:00')
    return path


# ---- examples ----


def test_examples_compile_and_do_what_they_say(examples):
    done = policy("check", examples)
    assert done.returncode == 0 and "error" not in done.stdout.replace("no errors", ""), done.stdout
    assert set(re.findall(r"\[([a-z-]+)\]$", done.stdout, re.MULTILINE)) == {"powerful"}, done.stdout
    assert policy("check", "--strict", examples).returncode == 2
    done = policy("test", examples)
    assert done.returncode == 0 and "9 cases, 0 failed" in done.stdout, done
    assert answer("test", examples) == {"cases": 9, "failed": []}


# ---- show, explain, who-can, diff ----


def test_show_lists_identities_effects_and_groups(examples):
    assert [one["identity"] for one in answer("show", "--dir", examples)["identities"]] == ["acme", "hosts", "ops", "prometheus"]
    effects = answer("show", "--dir", examples, "--identity", "acme")["effects"]
    assert {"identity": "acme", "effect": "allow", "procedure": "remote.DOMAIN_SHUTDOWN", "objects": ["domain=acme-web"]} in effects
    assert {"identity": "acme", "effect": "limit", "limit": "connections", "value": 2} in effects
    assert any(one["effect"] == "deny" and one["flags"] == "with *" for one in effects)
    groups = {one["group"] for one in answer("show", "--groups")["groups"]}
    assert {"@lifecycle", "@read-only", "@admin"} <= groups
    names = [one["procedure"] for one in answer("show", "@lifecycle")["procedures"]]
    assert "remote.DOMAIN_DESTROY" in names
    wrong = policy("show", "@lifecycel")
    assert wrong.returncode == 2 and '"@lifecycle"' in wrong.stderr
    wrong = policy("show", "--dir", examples, "--identity", "acmee")
    assert wrong.returncode == 2 and 'did you mean "acme"' in wrong.stderr


ALICE = ("--sasl", "alice@acme", "--mech", "SCRAM-SHA-256", "--tls", "1.3", "--source", "192.0.2.7")
PAUSED = ("DOMAIN_CREATE_WITH_FLAGS", "domain=acme-web", "flags=START_PAUSED")


def test_explain_marks_what_decides_and_says_what_would_be_enough(examples):
    done = policy("explain", "--dir", examples, *ALICE, *PAUSED)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("DENY  DOMAIN_CREATE_WITH_FLAGS domain=acme-web flags=VIR_DOMAIN_START_PAUSED")
    assert "identity acme" in lines[1] and "(sasl ok, mechanism ok, tls ok)" in lines[1]
    decides = [line for line in lines if "<-- decides" in line]
    assert len(decides) == 1 and "flag:DOMAIN_CREATE_WITH_FLAGS:*" in decides[0] and "50-customer-acme.toml:29:10" in decides[0]
    assert "near miss: without flags the call is allowed" in lines
    document = answer("explain", "--dir", examples, *ALICE, *PAUSED, status=1)
    assert (document["allowed"], document["reason"], document["identity"]) == (False, "deny-rule", "acme")
    decider = [one for one in document["bindings"] if one["decides"]]
    assert len(decider) == 1 and decider[0]["deny"][0]["word"] == "flag:DOMAIN_CREATE_WITH_FLAGS:*"
    assert document["near_misses"][0]["change"] == "flags"
    assert answer("explain", "--dir", examples, *ALICE, *PAUSED[:2])["allowed"]


def test_explain_tells_a_stranger_from_a_near_miss(examples):
    done = policy("explain", "--dir", examples, "--sasl", "alice@acme", "--mech", "PLAIN", *PAUSED[:2])
    assert done.returncode == 2 and "near miss: but for mechanism it would be acme" in done.stdout, done
    document = answer("explain", "--dir", examples, "--sasl", "mallory", *PAUSED[:2], status=2)
    assert document["reason"] == "no-identity" and document["near_misses"] == []
    (examples / "60-twice.toml").write_text('version = 1\n[identity.both]\nsasl = "glob:*@acme"\n')
    document = answer("explain", "--dir", examples, *ALICE, *PAUSED[:2], status=2)
    assert document["reason"] == "ambiguous" and sorted(document["identities"]) == ["acme", "both"]


def test_explain_reads_a_certificate(examples, tmp_path):
    store = tmp_path / "pki"
    for words in (("init", "--organisation", "Example Ops"), ("client", "prometheus", "--organisation", "Example Ops")):
        done = attempt(BUILD / "virtgate", "pki", words[0], "--dir", store, *words[1:])
        assert done.returncode == 0, done
    (certificate,) = store.rglob("clientcert.pem")
    call = ("--dir", examples, "--cert", certificate, "DOMAIN_GET_STATE", "domain=db-1")
    document = answer("explain", "--source", "10.20.3.4", *call)
    assert document["identity"] == "prometheus" and document["passed"] == ["x509 CN", "x509 O", "source"], document
    document = answer("explain", "--source", "192.0.2.4", *call, status=2)
    assert ("prometheus", "source") in [(one["identity"], one["test"]) for one in document["near_misses"]]
    assert policy("explain", "--subject", "CN=x", *call).returncode == 64
    assert policy("explain", "--dir", examples, "--cert", tmp_path / "none.pem", "DOMAIN_CREATE").returncode == os.EX_NOINPUT


@pytest.mark.parametrize("words", [
    (), ("DOMAIN_CREATE",), ("--identity", "acme"), ("--identity", "acme", "DOMAIN_CRATE"),
    ("--identity", "acme", "DOMAIN_CREATE", "nonsense"), ("--sasl", "a", "--tls", "1.2", "DOMAIN_CREATE"),
    ("--sasl", "a", "--listener", "moon", "DOMAIN_CREATE"), ("--mech", "PLAIN", "--uid", "0", "DOMAIN_CREATE"),
    ("--at", "yesterday",), ("--matrix", "NO_SUCH"),
])  # fmt: skip
def test_explain_refuses_questions_that_are_none(examples, words):
    assert policy("explain", "--dir", examples, *words).returncode == 64


def test_who_can_and_matrix_agree_with_explain(examples):
    who = answer("who-can", "--dir", examples, "DOMAIN_DESTROY", "domain=web-1")["identities"]
    assert [one["identity"] for one in who] == ["ops"]
    assert policy("who-can", "--dir", examples, "DOMAIN_DESTROY", "domain=db-master").returncode == 1
    table = answer("explain", "--dir", examples, "--matrix", "DOMAIN_DESTROY", "DOMAIN_GET_STATE", "CONNECT_OPEN")
    cells = {row["procedure"]: row["cells"] for row in table["rows"]}
    assert cells["remote.DOMAIN_DESTROY"] == {"acme": "never", "hosts": "never", "ops": "objects", "prometheus": "never"}
    assert set(cells["remote.CONNECT_OPEN"].values()) == {"always"}
    groups = {row["group"]: row for row in answer("explain", "--dir", examples, "--matrix", "--identity", "ops")["rows"]}
    assert groups["@lifecycle"]["cells"]["ops"]["objects"] == groups["@lifecycle"]["procedures"]
    done = policy("explain", "--dir", examples, "--matrix")
    assert done.returncode == 0 and re.search(r"^@lifecycle +4/14\* +- +all\* +-$", done.stdout, re.MULTILINE), done.stdout


def test_diff_is_about_effects(examples, tmp_path):
    other = tmp_path / "other.d"
    shutil.copytree(examples, other)
    path = other / "20-bindings.toml"
    path.rename(other / "99-same.toml")
    assert policy("diff", examples, other).returncode == 0, "the names of files mean nothing"
    (other / "99-same.toml").rename(path)
    path.write_text(path.read_text().replace('"glob:web-*", ', ""))
    document = answer("diff", examples, other, status=1)
    gone = next(one for one in document["gone"] if one.get("procedure") == "remote.DOMAIN_DESTROY")
    assert gone["objects"] == ["domain=glob:db-*", "domain=glob:web-*"] and gone["identity"] == "ops"
    assert len(document["gone"]) == len(document["new"])
    path.write_text("version = 1\n[role.x")
    done = policy("diff", examples, other)
    assert done.returncode == 2 and "20-bindings.toml:2" in done.stderr


def test_cases_that_fail_or_are_wrong(examples):
    cases = examples / "examples.policytest.toml"
    text = cases.read_text()
    cases.write_text(text.replace('expect   = "deny"', 'expect   = "allow"'))
    document = answer("test", examples, status=1)
    assert document["cases"] == 9 and len(document["failed"]) == 3
    assert {one["reason"] for one in document["failed"]} == {"deny-rule", "object", "no-binding"}, document
    assert all(one["file"].endswith("examples.policytest.toml") and one["line"] for one in document["failed"])
    for wrong in ('call = "DOMAIN_CRATE"\nidentity = "acme"\nexpect = "deny"', 'call = "DOMAIN_CREATE"\nexpect = "deny"',
                  'call = "DOMAIN_CREATE"\nidentity = "nobody"\nexpect = "deny"',
                  'call = "DOMAIN_CREATE"\nidentity = "acme"\nexpect = "no"',
                  'call = "DOMAIN_CREATE"\nidentity = "acme"\nexpct = "deny"', 'identity = "acme"\nexpect = "deny"'):  # fmt: skip
        cases.write_text(f"version = 1\n[[case]]\n{wrong}\n")
        done = policy("test", examples)
        assert done.returncode == 1 and "examples.policytest.toml:2:1: error: " in done.stderr, done


# ---- edit ----


@pytest.fixture
def edit(examples, tmp_path):
    """edit(script, name): `virtgate policy edit` with an editor that is this script; "$1" is the copy."""
    place = tmp_path / "tmp"
    place.mkdir()

    def run(script, name="20-bindings.toml"):
        editor = tmp_path / "editor"
        editor.write_text(f"#!/bin/sh\n{script}\n")
        editor.chmod(0o755)
        environment = {"VISUAL": f"{editor} --wait", "TMPDIR": str(place)}
        if "--wait" in environment["VISUAL"]:
            editor.write_text(f"#!/bin/sh\nshift\n{script}\n")
        return policy("edit", examples / name, environment=environment)

    run.place = place
    return run


def test_edit_replaces_a_file_and_keeps_owner_and_mode(examples, edit):
    path = examples / "20-bindings.toml"
    if os.geteuid() == 0:
        os.chown(path, 0, 12345)
    path.chmod(0o600)
    before = path.stat()
    done = edit('sed -i s/db-master/db-chief/ "$1"; touch "$1~" "$(dirname "$1")/.swp"')
    assert done.returncode == 0 and "db-chief" in path.read_text(), done
    after = path.stat()
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (before.st_uid, before.st_gid, 0o600)
    assert list(edit.place.iterdir()) == [], "something was left behind"
    assert not [one for one in examples.iterdir() if one.name.endswith(".new")]


@pytest.mark.parametrize("script, status, kept", [
    ("true", 0, False),
    ("exit 3", 71, False),
    ('echo "[role.x" >>"$1"', 1, True),
    ('echo "# changed" >>"$1"; exit 3', 71, True),
    ('rm "$1"', 71, False),
])  # fmt: skip
def test_edit_leaves_nothing_but_the_copy_that_it_names(examples, edit, script, status, kept):
    path = examples / "20-bindings.toml"
    before = path.read_text()
    done = edit(script)
    assert done.returncode == status and path.read_text() == before, done
    left = [one for one in edit.place.rglob("*") if one.is_file()]
    assert len(left) == kept, left
    if kept:
        assert str(left[0]) in done.stderr
    else:
        assert list(edit.place.iterdir()) == []


def test_edit_notices_that_somebody_else_was_quicker(examples, edit):
    path = examples / "20-bindings.toml"
    done = edit(f'echo "# mine" >>"$1"; echo "# theirs" >>{path}')
    assert done.returncode == 1 and "somebody else" in done.stderr
    assert "# theirs" in path.read_text() and "# mine" not in path.read_text()


def test_edit_follows_no_link_out_of_the_directory(examples, edit, tmp_path):
    victim = tmp_path / "victim.toml"
    victim.write_text("version = 1\n")
    (examples / "70-link.toml").symlink_to(victim)
    done = edit('echo "# changed" >>"$1"', "70-link.toml")
    assert done.returncode == 64 and "out of its directory" in done.stderr and victim.read_text() == "version = 1\n"
    (examples / "70-link.toml").unlink()
    (examples / "70-off.toml").symlink_to("/dev/null")
    assert "switched off" in edit("true", "70-off.toml").stderr
    path = examples / "20-bindings.toml"
    path.rename(examples / "bindings")
    path.symlink_to("bindings")
    done = edit('echo "# changed" >>"$1"')
    assert done.returncode == 0 and path.is_symlink() and "# changed" in (examples / "bindings").read_text(), done
    assert edit('echo "[role.x" >>"$1"').returncode == 1, "what is wrong in the copy is not seen"
    shutil.rmtree(edit.place)
    edit.place.mkdir()
    for name in ("notes.txt", "x.policytest.toml", "absent.toml", "."):
        assert edit("true", name).returncode in (64, 71), name
    assert list(edit.place.iterdir()) == []


# ---- what the records say ----


def test_explain_at_a_time(examples, records):
    where = ("--dir", examples, "--file", records)
    done = policy("explain", "--at", "2026-11-20T14:02:00Z", "--identity", "ops", *where)
    assert done.returncode == 1 and "refused (object)" in done.stdout and "Today the answer is the same." in done.stdout, done
    (one,) = answer("explain", "--at", "2026-11-20T14:02:00Z", "--identity", "ops", *where, status=1)["records"]
    assert one["record"]["objects"][0]["name"] == "db-master" and one["different"] is False
    assert one["today"]["reason"] == "object"
    path = examples / "20-bindings.toml"
    path.write_text(path.read_text().replace(', except = ["db-master"]', ""))
    (one,) = answer("explain", "--at", "2026-11-20T14:02:00Z", "--identity", "ops", *where)["records"]
    assert one["different"] and one["today"]["allowed"]
    done = policy("explain", "--at", "2026-11-20T16:00:00Z", *where)
    assert "not let in" in done.stdout and "mallory\\x0a" in done.stdout
    assert policy("explain", "--at", "14:02", "--identity", "acme", *where).returncode == 2
    assert policy("explain", "--at", "14:02", "--dir", examples, "--file", "/no/such/file").returncode == os.EX_NOINPUT


def test_learn_proposes_what_check_accepts(examples, records, tmp_path):
    where = ("--dir", examples, "--file", records, "--since", "2026-11-01")
    before = sorted((path.name, path.read_text()) for path in examples.iterdir())
    done = policy("learn", "--identity", "ops", *where)
    assert done.returncode == 0 and "are no records" in done.stderr, done
    assert sorted((path.name, path.read_text()) for path in examples.iterdir()) == before, "it wrote into the policy"
    fresh = tmp_path / "fresh.d"
    shutil.copytree(examples, fresh)
    bindings = fresh / "20-bindings.toml"
    bindings.write_text(re.sub(r'\[\[binding\]\]\nidentity = "ops".*?\n\n', "", bindings.read_text(), flags=re.DOTALL))
    (fresh / "60-learned.toml").write_text(done.stdout)
    checked = policy("check", fresh)
    assert checked.returncode == 0, (checked.stdout, done.stdout)

    def allowed(*call):
        return policy("explain", "--dir", fresh, "--identity", "ops", *call).returncode == 0

    assert allowed("DOMAIN_DESTROY", "domain=web-1") and allowed("CONNECT_LIST_ALL_DOMAINS")
    assert not allowed("DOMAIN_DESTROY", "domain=db-master") and not allowed("DOMAIN_DESTROY", "domain=web-2")
    assert not allowed("NETWORK_DESTROY", "network=x"), "a name in a record became a binding"
    document = answer("learn", "--identity", "ops", "--refused", *where)
    objects = [role["objects"] for role in document["roles"]]
    assert {"domain": ["db-master", "web-1"]} in objects and document["calls"] == 5
    assert document["not_proposed"][0]["why"] == "libvirt did not know the object"
    assert policy("learn", "--identity", "acme", *where).returncode == 2
    assert policy("learn", "--identity", "nobody", *where).returncode == 2


def test_unused_names_words_and_what_it_cannot_know(examples, records):
    where = ("--dir", examples, "--file", records, "--since", "2026-11-01")
    document = answer("unused", *where, status=1)
    assert document["first"] == "2026-11-20T10:00:00Z" and document["calls"] == 5
    grants = {(one["identity"], one["role"]): one for one in document["grants"]}
    operator = grants["ops", "operator"]
    assert operator["used"] == 3 and operator["audit"] == "writes" and operator["not_recorded"] > 100
    words = {one["word"]: one for one in operator["unused"]}
    assert "remote.DOMAIN_REBOOT" in words["@lifecycle"]["procedures"]
    assert "remote.DOMAIN_DESTROY" not in words["@lifecycle"]["procedures"]
    assert words["@lifecycle"]["file"].endswith("10-roles.toml") and words["@lifecycle"]["line"] == 13
    assert "prometheus" not in {one["identity"] for one in document["grants"] if one["unused"]}
    assert any("begin 2026-11-20" in text for text in document["warnings"])
    assert any('audit = "denied"' in text for text in document["warnings"])
    done = policy("unused", "--identity", "acme", *where)
    assert done.returncode == 1 and "acme as console: 0 of" in done.stdout and "ops as" not in done.stdout
    records.write_text("")
    assert policy("unused", *where).returncode == 2
    assert policy("unused", "--dir", examples, "--file", "-", stdin="").returncode == 2


@pytest.fixture
def timed(tmp_path):
    """A policy with a right for the holidays."""
    (tmp_path / "10-timed.toml").write_text("""\
version = 1
[identity.alice]
x509 = { CN = "alice", O = "Acme, Inc." }
[role.reader]
allow = ["proc:remote.CONNECT_GET_HOSTNAME"]
[[binding]]
identity = "alice"
role = "reader"
when = { not_before = "2030-12-24T00:00:00Z", not_after = "2030-12-26T00:00:00Z" }
""")
    return tmp_path


def test_rules_hold_at_their_time(timed):
    for when, status in (("2030-12-25", 0), ("2030-12-24T00:00:01Z", 0), ("2030-12-23T23:59:59Z", 1), ("2031-01-01", 1)):
        words = ("--dir", timed, "--as-of", when, "CONNECT_GET_HOSTNAME")
        assert policy("explain", "--identity", "alice", *words).returncode == status, when
        assert policy("who-can", *words).returncode == status, when
    assert policy("explain", "--identity", "alice", "--dir", timed, "CONNECT_GET_HOSTNAME").returncode == 1
    done = policy("explain", "--identity", "alice", "--dir", timed, "--as-of", "tomorrow", "CONNECT_GET_HOSTNAME")
    assert done.returncode == os.EX_USAGE and "--as-of:" in done.stderr
    done = policy("explain", "--as-of", "2030-12-25", "--at", "14:02", "--dir", timed)
    assert done.returncode == os.EX_USAGE and "only one of them" in done.stderr


@pytest.mark.parametrize("subject", ["CN=alice,O=Acme\\, Inc.", 'O="Acme, Inc.", CN=alice', "CN=\\61lice,O=Acme\\2C Inc."])
def test_a_subject_is_written_as_others_print_it(timed, subject):
    words = ("--dir", timed, "--as-of", "2030-12-25", "CONNECT_GET_HOSTNAME")
    assert policy("explain", "--subject", subject, *words).returncode == 0
    assert policy("explain", "--subject", "CN=alice,O=Acme", *words).returncode == 2
    done = policy("explain", "--subject", "CN=alice,O=Acme, Inc.", *words)
    assert done.returncode == os.EX_USAGE and "for a comma in a value" in done.stderr
