# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_call - "virtgate call", "list", "ping" and "events" against a real libvirtd: directly, through netd, and the store."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

import libvirt
import pytest

from vgtest import clients, suite, tools, upstream, wire
from vgtest.tools import DENIED, REFUSED, UNREACHABLE, USAGE, answer, call, virtgate

TOP = pathlib.Path(__file__).parents[2]
UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"  # of the domain "test" of libvirt's test driver
ADMIN = 0x06900690
COMMANDS = ("call", "list", "ping", "events", "console", "upload", "download")
PAGES = {"ping": "list", "download": "upload"}


@pytest.fixture(scope="module")
def node(private_libvirtd):
    """What is made on the node of the test driver lasts as long as somebody is connected to it."""
    connection = libvirt.open(f"test+unix:///default?socket={private_libvirtd.socket}")
    yield
    connection.close()


@pytest.fixture(params=["direct", "netd"])
def uri(request, running_suite, private_libvirtd, node):
    """The test driver, with its one domain."""
    if request.param == "netd":
        return running_suite.uri()
    return f"test+unix:///default?socket={private_libvirtd.socket}"


def error_of(done, status=REFUSED):
    assert done.returncode == status and not done.stdout, done
    return done.stderr


# --- call ---


def test_results_are_json_and_can_be_arguments(uri):
    found = call(uri, "remote.domain_lookup_by_name", {"name": "test"})
    assert found == {"domain": {"name": "test", "uuid": UUID, "id": 1}}
    info = json.loads(answer("call", "domain_get_info", "-", uri=uri, stdin=json.dumps(found)))
    assert info["state"] == 1 and info["memory"] == 2097152 and info["cpu_time"] > 2**53
    assert call(uri, "remote.16", found)["max_memory"] == 8388608
    assert "<name>test</name>" in call(uri, "domain_get_xml_desc", found | {"flags": 0})["xml"]


def test_typed_parameters_there_and_back(uri):
    domain = call(uri, "domain_lookup_by_name", {"name": "test"})
    before = call(uri, "domain_get_scheduler_parameters", domain | {"max_params": 16})
    assert before == {"params": [{"field": "weight", "type": "uint", "value": 50}]}
    assert call(uri, "domain_set_scheduler_parameters", domain | {"params": before["params"]}) == {}


def test_errors_of_the_server_have_their_code(uri):
    assert "Domain not found" in error_of(virtgate("call", "domain_lookup_by_name", '{"name": "none"}', uri=uri))
    done = virtgate("call", "--json", "domain_lookup_by_name", '{"name": "none"}', uri=uri)
    error = json.loads(error_of(done))["error"]
    assert error["cause"] == "remote" and error["code"] == 42 and error["level"] == 2, error


def test_mistakes_are_found_before_anybody_is_called():
    def usage(*words):
        return error_of(virtgate("call", *words, uri="test+unix:///default?socket=/none"), USAGE)

    assert "args.domain.uuid: a UUID is wanted, not a number" in usage(
        "domain_get_info", '{"domain": {"name": "test", "uuid": 1, "id": 1}}')
    assert 'has no member "nmae" (did you mean "name"?)' in usage("domain_lookup_by_name", '{"nmae": "x"}')
    assert "args.name: is missing" in usage("domain_lookup_by_name")
    assert "line 1, column 2" in usage("domain_lookup_by_name", "{x")
    assert 'did you mean "domain_get_info"' in usage("domain_get_inof")
    assert "is an event" in usage("domain_event_lifecycle")
    assert "--stream" in usage("storage_vol_download", "{}")
    assert "file descriptors" in usage("domain_open_graphics")
    assert error_of(virtgate("call", "domain_lookup_by_name", "@/none/file"), 66)


def test_who_is_not_there_or_not_believed(running_suite, foreign_authority, scratch):
    assert error_of(virtgate("call", "connect_get_uri", uri="test+unix:///default?socket=/none"), UNREACHABLE)
    pki = foreign_authority.pkipath(scratch / "tools-foreign", "/CN=alice")
    assert "authority" in error_of(virtgate("call", "connect_get_uri", uri=running_suite.uri(pki=pki)), DENIED)


def test_without_login_and_open(private_libvirtd):
    uri = f"test+unix:///default?socket={private_libvirtd.socket}"
    assert call(uri, "auth_list", {}) == {"types": ["none"]}
    assert json.loads(answer("call", "--raw", "auth_list", uri=uri)) == {"types": ["none"]}
    assert "not open" in error_of(virtgate("call", "--raw", "connect_get_uri", uri=uri))
    assert json.loads(answer("call", "--socket", private_libvirtd.socket, "connect_supports_feature", '{"feature": 10}')) == {
        "supported": 1}


def serve_administration(listener, connections):
    """Plays a daemon's administration for some connections: who has not opened it is told so."""
    for _ in range(connections):
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as stream:
            opened = False
            while length := stream.read(4):
                frame = wire.unpack(length + stream.read(int.from_bytes(length, "big") - 4))
                assert frame.prog == ADMIN and frame.proc in (1, 4), frame
                opened = opened or frame.proc == 1
                if frame.proc == 1:
                    peer.sendall(wire.reply(frame).pack())
                elif opened:
                    peer.sendall(wire.reply(frame, wire.u32(1) + wire.string("libvirtd") + wire.u32(1)).pack())
                else:
                    peer.sendall(wire.reply(frame, wire.error_payload(45, 0, "not open"), wire.ERROR).pack())


def test_the_administration_of_a_daemon(scratch):
    """Its own open comes first."""
    path = scratch / "admin.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve_administration, args=(listener, 2), daemon=True)
        thread.start()
        words = ("call", "--socket", path, "admin.connect_list_servers", '{"need_results": 1}')
        assert json.loads(answer(*words)) == {"servers": [{"name": "libvirtd"}], "result": 1}
        assert "not open (code 45" in error_of(virtgate(*words, "--raw"))
        thread.join(10)
        assert not thread.is_alive()


def test_where_no_uri_is_given(private_libvirtd, tmp_path):
    """The variables and libvirt.conf, as libvirt's users expect; root has the machine's file."""
    uri = f"test+unix:///default?socket={private_libvirtd.socket}"
    for name in ("VIRTGATE_URI", "LIBVIRT_DEFAULT_URI"):
        done = virtgate("call", "connect_get_uri", environment={name: uri})
        assert json.loads(done.stdout) == {"uri": "test:///default"}, done


def test_what_there_is_to_call():
    names = [line.split()[0] for line in answer("call", "--list").splitlines()]
    assert {"remote.domain_get_info", "qemu.domain_monitor_command", "admin.connect_open", "lock.acquire_resource"} <= set(names)
    assert not any("_event_callback_lifecycle" in name for name in names)
    assert {name.partition(".")[0] for name in (line.split()[0] for line in answer("call", "--list", "log").splitlines())} == {"log"}
    listed = json.loads(answer("call", "--list", "--json"))["procedures"]
    assert [f"{one['program']}.{one['procedure']}" for one in listed] == names
    text = answer("call", "--describe", "domain_set_scheduler_parameters")
    for words in ("procedure 58", "needs domain:read", "may change something", "of type ullong", '"type":"int"'):
        assert words in text, (words, text)
    known = json.loads(answer("call", "--describe", "--json", "domain_get_info"))
    assert known["read_only"] is True and known["template"]["domain"]["id"] == 0 and known["number"] == 16


def test_a_program_that_only_its_schema_describes(running_suite):
    """As somebody's own: here the program that administers locks, at its socket."""
    schema = suite.BUILD / "gen" / "proto" / "locks.schema"
    assert "locks.break" in answer("call", "--schema", schema, "--list", "locks")
    words = ("call", "--schema", schema, "--socket", running_suite.lock_socket, "locks.spaces")
    assert [space["kind"] for space in json.loads(answer(*words))["spaces"]]
    assert "too short" in error_of(virtgate("call", "--schema", "/dev/null", "--list"), USAGE)


def test_data_of_a_stream(running_suite, scratch):
    uri = running_suite.uri("virtgate", "/")
    source, back = scratch / "call-source", scratch / "call-back"
    source.write_bytes(bytes(range(256)) * 512)
    pool = call(uri, "storage_pool_lookup_by_name", {"name": "default"})
    xml = "<volume><name>called</name><capacity>131072</capacity></volume>"
    volume = call(uri, "storage_vol_create_xml", pool | {"xml": xml})
    place = volume | {"offset": 0, "length": 0}
    answer("call", "storage_vol_upload", json.dumps(place), "--stream", source, uri=uri)
    answer("call", "storage_vol_download", json.dumps(place), "--stream", back, uri=uri)
    assert back.read_bytes() == source.read_bytes()
    call(uri, "storage_vol_delete", volume)


# --- list, ping ---


def test_lists(uri):
    assert [line.split() for line in answer("list", uri=uri).splitlines()] == [
        ["NAME", "UUID", "ID", "STATE"], ["test", UUID, "1", "running"]]
    domains = json.loads(answer("list", "--json", uri=uri))["domains"]
    assert domains == [{"name": "test", "uuid": UUID, "id": 1, "state": "running"}]
    networks = json.loads(answer("list", "networks", "--json", uri=uri))["networks"]
    assert networks[0]["name"] == "default" and networks[0]["state"] == "active" and networks[0]["autostart"] is False
    pools = json.loads(answer("list", "pools", "--json", uri=uri))["pools"]
    assert pools[0]["name"] == "default-pool" and pools[0]["capacity"] == 107374182400
    assert "100.0 GiB" in answer("list", "pools", uri=uri)
    assert answer("list", "volumes", uri=uri) == "there are no volumes\n"
    assert answer("list", "interfaces", uri=uri).splitlines()[1].split() == ["eth1", "aa:bb:cc:dd:ee:ff", "active"]
    for kind in ("node-devices", "secrets", "nwfilters"):
        done = virtgate("list", kind, uri=uri)
        assert done.returncode == 0 or "not supported" in done.stderr, done
    assert "are in no pool" in error_of(virtgate("list", "domains", "default", uri=uri), USAGE)
    assert error_of(virtgate("list", "animals", uri=uri), USAGE)


def test_a_list_on_a_terminal_has_colours(private_libvirtd):
    uri = f"test+unix:///default?socket={private_libvirtd.socket}"
    assert "\x1b" not in answer("list", uri=uri)
    with tools.Terminal("list", "-c", uri) as terminal:
        assert terminal.end() == 0
        assert b"\x1b[32mrunning\x1b[0m" in terminal.shown


def test_what_a_server_says_cannot_forge_a_line(back):
    """Somebody who is called directly may say anything."""
    uri = f"qemu+unix:///system?socket={back.path}"
    evil = "gone\nvirtgate: all is well\x1b[2J"
    back.on(wire.LOOKUP_BY_NAME, lambda connection, frame: connection.send(
        wire.reply(frame, wire.error_payload(42, 10, evil), wire.ERROR)))
    error = error_of(virtgate("console", "web", uri=uri))
    assert error == "virtgate: gone\\x0avirtgate: all is well\\x1b[2J (code 42, domain 10)\n"


def test_pings(uri):
    text = answer("ping", "-n", "3", "-i", "0.01", uri=uri)
    assert len(re.findall(r"^answer \d: [\d.]+ ms$", text, re.M)) == 3 and "3 calls, 3 answered" in text
    lines = [json.loads(line) for line in answer("ping", "-n", "2", "-i", "0", "--json", uri=uri).splitlines()]
    assert [line.get("number") for line in lines] == [1, 2, None] and lines[2]["answered"] == 2
    assert error_of(virtgate("ping", uri="test+unix:///default?socket=/none"), UNREACHABLE)


def test_ping_ends_with_a_signal_and_with_the_server(running_suite, dying):
    with tools.Background("ping", "-c", running_suite.uri(), "-n", "0", "-i", "0.05") as ping:
        upstream.poll(lambda: "answer 3" in ping.read(), what="three answers")
        status, error = ping.end(signal.SIGINT)
        assert status == 0 and not error and "least, mean, most" in ping.output
    with tools.Background("ping", "-c", f"lxc+unix:///system?socket={dying.path}", "-n", "0", "-i", "0.05") as ping:
        upstream.poll(lambda: "answer 1" in ping.read(), what="an answer")
        dying.stop()
        status, error = ping.end()
        dying.start()
        assert status == UNREACHABLE and "virtgate: " in error


# --- events ---


def make_events(uri, name):
    xml = f"<domain type='test'><name>{name}</name><memory>8192</memory><os><type>hvm</type></os></domain>"
    domain = call(uri, "domain_define_xml", {"xml": xml})
    for step in ("domain_create", "domain_destroy", "domain_undefine"):
        call(uri, step, domain)


def test_events_are_shown_as_they_happen(uri):
    wanted = {("defined", "added"), ("started", "booted"), ("stopped", "destroyed"), ("undefined", "removed")}
    with tools.Background("events", "-c", uri, "--json", "--type", "lifecycle") as events:
        def seen():
            return [json.loads(line) for line in events.lines()]

        def all_seen():
            # Nothing tells that it has begun to look.
            make_events(uri, "watched")
            return wanted <= {(line["event"], line.get("detail")) for line in seen() if line["object"]["name"] == "watched"}

        upstream.poll(all_seen, 30, what="all events of a life")
        status, error = events.end(signal.SIGINT)
        assert status == 0 and not error, error
        first = next(line for line in seen() if line["object"]["name"] == "watched")
    assert first["type"] == "domain.lifecycle" and first["time"].endswith("Z")
    assert first["message"]["msg"]["domain"]["name"] == "watched"


def test_events_of_one_domain(uri):
    xml = "<domain type='test'><name>chosen</name><memory>8192</memory><os><type>hvm</type></os></domain>"
    domain = call(uri, "domain_define_xml", {"xml": xml})
    with tools.Background("events", "-c", uri, "--domain", "chosen", "--type", "domain.lifecycle") as events:
        def seen():
            make_events(uri, "other")
            call(uri, "domain_create", domain)
            call(uri, "domain_destroy", domain)
            return events.lines()

        upstream.poll(seen, what="an event")
        assert events.end(signal.SIGTERM)[0] == 0
        assert all(re.search(r"  domain\.lifecycle  chosen  (started \(booted\)|stopped \(destroyed\))$", line)
                   for line in events.lines()), events.output
    call(uri, "domain_undefine", domain)


def test_events_end_with_the_server_and_say_why(dying):
    def register(connection, frame):
        connection.send(wire.reply(frame, wire.u32(0)))
        event = wire.u32(0) + wire.domain("web") + wire.u32(5) + wire.u32(1)
        connection.send(wire.Frame(wire.REMOTE, 1, wire.EVENT_CALLBACK_LIFECYCLE, wire.MESSAGE, 0, 0, event))

    dying.on(wire.EVENT_REGISTER_ANY, register)
    with tools.Background("events", "-c", f"lxc+unix:///system?socket={dying.path}", "--json", "--type", "domain.lifecycle") as events:
        upstream.poll(events.lines, what="an event")
        assert json.loads(events.lines()[0])["detail"] == "destroyed"
        dying.stop()
        status, error = events.end()
        dying.start()
        assert status == UNREACHABLE and "the connection has ended" in error
        last = json.loads(events.lines()[-1])
        assert last["type"] == "close" and last["reason"] in ("end", "error"), last
    dying.forget()


def test_events_go_on_over_a_restart_of_netd(fragile, private_libvirtd, node):
    """--reconnect: the front door is killed, and comes back with other processes."""
    direct = f"test+unix:///default?socket={private_libvirtd.socket}"
    with tools.Background("events", "-c", fragile.uri(), "--reconnect", "--json", "--type", "domain.lifecycle") as events:
        def types():
            return [json.loads(line)["type"] for line in events.lines()]

        def comes(after):
            make_events(direct, "watched")
            return "domain.lifecycle" in types()[after:]

        upstream.poll(lambda: comes(0), 30, what="an event")
        for pid in fragile.pids("virtgate-netd"):
            os.kill(pid, signal.SIGKILL)
        upstream.poll(lambda: "reconnected" in types(), 30, what="another connection")
        upstream.poll(lambda: comes(types().index("reconnected")), 30, what="an event afterwards")
        status, error = events.end(signal.SIGINT)
        assert status == 0 and "connecting again" in error and "connected again" in error, error
        seen = types()
        assert seen.count("lost") == seen.count("reconnected") >= 1 and seen.index("lost") < seen.index("reconnected")


def test_types_of_events():
    types = [line.split()[0] for line in answer("events", "--list-types").splitlines()]
    assert {"domain.lifecycle", "network.lifecycle", "storage_pool.refresh", "secret.value_changed", "qemu_monitor"} <= set(types)
    assert len(types) == len(set(types))
    error = error_of(virtgate("events", "--type", "lifecycel"), USAGE)
    assert 'did you mean "' in error
    assert "about no domain" in error_of(virtgate("events", "--type", "network.lifecycle", "--domain", "x"), USAGE)


# --- manual pages and completions ---


@pytest.mark.parametrize("command", COMMANDS)
def test_manual_and_completions_have_every_option(command):
    page = (TOP / f"docs/man/virtgate-{PAGES.get(command, command)}.1").read_text()
    together = [one for one in COMMANDS if PAGES.get(one, one) == PAGES.get(command, command)]
    known = set().union(*(tools.options_of(one) for one in together))
    assert {f"--{word}" for word in re.findall(r"Fl -([a-z-]+)", page)} == known
    zsh = (TOP / "packaging/completions/_virtgate").read_text()
    body = zsh[zsh.index("\n_virtgate_tools() {") :]
    block = re.search(rf"^        {command}\)(.*?);;$", body, re.M | re.S)[1]
    usual = re.search(r"^    tools=\((.*?)^    \)", zsh, re.M | re.S)[1]
    moved = re.search(r"^    moved=\((.*?)^    \)", zsh, re.M | re.S)[1] if "$moved" in block else ""
    assert set(re.findall(r"--[a-z-]+", block + usual + moved)) - {"--help"} == tools.options_of(command)
    assert complete(command, "--") - {"--help"} == tools.options_of(command)


def complete(*words):
    """What bash offers for the last word."""
    script = f"""
        . {TOP}/packaging/completions/virtgate.bash
        compopt() {{ :; }}
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _virtgate
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script, "bash", tools.PROGRAM, *words], capture_output=True, text=True,
                          timeout=20, check=True)  # fmt: skip
    return set(done.stdout.split())


@pytest.fixture
def announced(tmp_path):
    """A directory like programs.d, with the program of examples/inventory."""
    directory = tmp_path / "programs.d"
    directory.mkdir()
    schema = suite.BUILD / "gen/proto/inventory.schema"
    (directory / "inventory.toml").write_text(f'schema = "{schema}"\nexecutable = "/bin/true"\n')
    return directory


def test_announced_programs_can_be_named_without_their_schema(announced):
    listed = virtgate("call", "--programs", announced, "--list", "inventory").stdout
    assert "inventory.get_item" in listed and "remote." not in listed
    assert "remote.domain_get_info" in virtgate("call", "--programs", announced, "--list").stdout
    described = virtgate("call", "--programs", announced, "--describe", "inventory.set_item").stdout
    assert "tag" in described
    assert complete("call", "--programs", str(announced), "inventory.get_it") == {"inventory.get_item"}
    assert complete("call", "--schema", str(suite.BUILD / "gen/proto/inventory.schema"), "inventory.get_it") == {
        "inventory.get_item"
    }
    assert "inventory" in complete("call", "--programs", str(announced), "--list", "inv")
    (announced / "inventory.toml").write_text("schema = 1\n")
    assert "inventory.toml:1" in error_of(virtgate("call", "--programs", announced, "--list"), USAGE)


def test_completion_of_procedures_kinds_and_types(private_libvirtd):
    assert complete("call", "remote.domain_get_inf") == {"remote.domain_get_info"}
    assert "lock.acquire_resource" in complete("call", "-c", "x", "lock.")
    assert complete("list", "vol") == {"volumes"}
    assert "domain.lifecycle" in complete("events", "--type", "domain.l")
    uri = f"test+unix:///default?socket={private_libvirtd.socket}"
    assert complete("console", "-c", uri, "te") == {"test"}
    assert clients.attempt("bash", "-n", TOP / "packaging/completions/virtgate.bash").returncode == 0
