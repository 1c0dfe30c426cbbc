# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_policy_words - the manual page and the completions of `virtgate policy` know what the program knows."""

import pathlib
import re
import subprocess

from vgtest.clients import attempt
from vgtest.suite import BUILD

TOP = pathlib.Path(__file__).parents[2]
COMMANDS = ("check", "show", "diff", "test", "edit", "explain", "who-can", "learn", "unused", "reload")


def options_of(*command):
    text = attempt(BUILD / "virtgate", "help", *command).stdout
    return set(re.findall(r"^ +(?:-\w, ?)?(--[a-z0-9-]+)", text, re.MULTILINE)) - {"--help"}


def test_manual_has_every_command_and_option_and_an_example():
    page = (TOP / "docs/man/virtgate-policy.1").read_text()
    examples = page[page.index(".Sh EXAMPLES") :]
    subcommands = attempt(BUILD / "virtgate", "help", "policy").stdout.partition("Subcommands:\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"^  ([a-z-]+)", subcommands, re.MULTILINE)) == set(COMMANDS)
    for command in COMMANDS:
        synopses = re.findall(rf"^\.Cm policy {command}\n(.*?)(?=\.Nm|\.Sh)", page, re.MULTILINE | re.DOTALL)
        assert synopses, command
        assert f"virtgate policy {command}" in examples, command
        for option in options_of("policy", command):
            assert f"Fl -{option[2:]} " in page.replace("\n", " \n") or f"Fl -{option[2:]}\n" in page, (command, option)
    words = {word for block in re.findall(r"\.Fl -([a-z-]+)|Fl -([a-z-]+)", page) for word in block if word}
    known = set().union(*(options_of("policy", command) for command in COMMANDS))
    assert {f"--{word}" for word in words} == known


def test_completion_of_zsh_has_every_option():
    text = (TOP / "packaging/completions/_virtgate").read_text()
    body = text[text.index("\n_virtgate_policy() {") :]
    body = body[: body.index("\n}\n")]
    shared = {name: set(re.findall(r"--[a-z0-9-]+", value)) for name, value in re.findall(r"^    (usual|where|audit)=(.*)$", body, re.MULTILINE)}
    for command in COMMANDS:
        block = re.search(rf"^        {command}\)(.*?);;$", body, re.MULTILINE | re.DOTALL)[1]
        offered = set(re.findall(r"--[a-z0-9-]+", block))
        for name, options in shared.items():
            if f"${name}" in block:
                offered |= options
        assert offered - {"--help"} == options_of("policy", command), command
        assert f"'{command}:" in text


def complete(*words):
    """What bash offers for the last word."""
    script = f"""
        . {TOP}/packaging/completions/virtgate.bash
        compopt() {{ :; }}
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _virtgate
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script, "bash", str(BUILD / "virtgate"), *words], capture_output=True,
                          text=True, timeout=20, check=True)  # fmt: skip
    return set(done.stdout.split())


def test_completion_of_bash(tmp_path):
    directory = tmp_path / "policy.d"
    directory.mkdir(mode=0o755)
    (directory / "10.toml").write_text('version = 1\n[identity.alice]\nsasl = "a"\n[identity.bob]\nsasl = "b"\n')
    assert complete("policy", "") == set(COMMANDS)
    for command in COMMANDS:
        assert complete("policy", command, "--") - {"--help"} == options_of("policy", command), command
    assert complete("policy", "explain", "--dir", str(directory), "--identity", "") == {"alice", "bob"}
    assert "DOMAIN_DESTROY" in complete("policy", "who-can", "DOMAIN_DES")
    assert complete("policy", "who-can", "DOMAIN_DESTROY", "dom") == {"domain="}
    assert complete("policy", "show", "@life") == {"@lifecycle"}
    assert complete("policy", "explain", "--listener", "u") == {"unix", "unix-ro"}
