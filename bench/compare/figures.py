# SPDX-License-Identifier: MIT
"""What is read from reports, and how runs of the same round are set against each other."""

import statistics


def iops(report):
    return report["read"]["iops"] + report["write"]["iops"]


def bandwidth(report):
    return report["read"]["bw_bytes"] + report["write"]["bw_bytes"]


def p50(report):
    """Of what there was more of, in microseconds."""
    more = max(("read", "write"), key=lambda kind: report[kind]["total_ios"])
    return report[more]["lat_ns"]["p50"] / 1e3


def cpu(report):
    """Of the serving process per request, in microseconds; None if it is not known."""
    value = report["serving_cpu_ns_per_request"]
    return None if value is None else value / 1e3


class Results:
    """All reports: by case and contestant, a list with one a round."""

    def __init__(self):
        self.runs = []
        self.missing = {}  # (case, contestant): why

    def add(self, case, contestant, number, report):
        self.runs.append(
            {"case": case, "contestant": contestant, "round": number, "report": report}
        )

    def values(self, case, contestant, figure):
        """By round."""
        return {
            run["round"]: figure(run["report"])
            for run in self.runs
            if (run["case"], run["contestant"]) == (case, contestant)
            and figure(run["report"]) is not None
        }

    def median(self, case, contestant, figure):
        values = self.values(case, contestant, figure).values()
        return statistics.median(values) if values else None

    def best(self, case, contestants, figure, pick=max):
        """The contestant with the best median, or None."""
        medians = {name: self.median(case, name, figure) for name in contestants}
        known = {name: value for name, value in medians.items() if value is not None}
        return pick(known, key=known.get) if known else None

    def ratios(self, figure, one, other):
        """Of two (case, contestant), round by round: what disturbs a round disturbs both."""
        a, b = self.values(*one, figure), self.values(*other, figure)
        return [a[number] / b[number] for number in sorted(a) if number in b and b[number] > 0]

    def why(self, case, contestant):
        return self.missing.get((case, contestant), "not measured")
