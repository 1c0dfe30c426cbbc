# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_ssh - the client library through a real sshd, to libvirtd's UNIX socket and to the front door's."""

import json
import os
import signal

import pytest

from vgtest import clients, ssh, suite, tools, upstream

LENGTHY = True

PROBE = suite.BUILD / "client-probe"
PROXIES = ("netcat", "native", "auto")


def probe(uri, *words):
    done = clients.attempt(PROBE, uri, *words, patience=60)
    assert done.returncode in (0, 1) and not done.stderr, done
    return done.returncode, done.stdout.rstrip("\n")


@pytest.fixture(scope="module", params=["libvirtd", "netd"])
def far(request, scratch, private_libvirtd, running_suite):
    """An sshd where libvirt's usual socket leads to libvirtd, or to the front door."""
    if not ssh.available():
        pytest.skip("nobody may make namespaces here")
    socket = private_libvirtd.socket if request.param == "libvirtd" else running_suite.local_socket
    with ssh.Sshd(scratch / f"ssh-{request.param}", socket) as server:
        yield server


def uri_through(far, proxy, **more):
    """The helper finds the socket by itself; netcat is told."""
    return far.uri(proxy=proxy, **({"socket": far.socket} if proxy == "netcat" else {}), **more)


@pytest.mark.parametrize("proxy", PROXIES)
def test_calls_threads_and_events(far, proxy):
    uri = uri_through(far, proxy, no_tty=1)
    assert probe(uri, "list") == (0, "test"), far.log()
    assert probe(uri, "threads", 8, 20) == (0, "160")
    assert probe(uri, "events") == (0, "0 2 5 1")
    assert probe(uri, "lookup", "no such") == (1, "remote 42: Domain not found")


def test_what_is_asked_for_goes_through_two_shells(far, scratch):
    quoted = scratch / f"it's a $socket of {os.path.basename(far.directory)}"
    quoted.symlink_to(far.socket)
    uri = far.uri(socket=str(quoted).replace(" ", "%20").replace("$", "%24"))
    assert probe(uri, "list") == (0, "test")


def test_libvirts_own_client_comes_the_same_way(far):
    listed = clients.run("virsh", "-q", "-c", uri_through(far, "netcat", no_tty=1), "list", "--name")
    assert listed.split() == ["test"]


def test_a_host_that_cannot_prove_itself_is_refused(far):
    uri = uri_through(far, "netcat", command=far.stranger, no_tty=1)
    status, text = probe(uri, "list")
    assert status == 1 and "Host key verification failed" in text and "exit status 255" in text, text
    unknown = uri_through(far, "netcat", command=far.newcomer, no_tty=1)
    assert probe(unknown, "list")[0] == 1
    assert probe(f"{unknown}&no_verify=1", "list") == (0, "test")


def test_what_goes_wrong_over_there_is_said_here(far):
    status, text = probe(far.uri(socket="/no/such/socket", no_tty=1), "list")
    assert status == 1 and "No such file or directory" in text, text
    status, text = probe(far.uri(proxy="netcat", netcat="/no/such/nc", socket=far.socket, no_tty=1), "list")
    assert status == 1 and "/no/such/nc" in text, text
    other = far.uri(socket=far.socket, no_tty=1).replace(f"{far.user}@", "nobody-known@")
    status, text = probe(other, "list")
    assert status == 1 and "Permission denied" in text, text


def test_events_go_on_through_another_tunnel(far, private_libvirtd):
    """--reconnect, when the tunnel breaks: ssh is killed."""
    command = ("events", "-c", uri_through(far, "netcat"), "--reconnect", "--json", "--type", "domain.lifecycle")
    with tools.Background(*command) as events:
        def types():
            return [json.loads(line)["type"] for line in events.lines()]

        def comes(after):
            assert probe(f"test+unix:///default?socket={private_libvirtd.socket}", "events")[0] == 0
            return "domain.lifecycle" in types()[after:]

        upstream.poll(lambda: comes(0), 30, what="an event")
        for pid in clients.run("pgrep", "-P", str(events.process.pid)).split():
            os.kill(int(pid), signal.SIGKILL)
        upstream.poll(lambda: "reconnected" in types(), 30, what="another tunnel")
        upstream.poll(lambda: comes(types().index("reconnected")), 30, what="an event through it")
        assert events.end(signal.SIGINT)[0] == 0
