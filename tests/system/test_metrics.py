# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_metrics - what is counted moves as it should, is read by Prometheus, and outlives reloads and dead processes."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from vgtest import metrics, upstream
from vgtest.metrics import Numbers
from vgtest.suite import BUILD

URI = "test:///default"
TOP = pathlib.Path(__file__).parents[2]
PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="there is no promtool")


@pytest.fixture(scope="module")
def suite(scratch, running_suite):
    directory = scratch / "metrics"
    with running_suite.sibling(directory, {"netd.gates": 2, **metrics.at(directory)}) as started:
        yield started


def fresh(suite):
    """Answers are up to a second old."""
    time.sleep(1.1)
    return Numbers(suite)


def virsh(suite, *words):
    uri = f"{URI.partition(':')[0]}+unix:///default?socket={suite.local_socket}"
    return subprocess.run(["virsh", "-c", uri, *words], capture_output=True, text=True, timeout=30)


def catalogue():
    done = subprocess.run([BUILD / "virtgate-exporter", "--list"], capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def promtool(*words, text=None):
    done = subprocess.run([PROMTOOL, *map(str, words)], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_call_of_virsh_is_counted_everywhere(suite):
    before = fresh(suite)
    assert virsh(suite, "list", "--all").returncode == 0
    after = fresh(suite)

    def grew(name, **labels):
        now = after(name, **labels)
        return now - (before(name, **labels) if any(key[0] == name and set(labels.items()) <= set(key[1:]) for key in before.all) else 0)

    assert grew("virtgate_connections_accepted_total", listener="unix") == 1
    assert grew("virtgate_sessions_begun_total", listener="unix") == 1
    assert grew("virtgate_admissions_total", listener="unix", result="granted") == 1
    assert grew("virtgate_client_calls_total", listener="unix") >= 3
    assert grew("virtgate_received_bytes_total", listener="unix") > 100
    assert grew("virtgate_sent_bytes_total", listener="unix") > 100
    assert grew("virtgate_sessions_opened_total") == 1
    assert grew("virtgate_calls_total", program="remote", result="forwarded") >= 2
    assert grew("virtgate_audit_records_total") >= 1
    assert after("virtgate_sessions") == 0
    assert all(after("virtgate_exporter_source_up", source=name) == 1 for name in ("netd", "workerd", "lockd"))


def test_refused_and_failed_calls_are_counted(suite):
    before = fresh(suite)
    assert virsh(suite, "dominfo", "nobody-has-this-name").returncode != 0
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(suite.local_socket))
        client.sendall(b"\0\0\0\x1c" + b"\xff" * 24)
        client.settimeout(10)
        while client.recv(4096):
            pass
    after = fresh(suite)
    assert after("virtgate_calls_total", result="failed") > before("virtgate_calls_total", result="failed")
    name = "virtgate_protocol_errors_total"
    assert after(name, peer="client") == before(name, peer="client") + 1


def test_failed_handshakes_are_counted(suite):
    before = fresh(suite)
    with socket.create_connection(("localhost", suite.port), timeout=10) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while client.recv(4096):
            pass
    after = fresh(suite)
    assert after("virtgate_tls_handshakes_total", result="failed") == before("virtgate_tls_handshakes_total", result="failed") + 1
    name = "virtgate_connections_refused_total"
    assert after(name, reason="handshake") == before(name, reason="handshake") + 1


def test_the_certificate_says_when_it_ends(suite):
    ends = Numbers(suite)("virtgate_certificate_expiry_timestamp_seconds", certificate="server")
    done = subprocess.run(["openssl", "x509", "-enddate", "-noout", "-in", suite.pki.parent / "server" / "servercert.pem"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    date = subprocess.run(["date", "-d", done.stdout.strip().partition("=")[2], "+%s"], capture_output=True, text=True)
    assert ends == int(date.stdout)


def counters(numbers):
    return {key: value for key, value in numbers.all.items() if key[0].endswith("_total")}


def test_counters_do_not_fall_over_a_reload(suite):
    """Its gates, which have counted, are gone afterwards."""
    assert virsh(suite, "list").returncode == 0
    before = fresh(suite)
    (netd,) = suite.pids("virtgate-netd")
    os.kill(netd, signal.SIGHUP)
    upstream.poll(lambda: Numbers(suite)("virtgate_configuration_generation") > before("virtgate_configuration_generation"), 30, "a reload")
    time.sleep(1)
    after = fresh(suite)
    assert after("virtgate_configuration_reloads_total", result="ok") == before("virtgate_configuration_reloads_total", result="ok") + 1
    for key, value in counters(before).items():
        assert after.all.get(key, 0) >= value, key


@needs_promtool
def test_promtool_finds_no_fault(suite):
    assert virsh(suite, "list").returncode == 0
    promtool("check", "metrics", text=Numbers(suite).text)


def test_the_format_is_what_the_client_asks_for(suite):
    status, headers, text = metrics.get(suite.metrics_socket, accept=metrics.OPEN_METRICS)
    assert (status, headers["content-type"]) == (200, metrics.OPEN_METRICS)
    assert text.endswith("# EOF\n") and "# TYPE virtgate_received_bytes counter\n# UNIT virtgate_received_bytes bytes\n" in text
    status, headers, text = metrics.get(suite.metrics_socket)
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8" and "# EOF" not in text
    status, headers, body = metrics.get(suite.metrics_socket, method="HEAD")
    assert (status, body) == (200, "") and int(headers["content-length"]) > 1000
    assert metrics.get(suite.metrics_socket, "/")[0] == 200
    assert metrics.get(suite.metrics_socket, "/etc/passwd")[0] == 404


def test_what_is_shown_is_in_the_catalogue(suite):
    known = {row[0]: row for row in catalogue()}
    for name, *labels in Numbers(suite).all:
        assert name in known, name
        meant = [] if known[name][3] == "-" else known[name][3].split(",")
        assert sorted(label for label, _ in labels) == sorted(meant), name


def test_the_manual_page_is_that_of_the_catalogue():
    done = subprocess.run([TOP / "scripts/metrics", "--check", BUILD / "virtgate-exporter"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def expressions():
    board = json.loads((TOP / "packaging/grafana/virtgate.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for match in re.finditer(r"^ +expr: (.*)$", (TOP / "packaging/prometheus/virtgate.rules.yml").read_text(), re.M):
        yield "rule", match[1]


def test_dashboard_and_rules_name_what_there_is():
    known, used = {row[0] for row in catalogue()}, set()
    for where, text in expressions():
        names = set(re.findall(r"\bvirtgate_\w+", text))
        assert names and names <= known, (where, names - known)
        used |= names
    assert len(used) > 20, used


@needs_promtool
def test_rules_fire_when_they_should():
    rules = TOP / "packaging/prometheus"
    promtool("check", "rules", rules / "virtgate.rules.yml")
    promtool("test", "rules", rules / "virtgate.rules.test.yml")


@pytest.mark.skipif(not PROMETHEUS, reason="there is no prometheus")
def test_prometheus_reads_it(scratch, running_suite):
    directory = scratch / "scraped"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port, own = free.getsockname()[1], 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = free.getsockname()[1]
    settings = {"netd.gates": 1, "netd.metrics.enabled": "true", "netd.metrics.port": port}
    place = scratch / "prometheus"
    place.mkdir()
    (place / "prometheus.yml").write_text(
        "scrape_configs:\n  - job_name: virtgate\n    scrape_interval: 1s\n    static_configs:\n"
        f"      - targets: ['127.0.0.1:{port}']\nrule_files: ['{TOP}/packaging/prometheus/virtgate.rules.yml']\n"
    )
    with running_suite.sibling(directory, settings):
        command = [PROMETHEUS, f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data",
                   f"--web.listen-address=127.0.0.1:{own}"]  # fmt: skip
        with open(place / "log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:

            def value(query):
                try:
                    url = f"http://127.0.0.1:{own}/api/v1/query?query={query}"
                    with urllib.request.urlopen(url, timeout=5) as answer:
                        rows = json.load(answer)["data"]["result"]
                except OSError:
                    return None
                return rows[0]["value"][1] if rows else None

            upstream.poll(lambda: value("virtgate_processes{process=%22gate%22}") == "1", 30, lambda: (place / "log").read_text()[-2000:])
            assert value("up{job=%22virtgate%22}") == "1"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_only_this_machine_may_read(scratch):
    config = scratch / "open.toml"
    for address in ("0.0.0.0", "::", "192.0.2.7"):
        config.write_text(f'[metrics]\nenabled = true\naddress = "{address}"\n')
        done = subprocess.run([BUILD / "virtgate-netd", "--check", "--config", config], capture_output=True, text=True)
        assert done.returncode != 0 and "loopback" in done.stderr, done



def test_an_exporter_that_is_killed_comes_back_and_forgets_nothing(suite):
    before = fresh(suite)
    (pid,) = suite.pids("virtgate-exporter")
    os.kill(pid, signal.SIGKILL)

    def answers():
        try:
            return metrics.get(suite.metrics_socket)[0] == 200
        except (OSError, IndexError):
            return False

    upstream.poll(lambda: suite.pids("virtgate-exporter") not in ([], [pid]) and answers(), 20, "another exporter")
    after = fresh(suite)
    assert after("virtgate_process_crashes_total", process="exporter") == before("virtgate_process_crashes_total", process="exporter") + 1
    for key, value in counters(before).items():
        if not key[0].startswith("virtgate_exporter_"):
            assert after.all.get(key, 0) >= value, key

