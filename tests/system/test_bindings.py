# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_bindings - libvirt-python, Sys::Virt, the Prometheus exporter and virt-install through virtgate."""

import os
import subprocess
import threading
import time
import urllib.request

import libvirt
import pytest

from vgtest import processes, upstream
from vgtest.clients import free_port, run


def quiet(*_):
    """libvirt prints each error to standard error unless somebody takes it."""


@pytest.fixture(scope="module", autouse=True)
def event_loop():
    """libvirt's own event loop in a thread; without one there are no events and no keepalive."""
    libvirt.registerErrorHandler(quiet, None)
    libvirt.virEventRegisterDefaultImpl()
    stop = threading.Event()

    def turn():
        while not stop.is_set():
            libvirt.virEventRunDefaultImpl()

    ticking = libvirt.virEventAddTimeout(50, quiet, None)
    thread = threading.Thread(target=turn, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(5)
    libvirt.virEventRemoveTimeout(ticking)
    assert not thread.is_alive()


@pytest.fixture
def connection(gate):
    opened = libvirt.open(gate.uri())
    yield opened
    opened.close()


def test_python_lists_and_reads(connection):
    (domain,) = [d for d in connection.listAllDomains() if d.name() == "test"]
    assert domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    assert "<name>test</name>" in domain.XMLDesc()
    assert connection.getType() == "TEST" and connection.getInfo()[0] == "i686"
    assert connection.isSecure() and connection.isEncrypted() and connection.isAlive()


def test_python_errors_keep_their_codes(connection):
    with pytest.raises(libvirt.libvirtError) as caught:
        connection.lookupByName("nobody")
    assert caught.value.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN


def test_python_calls_from_many_threads(connection):
    """One connection, eight threads, replies in any order."""
    failures = []

    def work():
        try:
            for _ in range(50):
                assert connection.lookupByName("test").info()[0] in (1, 3)
                assert connection.getHostname()
        except Exception as why:
            failures.append(why)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures


def test_python_events(connection, gate):
    seen = []
    number = connection.domainEventRegisterAny(
        None,
        libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
        lambda c, domain, event, detail, _: seen.append((domain.name(), event)),
        None,
    )
    other = libvirt.open(gate.uri())
    other.lookupByName("test").suspend()
    other.lookupByName("test").resume()
    other.close()
    upstream.poll(
        lambda: ("test", libvirt.VIR_DOMAIN_EVENT_SUSPENDED) in seen
        and ("test", libvirt.VIR_DOMAIN_EVENT_RESUMED) in seen,
        what="both events",
    )
    connection.domainEventDeregisterAny(number)


def test_python_keepalive_both_ways(gate):
    """Both sides ping each second; a connection that idles longer than three of them lives."""
    connection = libvirt.open(gate.uri())
    connection.setKeepAlive(1, 2)
    time.sleep(3.5)
    assert connection.isAlive() == 1
    assert connection.getHostname()
    connection.close()


def test_python_close_callback_when_the_gate_dies(fragile):
    """The client learns that its connection went away."""
    connection, told = libvirt.open(fragile.uri()), []
    connection.registerCloseCallback(lambda c, reason, _: told.append(reason), None)
    for pid in fragile.pids("virtgate-gate"):
        os.kill(pid, 9)
    upstream.poll(lambda: told)
    assert told[0] in (libvirt.VIR_CONNECT_CLOSE_REASON_EOF, libvirt.VIR_CONNECT_CLOSE_REASON_ERROR)
    with pytest.raises(libvirt.libvirtError):
        connection.getHostname()
    connection.close()


def test_python_streams_up_and_down(gate, private_libvirtd):
    connection = libvirt.open(gate.uri("storage", "/session"))
    pool = connection.storagePoolCreateXML(
        "<pool type='dir'><name>vgt-python</name>"
        f"<target><path>{private_libvirtd.storage}</path></target></pool>"
    )
    try:
        data = os.urandom(3_000_001)
        volume = pool.createXML(f"<volume><name>stream</name><capacity>{len(data)}</capacity></volume>")
        stream = connection.newStream()
        volume.upload(stream, 0, len(data))
        at = [0]

        def source(_, size, __):
            piece = data[at[0] : at[0] + size]
            at[0] += len(piece)
            return piece

        stream.sendAll(source, None)
        stream.finish()
        got = bytearray()
        stream = connection.newStream()
        volume.download(stream, 0, len(data), libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
        stream.sparseRecvAll(
            lambda _, piece, __: got.extend(piece), lambda _, length, __: got.extend(bytes(length)), None
        )
        stream.finish()
        assert bytes(got) == data
        stream = connection.newStream()
        volume.download(stream, 0, len(data))
        stream.recv(1000)
        stream.abort()
        assert connection.isAlive()
        volume.delete()
    finally:
        pool.destroy()
        connection.close()


def test_perl(gate):
    """Sys::Virt: list, state, an error and a clean end."""
    out = run(
        "perl",
        "-MSys::Virt",
        "-e",
        """
        my $c = Sys::Virt->new(uri => $ARGV[0]);
        print join(",", map { $_->get_name } $c->list_all_domains), "\\n";
        my $d = $c->get_domain_by_name("test");
        $d->suspend; print $d->get_info->{state}, "\\n"; $d->resume; print $d->get_info->{state}, "\\n";
        eval { $c->get_domain_by_name("nobody") }; print ref($@), " ", $@->code, "\\n";
    """,
        gate.uri(),
    )
    assert out.split("\n")[:4] == ["test", "3", "1", "Sys::Virt::Error 42"]


def test_prometheus_exporter(gate, tmp_path):
    port = free_port()
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        exporter = subprocess.Popen(
            [
                "prometheus-libvirt-exporter",
                f"--web.listen-address=127.0.0.1:{port}",
                f"--libvirt.uri={gate.uri()}",
            ],
            stdout=log,
            stderr=log,
        )
    try:

        def scrape():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
                    return page.read().decode()
            except OSError:
                return None

        for _ in range(3):
            text = upstream.poll(scrape, what=(tmp_path / "log").read_text())
            assert "libvirt_up 1" in text and 'domain="test"' in text, text[-2000:]
    finally:
        processes.end(exporter)


def test_virt_install_prints_xml(gate):
    out = run(
        "virt-install",
        "--connect",
        gate.uri(),
        "--name",
        "vgt-print",
        "--memory",
        "64",
        "--disk",
        "none",
        "--import",
        "--osinfo",
        "detect=off,require=off",
        "--graphics",
        "none",
        "--print-xml",
    )
    assert "<name>vgt-print</name>" in out


def test_virt_install_defines_and_starts(gate, connection):
    run(
        "virt-install",
        "--connect",
        gate.uri(),
        "--name",
        "vgt-install",
        "--memory",
        "64",
        "--disk",
        "none",
        "--import",
        "--osinfo",
        "detect=off,require=off",
        "--graphics",
        "none",
        "--noautoconsole",
    )
    domain = connection.lookupByName("vgt-install")
    assert domain.isActive()
    domain.destroy()
    domain.undefine()
