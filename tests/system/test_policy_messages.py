# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_policy_messages - what is said about a wrong policy: every message, with its exact place.

tests/golden/policy/CASE holds the files of a policy directory and `expected`, all that `virtgate policy check` prints
about it. A case may have a shell script `setup`, which runs in the directory for what git cannot store. The last test
fails when somebody writes a message that no case shows.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from vgtest.suite import BUILD

TOP = pathlib.Path(__file__).parents[2]
GOLDEN = TOP / "tests/golden/policy"
CASES = sorted(path.name for path in GOLDEN.iterdir())
NEED_ROOT = {"files"}  # which have files of somebody else

# Where messages are written. What is not one, or cannot be provoked here, has a reason.
SOURCES = [
    *(TOP / "policy" / f"{name}.cc" for name in (
        "bounds", "compiler", "complaints", "files", "glob", "limits", "migrate_uri", "network", "parse", "parse_grant",
        "parse_identity", "parse_tree", "resolve", "role_set", "words", "xml_rule")),
    TOP / "libshared/config/tree.cc",
]  # fmt: skip
# Of a client's XML, not of the policy: tests/unit/policy_xml.cc has them.
ABOUT_CALLS = re.compile(r"(of )?the XML|nobody has looked at the XML")
EXCUSED = {
    "the user database cannot be read": "it needs a broken machine",
    'the {} "{}" cannot be looked up: {}': "it needs a broken machine",
    "it changed while it was read": "it needs somebody who writes at the same time",
    'the identity "{}" has too many bindings': "65537 bindings take a minute",
    'the role "{}" has too many rules for flags': "no program has so many procedures",
    ", ...": "the end of a list that is too long for a message",
}
COMMENT_OR_TEXT = re.compile(r'//[^\n]*|(?:"(?:[^"\\\n]|\\.)*"\s*)+')
TEXT = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
COMPLAINT = re.compile(r"(?P<place>policy\.d[^ ]*): (?P<level>error|warning): (?P<text>.*) \[(?P<code>[a-z-]+)\]$")


def check(case, scratch, *options):
    directory = scratch / "policy.d"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(GOLDEN / case, directory, ignore=shutil.ignore_patterns("expected", "setup"))
    directory.chmod(0o755)
    for path in directory.iterdir():
        path.chmod(0o644)
    if (GOLDEN / case / "setup").exists():
        subprocess.run(["sh", "-e", GOLDEN / case / "setup"], cwd=directory, check=True)
    return subprocess.run([BUILD / "virtgate", "policy", "check", *options, "policy.d"], cwd=scratch,
                          capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "LC_ALL": "C"})  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_messages_are_as_expected(case, tmp_path):
    if case in NEED_ROOT and os.geteuid() != 0:
        pytest.skip("the case needs files of another user")
    done = check(case, tmp_path)
    assert done.stdout == (GOLDEN / case / "expected").read_text(), done.stderr
    assert done.returncode == (1 if ": error: " in done.stdout else 0)


@pytest.mark.parametrize("case", CASES)
def test_json_says_the_same(case, tmp_path):
    if case in NEED_ROOT and os.geteuid() != 0:
        pytest.skip("the case needs files of another user")
    document = json.loads(check(case, tmp_path, "--json").stdout)
    lines = [line for line in (GOLDEN / case / "expected").read_text().splitlines() if line.startswith("policy.d")]
    made = []
    for one in document["complaints"]:
        if "file" not in one:
            continue  # how many more there are
        place = ":".join(str(one[key]) for key in ("file", "line", "column") if key in one)
        made.append(f"{place}: {one['level']}: {one['text']} [{one['code']}]")
        if "suggestion" in one:
            assert f'(did you mean "{one["suggestion"]}"?)' in one["text"]
        else:
            assert "(did you mean" not in one["text"]
    assert made == lines
    assert (document["errors"] > 0) == any(": error: " in line for line in lines)


def expected_complaints():
    for case in CASES:
        for line in (GOLDEN / case / "expected").read_text().splitlines():
            if line.startswith("policy.d"):
                yield case, line


def test_every_complaint_has_a_code_and_its_line_a_mark():
    for case, line in expected_complaints():
        assert COMPLAINT.match(line), f"{case}: {line}"
    for case in CASES:
        lines = (GOLDEN / case / "expected").read_text().splitlines()
        for line, behind in zip(lines, lines[1:]):
            if re.match(r"policy\.d/[^ ]*:[0-9]+:[0-9]+: ", line) and "[syntax]" not in line:
                assert re.match(r" +[0-9]+ \| ", behind), f"{case}: no excerpt behind {line}"


def test_every_code_is_shown_and_in_the_manual():
    table = (TOP / "policy/complaint_codes.cc").read_text()
    codes = set(re.findall(r'ComplaintCode\{"([a-z-]+)"', table)) | {"syntax"}
    shown = {COMPLAINT.match(line)["code"] for _, line in expected_complaints()}
    assert shown == codes
    manual = (TOP / "docs/man/virtgate-policy.1").read_text()
    assert not [code for code in codes if not re.search(rf"\b{code}\b", manual)]


def messages(path):
    """The texts in a C++ source that have a blank in them: people read those."""
    for match in COMMENT_OR_TEXT.finditer(re.sub(r"#include[^\n]*", "", path.read_text())):
        if match[0].startswith("//"):
            continue
        text = "".join(TEXT.findall(match[0])).replace('\\"', '"')
        if " " in text.strip() and not re.fullmatch(r"(\{\}|[: ]|error|warning)+", text):
            yield text


def pattern_of(message):
    """A message of fmt as a regular expression: placeholders stand for anything."""
    parts = re.split(r"\{[^{}]*\}(?!\})", message.replace("{{", "\1").replace("}}", "\2"))
    return ".*".join(re.escape(part.replace("\1", "{").replace("\2", "}")) for part in parts)


def test_every_message_is_in_a_case():
    everything = "\n".join((GOLDEN / case / "expected").read_text() for case in CASES)
    missing = [
        f"{path.relative_to(TOP)}: {text}"
        for path in SOURCES
        for text in messages(path)
        if text not in EXCUSED and not ABOUT_CALLS.match(text) and not re.search(pattern_of(text), everything)
    ]
    assert not missing, "no case in tests/golden/policy shows:\n" + "\n".join(missing)
