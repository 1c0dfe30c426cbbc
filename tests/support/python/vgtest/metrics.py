# SPDX-License-Identifier: LGPL-2.1-or-later
"""metrics - reads what virtgate-exporter shows."""

import re
import socket

# Of a suite that has an exporter on some port, for tests that look at its process.
SETTINGS = {"netd.metrics.enabled": "true", "netd.metrics.port": "0"}

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def at(directory):
    """Settings of a suite in that directory, with the exporter at Suite.metrics_socket."""
    return {"netd.metrics.enabled": "true", "netd.metrics.path": f'"{directory}/run/metrics-sock"'}


def ask(path, request, patience=15.0):
    """All bytes of the answer to `request`, on the UNIX socket `path`; what a reset leaves of it."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(patience)
        client.connect(str(path))
        client.sendall(request)
        try:
            while piece := client.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
    return answer


def get(path, target="/metrics", accept="", method="GET"):
    """(status, headers in small letters, body)"""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"] + ([f"Accept: {accept}"] if accept else [])
    head, _, body = ask(path, ("\r\n".join(lines) + "\r\n\r\n").encode()).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return int(first.split()[1]), headers, body.decode()


def parse(text):
    """{(name, (label, value), ...): number}"""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            key = (name, *sorted(LABEL.findall(labels)))
            assert key not in found, f"{series} is there twice"
            found[key] = float(value)
    return found


class Numbers:
    """What a suite's exporter shows at one moment."""

    def __init__(self, suite):
        status, _, self.text = get(suite.metrics_socket)
        assert status == 200
        self.all = parse(self.text)

    def __call__(self, name, **labels):
        """The sum of the series of that name that have these labels."""
        wanted = set(labels.items())
        rows = [value for (found, *pairs), value in self.all.items() if found == name and wanted <= set(pairs)]
        assert rows, f"there is no {name} with {labels}"
        return sum(rows)
