# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_config - "virtgate config": what the daemons say of their configuration files."""

import json
import os
import pathlib
import re
import subprocess
import tomllib

import pytest

from vgtest import suite

TOP = pathlib.Path(__file__).resolve().parents[2]
DAEMONS = ("netd", "workerd", "lockd")


def config(*arguments):
    return subprocess.run([suite.BUILD / "virtgate", "config", *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "some.toml"
        path.write_text(text)
        return str(path)

    return write


def test_everything_is_shown_as_a_file_that_means_the_same(file):
    mine = file('log_level = "debug"\n\n[tls]\nport = 1234\n\n[limits]\nhandshake = 2.5\n')
    shown = config("show", "netd", "--config", mine)
    assert shown.returncode == 0, shown.stderr
    assert "port = 1234  # line 4; default 16514" in shown.stdout
    read = tomllib.loads(shown.stdout)
    assert (read["log_level"], read["tls"]["port"], read["limits"]["handshake"]) == ("debug", 1234, 2.5)
    assert read["limits"]["login"] == 60 and read["tls"]["authentication"] == "x509"
    # What was shown is a configuration file, and gives the same again.
    again = config("show", "netd", "--config", file(shown.stdout))
    assert tomllib.loads(again.stdout) == read


@pytest.mark.parametrize("daemon", DAEMONS)
def test_every_key_of_the_manual_is_shown(daemon):
    shown = config("show", daemon, "--config", "/dev/null")
    assert shown.returncode == 0, shown.stderr
    keys = set()
    for name, value in tomllib.loads(shown.stdout).items():
        keys |= {f"{name}.{key}" for key in value} if isinstance(value, dict) else {name}
    # In the sample every key is commented out.
    sample = re.sub(r"^# (?=\w+ = |\[\[)", "", (TOP / f"packaging/config/{daemon}.toml").read_text(), flags=re.M)
    wanted = set()
    for name, value in tomllib.loads(re.sub(r"@\w+@", "/x", sample)).items():
        if not isinstance(value, list) or not value or not isinstance(value[0], dict):
            wanted |= {f"{name}.{key}" for key in value} if isinstance(value, dict) else {name}
    assert wanted and wanted - keys == set(), "the sample configuration has more"


def test_only_differences(file):
    mine = file('log_level = "info"\n[limits]\nsessions = 7\n')
    shown = config("diff", "workerd", "--config", mine)
    first, header, setting = shown.stdout.splitlines()
    assert first == f"# virtgate-workerd, {mine}" and header == "[limits]"
    assert setting.startswith("sessions = 7  # line 3; default ")
    assert config("diff", "lockd", "--config", "/dev/null").stdout.endswith("# nothing differs from the defaults\n")


def test_json(file):
    mine = file('[tls]\nauthentication = "x509-or-sasl"\n[sasl]\nmechanisms = ["SCRAM-SHA-256", "PLAIN"]\n')
    found = json.loads(config("diff", "netd", "--config", mine, "--json").stdout)
    assert found["netd"]["file"] == mine and found["netd"]["exists"]
    assert found["netd"]["settings"] == [
        {"section": "tls", "key": "authentication", "value": "x509-or-sasl", "default": "x509", "line": 2},
        {"section": "sasl", "key": "mechanisms", "value": ["SCRAM-SHA-256", "PLAIN"], "default": ["SCRAM-SHA-256"],
         "line": 4},
    ]  # fmt: skip


def test_mistakes_are_told_with_their_places(file):
    broken = file("[tls]\nprot = 3\n[limits]\nlogin = \"soon\"\n")
    for command in ("show", "diff", "check"):
        done = config(command, "netd", "--config", broken)
        assert done.returncode == os.EX_CONFIG
        said = done.stdout + done.stderr
        assert f'{broken}:2:1: error: unknown key "prot" in [tls] (did you mean "port"?)' in said
        assert f'{broken}:4:9: error: "login" has to be a number of seconds, not a text' in said
    verdicts = json.loads(config("check", "netd", "--config", broken, "--json").stdout)
    assert [verdict["good"] for verdict in verdicts] == [False] and len(verdicts[0]["messages"]) == 2


def test_what_is_good_is_said(file):
    done = config("check", "lockd", "--config", file('log_level = "info"\n'))
    assert done.returncode == 0 and done.stdout.endswith("some.toml: no mistakes found\n"), done.stdout + done.stderr


def test_files_that_are_not_there(tmp_path):
    done = config("show", "netd", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == os.EX_NOINPUT and "No such file or directory" in done.stderr


def test_command_lines_that_are_wrong(file):
    done = config("show", "netdd")
    assert done.returncode == os.EX_USAGE and 'there is no daemon "netdd" (did you mean "netd"?)' in done.stderr
    done = config("show", "--config", file(""))
    assert done.returncode == os.EX_USAGE and "name it" in done.stderr
    assert config().returncode == os.EX_USAGE


def test_all_daemons_without_a_name():
    found = json.loads(config("show", "--json").stdout)
    assert set(found) == set(DAEMONS)
    assert all(one["settings"] for one in found.values())
