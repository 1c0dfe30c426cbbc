# SPDX-License-Identifier: LGPL-2.1-or-later
"""report - the book as aligned text: medians with minimum and maximum, ratios, and what is to be reached."""

import statistics

from measures import CALLS, SHAPES, UPSTREAM

NAMES = {"a": "(a) unix", "b": "(b) libvirtd TLS", "c": "(c) virtgate TLS", "d": "(d) virtproxyd TLS"}
NOTHING = 0.005
KINDS = ("rsa", "ecdsa")


def spread(values):
    """median [min..max], or a dash."""
    if not values:
        return "-"
    median = statistics.median(values)
    digits = 0 if abs(median) >= 100 else 1 if abs(median) >= 10 else 2
    return f"{median:.{digits}f} [{min(values):.{digits}f}..{max(values):.{digits}f}]"


def middle(values):
    return f"{statistics.median(values):.2f}" if values else "-"


def spread_ratio(values):
    """The same for numbers around 1."""
    return f"{statistics.median(values):.3f} [{min(values):.3f}..{max(values):.3f}]"


def judge(values, limit, at_least):
    if limit is None:
        return ""
    median = statistics.median(values)
    good = median >= limit if at_least else median <= limit
    return f"{'pass' if good else 'short'} ({'>=' if at_least else '<='} {limit:g})"


def table(title, heads, rows):
    """Lines of an aligned table: the first column to the left, all others to the right."""
    if not rows:
        return []
    grid = [[str(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(map(len, cells)) for cells in zip(*grid)]
    lines = []
    for row in grid:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  " + "  ".join(cells).rstrip())
    return ["", title, *(lines if any(heads) else lines[1:])]


class Report:
    """`columns`: those that were measured, in order."""

    def __init__(self, book, columns):
        self.book, self.columns = book, columns

    def text(self):
        parts = (self.targets(), self.calls(), self.cpu(), self.sessions(), self.idle(), self.calls_idle(),
                 self.storm(), self.policy(), self.streams(), self.volumes(), self.sandbox(), self.locks())
        return "\n".join(line for part in parts for line in part)

    # --- rows ---

    def _row(self, label, figure, base):
        """A figure in every column, and its ratio to the column `base`; None if it was not measured."""
        if not any(self.book.get(figure, column) for column in self.columns):
            return None
        cells = [spread(self.book.get(figure, column)) for column in self.columns]
        ratios = [middle(self.book.ratios(figure, column, figure, base))
                  for column in self.columns if column != base]
        return [label, *cells, *ratios]

    def _table(self, title, base, labelled):
        """Of (label, figure) pairs."""
        heads = ["", *(NAMES[column] for column in self.columns)]
        heads += [f"{column}/{base}" for column in self.columns if column != base]
        return table(title, heads, [row for row in (self._row(*pair, base) for pair in labelled) if row])

    def _names(self, prefix, column):
        """Process names under which something is booked: ours, their sum, libvirtd, and the load."""
        last = {"ours": 1, "libvirtd": 2, UPSTREAM: 3, "load": 4}
        found = {figure.removeprefix(prefix) for figure, other in self.book.values
                 if other == column and figure.startswith(prefix)}
        return sorted(found, key=lambda name: (last.get(name, 0), name))

    def _by_process(self, title, label, figures, heads, scale=1.0):
        """Rows of column and process name, with a cell for each of `figures`, to which the name is added."""
        rows = []
        for column in self.columns:
            for name in self._names(figures[0], column):
                found = [self.book.get(figure + name, column) for figure in figures]
                if all(value < NOTHING for values in found for value in values):
                    continue  # a process that had no part in it
                cells = [spread([value * scale for value in values]) for values in found]
                rows.append([f"{label}{NAMES[column]}: {'all of ours' if name == 'ours' else name}", *cells])
        return table(title, ["", *heads], rows) if title else rows

    # --- tables ---

    def target_rows(self):
        """(text, values, limit or None, at least?) of everything that virtgate has to reach."""
        ratios, get = self.book.ratios, self.book.get
        rows = []
        for call in CALLS:
            for shape, limit in (("16x4", 0.60), ("1x8", 0.50)):
                figure = f"{call} {shape} calls/s"
                values = ratios(figure, "c", figure, "a")
                rows.append((f"{call}: calls/s at {shape}, to (a)", values, limit, True))
            figure = f"{call} 1x1 p50"
            rows.append((f"{call}: p50 at 1x1, to (a)", ratios(figure, "c", figure, "a"), 1.8, False))
            for shape in SHAPES:
                figure = f"{call} {shape} CPU"
                values = get(f"{figure} ours", "c")
                rows.append((f"{call}: CPU us added per call at {shape}", values, 25, False))
                values = ratios(f"{figure} ours", "c", f"{figure} libvirtd", "a")
                rows.append(("    the same, to what libvirtd itself needs in (a)", values, None, False))
        for shape in ("1x1", "16x4"):
            alone = f"calls {shape}, alone"
            for text, figure in (("idle clients", "idle"),
                                 ("idle clients of another libvirtd", "idle elsewhere")):
                values = ratios(f"calls {shape}, {figure}", "c", alone, "c")
                rows.append((f"calls/s at {shape} with {text}, to without", values, 0.95, True))
        values = ratios("calls 1x1, storm nice 0", "c", "calls 1x1, calm", "c")
        rows.append(("calls/s at 1x1 during handshakes, to calm", values, 0.4, True))
        for mode in ("upload", "download"):
            figure = f"{mode} MB/s"
            rows.append((f"{mode}: MB/s, to (a)", ratios(figure, "c", figure, "a"), 0.75, True))
        rows.append(("CPU % with idle clients", get("idle CPU ours", "c"), 0.05, False))
        return rows

    def targets(self):
        if "c" not in self.columns:
            return []
        rows = [(text, spread(values), judge(values, limit, at_least))
                for text, values, limit, at_least in self.target_rows() if values]
        return table("What virtgate has to reach", ["", "reached", "target"], rows)

    def calls(self):
        lines = []
        for call in CALLS:
            pairs = [(f"{shape} {unit}", f"{call} {shape} {key}") for shape in SHAPES
                     for unit, key in (("calls/s", "calls/s"), ("p50 us", "p50"), ("p99 us", "p99"))]
            lines += self._table(f"Calls: {call} (connections x calls in flight on each)", "a", pairs)
        return lines

    def cpu(self):
        rows = []
        for call in CALLS:
            rows += self._by_process(None, f"{call} ", [f"{call} {shape} CPU " for shape in SHAPES], SHAPES)
        return table("CPU us per call, by process (load: the load generator)", ["", *SHAPES], rows)

    def sessions(self):
        pairs = [(f"{kind} {parallel} at a time, {unit}", f"connections {kind} {parallel} {key}")
                 for kind in KINDS for parallel in (1, 8) for unit, key in (("/s", "/s"), ("p50 ms", "p50"))]
        pairs += [(f"UNIX {parallel} at a time, /s", f"connections unix {parallel} /s")
                  for parallel in (1, 8)]
        lines = self._table("New sessions: connect, handshake, confirmation, AUTH_LIST, OPEN, CLOSE "
                            "(RSA-2048 or P-256 on both sides)", "b", pairs)
        rows = []
        for kind in KINDS:
            figures = [f"connections {kind} {parallel} CPU " for parallel in (1, 8)]
            rows += self._by_process(None, f"{kind} ", figures, (), 1e-3)
        return lines + table("CPU ms per new session, by process", ["", "1 at a time", "8 at a time"], rows)

    def idle(self):
        lines = []
        tables = {"memory ": "Resident memory per idle session, KiB: growth of fresh processes",
                  "idle CPU ": "CPU % while sessions idle",
                  "idle CPU, keepalive ": "CPU % while sessions idle that asked for keepalive (one round)"}
        for prefix, title in tables.items():
            lines += self._by_process(title, "", [prefix], [""])
        return lines

    def calls_idle(self):
        rows = []
        for column in self.columns:
            for shape in ("1x1", "16x4"):
                alone = f"calls {shape}, alone"
                for text, note in (("idle", ""), ("idle elsewhere", ", idle on another libvirtd")):
                    figure = f"calls {shape}, {text}"
                    if self.book.get(figure, column):
                        rows.append([f"{NAMES[column]} {shape}{note}", spread(self.book.get(alone, column)),
                                     spread(self.book.get(figure, column)),
                                     middle(self.book.ratios(figure, column, alone, column))])
        return table("lib_version calls/s without and with idle TLS sessions; (a) while they are virtgate's",
                     ["", "without", "with", "ratio"], rows)

    def storm(self):
        rows = []
        for column in self.columns:
            for nice, text in ((0, "as the machine can"), (19, "at nice 19, as if from elsewhere")):
                figure = f"calls 1x1, storm nice {nice}"
                if self.book.get(figure, column):
                    rows.append([f"{NAMES[column]}, {text}", spread(self.book.get("calls 1x1, calm", column)),
                                 spread(self.book.get(figure, column)),
                                 middle(self.book.ratios(figure, column, "calls 1x1, calm", column)),
                                 spread(self.book.get(f"storm nice {nice} sessions/s", column))])
        title = "lib_version calls/s of one client while 8 threads make new RSA sessions; (a): of virtgate"
        return table(title, ["", "calm", "during", "ratio", "sessions/s"], rows)

    def policy(self):
        rows = []
        for shape in ("1x1", "16x4"):
            figure = f"policy {shape} calls/s"
            if not self.book.get(figure, "free"):
                continue
            for name, label in (("direct", "no policy: libvirtd's UNIX socket"), ("free", "may do everything"),
                                ("rules", "object rules, 1,000 domains")):
                ratio = self.book.ratios(figure, name, figure, "free")
                limit = judge(ratio, 0.85, True) if name == "rules" else ""
                rows.append([f"{shape} {label}", spread(self.book.get(figure, name)), middle(ratio), limit])
        lines = table("domain_xml calls/s by the rights of the caller", ["", "calls/s", "to everything", "target"], rows)
        rows = []
        for name, label in (("free", "may do everything"), ("rules", "object rules")):
            if self.book.get("policy p99, calm", name):
                ratio = self.book.ratios("policy p99, flood", name, "policy p99, calm", name)
                rows.append([label, spread(self.book.get("policy p99, calm", name)),
                             spread(self.book.get("policy p99, flood", name)), middle(ratio),
                             judge(ratio, 1.2, False)])
        title = "p99 us of one client's calls while another identity calls far above its limit (100 calls/s)"
        lines += table(title, ["", "calm", "during", "ratio", "target"], rows)
        rows = []
        for figure, label, limit in (("compile_ms", "compile, ms", 200), ("decide_ns", "decide about one object, ns", 2000),
                                     ("need_ns", "find out that there is nothing to decide, ns", 200)):
            if values := self.book.get(f"policy {figure}", "c"):
                rows.append([label, spread(values), judge(values, limit, False)])
        return lines + table("A policy of 10,000 bindings", ["", "takes", "target"], rows)

    def streams(self):
        modes = ("upload", "download")
        lines = self._table("Volume streams, MB/s", "a", [(mode, f"{mode} MB/s") for mode in modes])
        figures = [f"{mode} CPU " for mode in modes]
        return lines + self._by_process("CPU s per GB of stream, by process", "", figures, modes)

    def volumes(self):
        rows = []
        for mode in ("upload", "download"):
            figure = f"store {mode} MB/s"
            if values := self.book.get(figure, "c"):
                ratios = self.book.ratios(figure, "c", figure, "raw")
                rows.append([f"{mode} MB/s", spread(self.book.get(figure, "raw")), spread(values), spread_ratio(ratios),
                             judge(ratios, 0.7, True)])
                rows.append(["    as much as the CPUs allow", "", "", spread_ratio(self.book.get(f"store {mode} most", "c")), ""])
        if values := self.book.get("plain write MB/s", "c"):
            rows.append(["a file written there, and fsync, MB/s", "", spread(values), "", ""])
        lines = table("virtgate's own store over TLS, and what GnuTLS alone moves in one direction",
                      ["", "GnuTLS", "store", "ratio", "target"], rows)
        rows = []
        modes = ("upload", "download")
        for name in self._names("store upload CPU ", "c"):
            found = [self.book.get(f"store {mode} CPU {name}", "c") for mode in modes]
            if any(value >= NOTHING for values in found for value in values):
                rows.append([name, *map(spread, found)])
        if values := self.book.get("plain write CPU", "c"):
            rows.append(["a file written there, and fsync", spread(values), ""])
        lines += table("Where the store's streams take their CPU time, s per GB", ["", *modes], rows)
        rows = []
        for name, label in (("relay", "through the relay"), ("store", "from the store")):
            if values := self.book.get(f"share {name}", "c"):
                rows.append([f"{label}: most to least", spread(values), judge(values, 1.5, False)])
                values = self.book.get(f"call beside {name} p99", "c")
                rows.append(["    a call beside them, p99 ms", spread(values), judge(values, 20, False)])
        lines += table("Eight downloads at a time", ["", "reached", "target"], rows)
        rows = []
        for figure, column in sorted(self.book.values):
            if figure.startswith("sparse growth "):
                values = self.book.get(figure, column)
                rows.append([figure.removeprefix("sparse growth "), spread(values), judge(values, 4, False)])
        if values := self.book.get("sparse MB", "client"):
            rows.append(["virtgate download: peak, not growth", spread(values), ""])
        return lines + table("Peak memory, MB more, by a download of 100 GB that are holes (--quick: 1 GB)",
                             ["", "grew", "target"], rows)

    def sandbox(self):
        rows = []
        figures = [(f"{shape} calls/s", f"sandbox {shape} calls/s", 0.97, True) for shape in ("1x1", "1x8", "16x4")]
        figures += [(f"{shape} CPU us per call", f"sandbox {shape} CPU", None, False) for shape in ("1x1", "1x8", "16x4")]
        figures += [(f"{mode} MB/s", f"sandbox {mode} MB/s", 0.97, True) for mode in ("upload", "download")]
        for label, figure, limit, at_least in figures:
            if values := self.book.get(figure, "confined"):
                ratios = self.book.ratios(figure, "confined", figure, "open")
                rows.append([label, spread(self.book.get(figure, "open")), spread(values), spread_ratio(ratios),
                             judge(ratios, limit, at_least)])
        title = "What the confinement costs: virtgate with sandbox = \"off\" and as shipped"
        return table(title, ["", "off", "confined", "ratio", "target"], rows)

    def locks(self):
        rows = []
        for shape, clients in ((1, "one client"), (4, "four clients")):
            for label, figure, limit, at_least in ((f"{clients}: calls/s", f"locks {shape} calls/s", 1.5, True),
                                                   (f"{clients}: p99 us", f"locks {shape} p99", 0.7, False)):
                if values := self.book.get(figure, "ours"):
                    ratios = self.book.ratios(figure, "ours", figure, "virtlockd")
                    rows.append([label, spread(self.book.get(figure, "virtlockd")), spread(values),
                                 spread_ratio(ratios), judge(ratios, limit, at_least)])
        if values := self.book.get("locks idle MB", "ours"):
            rows.append(["10,000 idle clients: MB", "", spread(values), "", judge(values, 64, False)])
        return table("Locks: acquire and release of a file, in direct mode",
                     ["", "virtlockd", "virtgate-lockd", "ratio", "target"], rows)
