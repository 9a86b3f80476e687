# SPDX-License-Identifier: MIT
"""What is aimed at, and whether it is met."""

import statistics
from dataclasses import dataclass, field

from . import figures

VBLK = ("vblk sync", "vblk mmap", "vblk uring")
QSD = ("qsd threads", "qsd io_uring")
READ, WRITE = "randread 4k depth 32", "randwrite 4k depth 32"


@dataclass
class Row:
    what: str
    value: float = None
    low: float = None
    high: float = None
    bound: float = 0
    at_least: bool = True  # or at most
    unit: str = "x"
    note: str = ""
    ratios: list = field(default_factory=list)

    def target(self):
        return f"{'>=' if self.at_least else '<='} {self.bound:g}{self.unit}"

    def met(self):
        if self.value is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def compare(results, what, figure, one, other, bound, at_least=True):
    """A row for the ratio of `one` to `other`, each a case and a contestant that may be None."""
    row = Row(what, bound=bound, at_least=at_least)
    for case, contestant in (one, other):
        if contestant is None:
            row.note = "no contestant could be measured"
        elif not results.values(case, contestant, figure):
            row.note = f"{contestant}: {results.why(case, contestant)}"
    if row.note:
        return row
    row.ratios = results.ratios(figure, one, other)
    row.value, row.low, row.high = statistics.median(row.ratios), min(row.ratios), max(row.ratios)
    row.note = f"{one[1]} / {other[1]}" if one[1] != other[1] else one[1]
    return row


def against(results, what, figure, case, one, others, bound, pick=max):
    """Against the best of `others`; where less is better (pick=min), the bound is an upper one."""
    other = results.best(case, others, figure, pick)
    return compare(results, what, figure, (case, one), (case, other), bound, pick is max)


def ratio_rows(results):
    """The targets that are ratios of runs. Where no engine is named, the best one counts."""
    iops, plain = figures.iops, ("plain preadv",)
    rows = [
        against(results, "random read, io_uring engine : preadv", iops, READ, "vblk uring", plain, 1.1),
        against(results, "random read, io_uring engine : qsd", iops, READ, "vblk uring", QSD, 4),
        against(results, "random read, mapping engine : preadv", iops, READ, "vblk mmap", plain, 1.8),
        against(results, "random read, mapping engine : qsd", iops, READ, "vblk mmap", QSD, 6),
        against(results, "random read, worker engine : preadv", iops, READ, "vblk sync", plain, 0.9),
    ]
    best = results.best(WRITE, VBLK, iops)
    rows += [
        against(results, "random write : pwritev", iops, WRITE, best, plain, 0.9),
        against(results, "random write : qsd", iops, WRITE, best, QSD, 4),
    ]
    case = "randread 4k depth 1"
    best = results.best(case, VBLK, figures.p50, min)
    rows.append(against(results, "latency p50, depth 1 : qsd", figures.p50, case, best, QSD, 0.6, min))
    best = results.best(READ, VBLK, figures.cpu, min)
    rows.append(against(results, "CPU of a random read : qsd", figures.cpu, READ, best, QSD, 0.25, min))
    case = "read 128k depth 8"
    best = results.best(case, VBLK, figures.bandwidth)
    rows.append(
        against(results, "128k read, bandwidth : preadv", figures.bandwidth, case, best, plain, 0.95)
    )
    case = "disk randread 4k depth 32"
    rows.append(
        against(
            results,
            "O_DIRECT read, io_uring engine : io_uring",
            iops,
            case,
            "vblk uring",
            ("plain io_uring",),
            0.95,
        )
    )
    for name in VBLK:
        four = f"{READ} x4 queues"
        rows.append(
            compare(results, "four queues : one queue", iops, (four, name), (READ, name), 1.0)
        )
    return rows


def counted_rows(counts):
    """The targets that are counted by programs of their own; `counts` is what those say."""
    rows = []

    def add(what, key, value_of, bound, at_least, unit, note=""):
        row = Row(what, bound=bound, at_least=at_least, unit=unit, note=note)
        answer = counts.get(key, {"error": "not measured"})
        if "error" in answer:
            row.note = answer["error"]
        else:
            row.value = value_of(answer)
        rows.append(row)

    add("instructions of a 4k read", "instructions", lambda a: a["device"], 500, False, "")
    seconds = counts.get("idle", {}).get("seconds", 0)
    add(
        "wake-ups of an idle device",
        "idle",
        lambda a: a["wakeups"],
        0,
        False,
        "",
        f"in {seconds} s",
    )
    add(
        "memory of an idle device of 1000, stacks included",
        "idle1000",
        lambda a: a["bytes_per_device"] / 1024,
        64,
        False,
        " KiB",
    )
    add("two queues on a core each : one queue", "scaling", lambda a: a["ratio"], 1.8, True, "x")
    return rows


def table(rows):
    """The lines of the table."""
    head = ("what", "measured", "spread", "target", "met", "")
    lines = [head]
    for row in rows:
        shown = "-" if row.value is None else f"{row.value:.2f}{row.unit}"
        spread = "" if row.low is None else f"{row.low:.2f}..{row.high:.2f}"
        met = {True: "yes", False: "no", None: "-"}[row.met()]
        lines.append((row.what, shown, spread, row.target(), met, row.note))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
        for line in lines
    ]
