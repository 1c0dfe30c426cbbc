# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_sandbox - `virtgate sandbox` tells what is in force; and kernels that lack something, which an outer filter of system
calls stands for: best effort goes on and says so, strict refuses.
"""

import json
import os
import pathlib
import re
import sys

import pytest

from vgtest import outer_filter, upstream, wire
from vgtest.clients import attempt
from vgtest.suite import BUILD

TOP = pathlib.Path(__file__).parents[2]
PROGRAMS = ["netd", "gate", "keeper", "doorman", "sasl", "sasl-exchange", "announcer", "steward", "exporter", "workerd", "policy-compile", "worker", "auditor", "store", "lockd", "locker", "leaser"]
LAYERS = [
    "namespaces", "capabilities", "bounding set", "closed memory", "no new privileges", "files", "TCP", "signals and abstract sockets",
    "no writable code", "sealed memory", "limits", "system calls",
]  # fmt: skip
OF_LANDLOCK = {"files", "TCP", "signals and abstract sockets"}
# Those that go into namespaces of their own; of these, those with an empty root directory; and those that start them.
LEAVERS = {"gate", "keeper", "sasl", "sasl-exchange", "announcer", "exporter", "worker", "auditor"}
NAMELESS = {"gate", "keeper", "announcer", "exporter", "worker"}
STARTERS = {"netd", "workerd"}
NO_NAMESPACES = "unshare=EPERM"
NO_LANDLOCK, NO_MSEAL = "landlock_create_ruleset=ENOSYS", "mseal=ENOSYS"
NO_MDWE = ("prctl:65=EINVAL", "prctl:66=EINVAL")
MACHINE_DIED = 71
RECORDED = "qemu:///system"

pytestmark = pytest.mark.skipif(
    "#define VIRTGATE_SANITIZERS" in (BUILD / "config.h").read_text(), reason="a build with sanitizers is not confined"
)


def below(rules, *command):
    """That command, on a kernel that lacks something."""
    return [sys.executable, "-B", outer_filter.__file__, *rules, "--", *map(str, command)]


def sandbox(*words, rules=()):
    return attempt(*below(rules, BUILD / "virtgate", "sandbox", *words))


def report(rules=()):
    """(JSON of the command, exit status)"""
    done = sandbox("--json", rules=rules)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout), done.returncode


def layers(found):
    """{(program, layer): the object of the layer}"""
    return {(program["name"], layer["name"]): layer for program in found["programs"] for layer in program["layers"]}


def without_kernel(rules):
    """What is missing of which programs with these rules and not without them: {layer: {programs}}."""
    before, after, missing = layers(report()[0]), layers(report(rules)[0]), {}
    for (program, layer), object_ in after.items():
        if before[program, layer]["in_force"] and not object_["in_force"]:
            assert not object_["offered"] and object_["missing"].startswith("the kernel"), object_
            missing.setdefault(layer, set()).add(program)
    return missing


# --- the command ---


def test_table_has_every_program_and_every_layer():
    done = sandbox()
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"Linux \S+, libseccomp \d+\.\d+\.\d+, Landlock (none|ABI \d+)", lines[0])
    head = next(i for i, line in enumerate(lines) if line.startswith("program "))
    assert lines[head].split() == "program spaces caps bound mem privs files TCP scope code seal limit calls".split()
    rows = [line.split() for line in lines[head + 1 : head + 1 + len(PROGRAMS)]]
    assert [row[0] for row in rows] == PROGRAMS
    for row in rows:
        assert len(row) == 1 + len(LAYERS) and set(row[1:-1]) <= {"yes", "no", "partly", "-"} and row[-1].isdigit(), row
    found, status = report()
    assert done.returncode == status
    assert len(max(lines[: head + 11], key=len)) <= 80 or found["lacks"]


def test_json_is_what_the_table_says():
    found, _ = report()
    assert found["kernel"] == f"Linux {os.uname().release}"
    assert [program["name"] for program in found["programs"]] == PROGRAMS
    rows = {line.split()[0]: line.split()[1:] for line in sandbox().stdout.split("\n\n")[1].splitlines()[1:]}
    for program in found["programs"]:
        assert [layer["name"] for layer in program["layers"]] == LAYERS
        for layer, word in zip(program["layers"], rows[program["name"]]):
            assert layer["in_force"] == (word not in ("no", "partly", "-")), (program["name"], layer)
            assert layer["meant"] == (word != "-")
            assert layer["in_force"] or (layer["missing"] if layer["meant"] else layer["unmeant"])
        # The supervisors have the calls of all that they start; who faces a client has few.
        count = len({call["name"] for call in program["calls"]})
        assert 20 < count < (200 if program["name"] in ("netd", "workerd", "lockd") else 90)
        assert all(call["reason"] for call in program["calls"] + program["refused"])


def test_exit_status_is_whether_all_is_in_force_that_could_be():
    found, status = report()
    missing = [
        key for key, layer in layers(found).items() if layer["offered"] and layer["meant"] and not layer["in_force"]
    ]
    open_ = [process for process in found["running"] if not process["confined"]]
    assert (status == 0) == found["complete"] == (not missing and not open_), (missing, open_)
    if os.geteuid() == 0:
        assert not missing  # a process of root can do all that the kernel has
    else:
        # No one else can empty the bounding set.
        assert {layer for _, layer in missing} == {"bounding set"} and status == 1


def test_running_processes_are_those_of_the_kernel(gate):
    with gate.open(RECORDED):
        found, _ = report()
        running = {process["pid"]: process for process in found["running"]}
        names = {process["name"] for process in found["running"]}
        assert {"netd", "workerd", "gate-0", "keeper-0", "doorman", "auditor", "lockd", "locker"} <= names, names
        for name in ("netd", "workerd", "gate", "keeper", "doorman", "auditor", "worker", "lockd", "locker"):
            for pid in gate.pids(f"virtgate-{name}"):
                status = dict(re.findall(r"^(\w+):\t(.*)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M))
                process = running[pid]
                assert process["name"].startswith(name) and process["confined"]
                assert process["uid"] == int(status["Uid"].split()[1])
                assert process["threads"] == int(status["Threads"])
                assert process["seccomp_mode"] == int(status["Seccomp"]) == 2
                assert process["filters"] == int(status["Seccomp_filters"]) >= 1
                assert process["capabilities_effective"] == status["CapEff"]
                assert process["capabilities_bounding"] == status["CapBnd"]
        assert gate.process.pid not in running  # `virtgate up` is a command, and serves nobody


def test_process_that_is_not_confined_is_shown_and_counts(scratch, running_suite):
    settings = {"netd.sandbox": '"off"', "workerd.sandbox": '"off"'}
    with running_suite.sibling(scratch / "open", settings) as suite:
        found, status = report()
        mine = {pid for name in ("netd", "gate", "keeper") for pid in suite.pids(f"virtgate-{name}")}
        shown = {process["pid"]: process for process in found["running"]}
        assert len(mine) >= 3 and all(shown[pid]["seccomp_mode"] == 0 and not shown[pid]["confined"] for pid in mine)
        assert status == 1 and not found["complete"]
        for process in ("netd", "gate"):
            upstream.await_log(suite, f"{process} is not confined")


def test_calls_are_those_of_the_program():
    listed = sandbox("--calls", "gate")
    assert listed.returncode == 0
    head, *lines = listed.stdout.splitlines()
    calls = [line.split(None, 1) for line in lines]
    names = {name for name, _ in calls}
    assert head == f"gate: {len(names)} system calls" and lines == sorted(lines, key=lambda line: line.split()[0])
    assert {"accept4", "sendmsg", "exit_group"} <= names
    assert not names & {"openat", "socket", "connect", "execve", "clone", "kill", "ptrace", "bpf"}
    said = attempt("sh", "-c", f"{BUILD}/virtgate-gate --sandbox | cat").stdout
    assert names == set(re.findall(r"^call\t(\w+)", said, re.M))


def test_calls_of_all_programs_and_as_json():
    everything = sandbox("--calls").stdout
    assert re.findall(r"^(\S+): \d+ system calls$", everything, re.M) == PROGRAMS
    assert re.search(r"^  clone3 +refused: \S", everything, re.M)
    found = json.loads(sandbox("--calls", "--json").stdout)
    assert list(found) == PROGRAMS
    assert json.loads(sandbox("--calls", "worker", "--json").stdout) == {"worker": found["worker"]}
    # Who reads passwords neither makes processes nor connects to anything.
    assert not {call["name"] for call in found["sasl-exchange"]["calls"]} & {"clone", "connect", "socket", "execve"}


@pytest.mark.parametrize("words", [("--calls", "gaet"), ("--cals",), ("gate",), ("--calls", "gate", "keeper")])
def test_mistake_on_the_command_line(words):
    done = sandbox(*words)
    assert done.returncode == 64 and not done.stdout and done.stderr.startswith("virtgate: ")
    if words[0] == "--calls" and len(words) == 2:
        assert '(did you mean "gate"?)' in done.stderr


def test_program_that_cannot_be_asked(tmp_path):
    """One of them is another program: the command says so and shows no table."""
    for path in BUILD.glob("virtgate*"):
        if path.is_file() and os.access(path, os.X_OK):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "virtgate").unlink()
    (tmp_path / "virtgate").write_bytes((BUILD / "virtgate").read_bytes())
    (tmp_path / "virtgate").chmod(0o755)
    (tmp_path / "virtgate-keeper").unlink()
    for text, complaint in (
        ("#!/bin/sh\necho hello\n", 'virtgate: virtgate-keeper: it says "hello"'),
        ("#!/bin/sh\necho '<3>no key' >&2\nexit 78\n", "virtgate-keeper ended with status 78 (configuration error): no key"),
        ("#!/bin/sh\nkill -SYS $$\n", "was killed by SIGSYS"),
    ):
        (tmp_path / "virtgate-keeper").write_text(text)
        (tmp_path / "virtgate-keeper").chmod(0o755)
        done = attempt(tmp_path / "virtgate", "sandbox")
        assert done.returncode == MACHINE_DIED and complaint in done.stderr and not done.stdout, done.stderr


def options_of(*command):
    text = attempt(BUILD / "virtgate", "help", *command).stdout
    return set(re.findall(r"^ +(?:-\w, ?)?(--[a-z0-9-]+)", text, re.M)) - {"--help"}


def test_manual_and_completions_have_every_option_and_program():
    page = (TOP / "docs/man/virtgate-sandbox.1").read_text()
    assert {f"--{word}" for word in re.findall(r"Fl -([a-z-]+)", page)} == options_of("sandbox")
    zsh = (TOP / "packaging/completions/_virtgate").read_text()
    block = re.search(r"^        sandbox\)(.*?);;$", zsh, re.M | re.S)[1]
    assert set(re.findall(r"--[a-z]+", block)) - {"--help"} == options_of("sandbox")
    bash = (TOP / "packaging/completions/virtgate.bash").read_text()
    for text in (block, bash[bash.index("_virtgate_sandbox()") :]):
        assert " ".join(PROGRAMS) in text
    assert all(program in page for program in PROGRAMS)


# --- a kernel that lacks something ---


def test_command_tells_what_the_kernel_lacks():
    everybody = set(PROGRAMS)
    assert without_kernel([NO_LANDLOCK]) == {layer: everybody for layer in OF_LANDLOCK}
    assert without_kernel(NO_MDWE) == {"no writable code": everybody}
    assert without_kernel([NO_MSEAL]) == {"sealed memory": everybody}
    text = sandbox(rules=[NO_LANDLOCK, NO_MSEAL]).stdout
    assert re.search(r"^This kernel lacks: Landlock .*; mseal", text, re.M)
    assert re.search(rf"^  files: the kernel has no Landlock \({', '.join(PROGRAMS)}\)$", text, re.M)


def test_what_the_kernel_lacks_is_not_counted():
    found, _ = report([NO_LANDLOCK, NO_MSEAL, *NO_MDWE])
    assert len(found["lacks"]) == 6 and found["landlock_abi"] == 0
    missing = {
        layer for (_, layer), object_ in layers(found).items()
        if object_["offered"] and object_["meant"] and not object_["in_force"]
    }  # fmt: skip
    assert missing <= {"bounding set"}


def test_who_is_alone_and_who_is_not_meant_to_be():
    found = {program: object_ for (program, layer), object_ in layers(report()[0]).items() if layer == "namespaces"}
    if not any(object_["offered"] for object_ in found.values()):
        pytest.skip("nobody may make namespaces here")
    assert {program for program, object_ in found.items() if object_["in_force"]} == LEAVERS
    assert {program for program, object_ in found.items() if not object_["meant"]} == set(PROGRAMS) - LEAVERS
    # Who is to reach no file has no directory either.
    assert {program for program in LEAVERS if "empty root" in found[program]["how"]} == NAMELESS


def test_administrator_who_forbids_namespaces():
    found, _ = report([NO_NAMESPACES])
    for (program, layer), object_ in layers(found).items():
        if layer == "namespaces" and program in LEAVERS | STARTERS:
            assert not object_["offered"] and object_["missing"].startswith("user namespaces are forbidden"), program
    assert any(lack.startswith("namespaces for everybody") for lack in found["lacks"])


def test_service_manager_who_gives_a_network_and_forbids_others():
    user = () if os.geteuid() == 0 else ("--user",)
    command = ("unshare", *user, "--net", "--ipc")
    if attempt(*command, "true").returncode != 0:
        pytest.skip("nobody may make namespaces here")
    done = attempt(*command, *below([NO_NAMESPACES], BUILD / "virtgate", "sandbox", "--json"))
    found = {program: object_ for (program, layer), object_ in layers(json.loads(done.stdout)).items() if layer == "namespaces"}
    for program in LEAVERS:
        assert found[program]["in_force"] and found[program]["how"] == "the service manager's: network and IPC"
    assert all(found[program]["offered"] and not found[program]["meant"] for program in STARTERS)


def suite_below(like, directory, rules, mode):
    """A suite, not started, on such a kernel."""
    programs = directory.with_name(directory.name + "-programs")
    programs.mkdir()
    words = " ".join(f"'{word}'" for word in below(rules, BUILD / "virtgate"))
    (programs / "virtgate").write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    (programs / "virtgate").chmod(0o755)
    suite = like.sibling(directory, {"netd.sandbox": f'"{mode}"', "workerd.sandbox": f'"{mode}"'})
    suite.programs = programs
    return suite


def serves(suite):
    with suite.open(RECORDED) as client:
        return client.ask(wire.GET_LIB_VERSION).status == wire.OK


def test_best_effort_goes_on_and_says_so_once(scratch, running_suite, recording):
    with suite_below(running_suite, scratch / "old", [NO_NAMESPACES, NO_LANDLOCK, NO_MSEAL, *NO_MDWE], "best-effort") as suite:
        assert serves(suite) and serves(suite)
        # The first process of each daemon, for all that it starts.
        said = re.findall(r"^(.*): confined as far as possible here; not in force: (.*)$", suite.log(), re.M)
        assert sorted(re.search(r"(\w+)\[\d+\]$", who)[1] for who, _ in said) == ["lockd", "netd", "workerd"], suite.log()
        assert all(re.search("no Landlock; .*no PR_SET_MDWE; .*no mseal$", what) for _, what in said), said
        alone = {who for who, what in said if "user namespaces are forbidden here" in what}
        assert {re.search(r"(\w+)\[", who)[1] for who in alone} == STARTERS, said
        # What is left is there.
        for pid in suite.pids("virtgate-gate"):
            assert re.search(r"^Seccomp:\t2$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)


def fails_to_start(suite):
    """(exit status, log)"""
    with pytest.raises(AssertionError, match="virtgate up ended"):
        suite.start()
    return suite.process.returncode, suite.log()


def skip_strict(mode):
    if mode == "strict" and os.geteuid() != 0:
        pytest.skip("strict first of all demands an empty bounding set, which only root can have")


LACKS = {
    "namespaces": ([NO_NAMESPACES], "user namespaces are forbidden here"),
    "Landlock": ([NO_LANDLOCK], "the kernel has no Landlock"),
    "mseal": ([NO_MSEAL], "the kernel has no mseal"),
    "MDWE": (NO_MDWE, "the kernel has no PR_SET_MDWE"),
}


@pytest.mark.parametrize("what", LACKS)
def test_strict_refuses_and_names_it(scratch, running_suite, what):
    skip_strict("strict")
    rules, text = LACKS[what]
    status, log = fails_to_start(suite_below(running_suite, scratch / f"strict-{what}", rules, "strict"))
    assert status == MACHINE_DIED
    assert re.search(rf"cannot be confined.*{text}", log), log
    assert f"status {MACHINE_DIED}" in log, log


@pytest.mark.parametrize("mode", ["best-effort", "strict", "report"])
def test_without_filters_nobody_runs(scratch, running_suite, mode):
    """They are no feature that may be missing."""
    skip_strict(mode)
    status, log = fails_to_start(suite_below(running_suite, scratch / f"filterless-{mode}", ["seccomp=EPERM"], mode))
    assert status == MACHINE_DIED and re.search(r"cannot be confined: .*filter of system calls", log), log


@pytest.mark.parametrize("mode", ["best-effort", "strict", "report"])
def test_landlock_that_fails_is_no_lack(scratch, running_suite, mode):
    """A step that fails although the kernel knows it ends the process, whatever is demanded."""
    skip_strict(mode)
    status, log = fails_to_start(
        suite_below(running_suite, scratch / f"broken-{mode}", ["landlock_restrict_self=EPERM"], mode)
    )
    assert status == MACHINE_DIED and "cannot put Landlock in force" in log, log


def test_strict_starts_here(scratch, running_suite, recording):
    skip_strict("strict")
    lacks = report()[0]["lacks"]
    if lacks:
        pytest.skip(f"this kernel lacks {lacks}")
    settings = {"netd.sandbox": '"strict"', "workerd.sandbox": '"strict"'}
    with running_suite.sibling(scratch / "strict", settings) as suite:
        upstream.poll(lambda: serves(suite), 10, "service")
        assert "confined as far as possible" not in suite.log()


def test_strict_refuses_a_user(scratch, running_suite):
    if os.geteuid() == 0:
        pytest.skip("root can empty the bounding set")
    suite = running_suite.sibling(scratch / "strict", {"workerd.sandbox": '"strict"'})
    status, log = fails_to_start(suite)
    assert status == MACHINE_DIED and "started without CAP_SETPCAP" in log, log
