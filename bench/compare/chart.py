# SPDX-License-Identifier: MIT
"""A chart of the results: a panel per case, a bar per contestant, as SVG."""

import statistics
from xml.sax.saxutils import escape

from . import figures

COLOURS = {"vblk": "#1f6fb4", "qsd": "#d97b29", "plain": "#8a8f98"}
COLUMNS = 3
WIDTH, MARGIN, GAP = 400, 24, 28  # of a panel, around all, between panels
LABEL, VALUE = 104, 70  # room beside the bars
BAR, STEP, TITLE = 15, 21, 30

FIGURES = {
    "iops": (figures.iops, "IOPS", 1e3, "k"),
    "bandwidth": (figures.bandwidth, "GiB/s", 2**30, ""),
    "p50": (figures.p50, "latency p50, us: less is better", 1, ""),
    "cpu": (figures.cpu, "CPU of the serving process per request, us: less is better", 1, ""),
}


def panels_of(cases):
    """Which figures of which cases are shown, in order."""
    panels = []
    for case in cases:
        panels.append((case.name, "bandwidth" if case.block != "4k" else "iops"))
        if case.depth == 1:
            panels.append((case.name, "p50"))
        if case.name == "randread 4k depth 32":
            panels.append((case.name, "cpu"))
    return panels


def text(x, y, words, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'


def number(value):
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def panel(results, case, key, names, x, y):
    """The SVG of one panel at (x, y)."""
    figure, unit, scale, suffix = FIGURES[key]
    bars = []
    for name in names:
        values = [value / scale for value in results.values(case, name, figure).values()]
        if values:
            bars.append((name, statistics.median(values), min(values), max(values)))
    most = max((high for _, _, _, high in bars), default=1) or 1
    room = WIDTH - LABEL - VALUE
    out = [text(x, y + 12, case, 'class="title"'), text(x, y + 25, unit, 'class="unit"')]
    for i, (name, median, low, high) in enumerate(bars):
        top = y + TITLE + 4 + i * STEP
        left, middle = x + LABEL, top + BAR / 2
        colour = COLOURS[name.split()[0]]
        out.append(text(left - 6, middle + 4, name, 'class="name"'))
        width = max(median / most * room, 1)
        out.append(
            f'<rect x="{left}" y="{top}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>'
        )
        if high > low:
            a, b = left + low / most * room, left + high / most * room
            out.append(f'<path d="M{a:.1f} {middle}H{b:.1f}" class="spread"/>')
            for end in (a, b):
                out.append(f'<path d="M{end:.1f} {middle - 3}v6" class="spread"/>')
        edge = left + max(width, high / most * room if high > low else 0)
        out.append(text(edge + 5, middle + 4, number(median) + suffix, 'class="value"'))
    if not bars:
        out.append(text(x + LABEL, y + TITLE + 16, "not measured", 'class="unit"'))
    return out


def draw(results, cases, names, subtitle):
    """The whole chart."""
    panels = panels_of(cases)
    height = TITLE + STEP * len(names) + GAP
    rows = (len(panels) + COLUMNS - 1) // COLUMNS
    total_width = 2 * MARGIN + COLUMNS * WIDTH + (COLUMNS - 1) * GAP
    total_height = 2 * MARGIN + 52 + rows * height
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total_width}" height="{total_height}" '
        f'viewBox="0 0 {total_width} {total_height}">',
        "<style>text{font-family:sans-serif;font-size:11px;fill:#222}.title{font-weight:bold;"
        "font-size:13px}.unit{fill:#666}.name{text-anchor:end}.head{font-size:18px;"
        "font-weight:bold}.spread{stroke:#111;stroke-width:1;fill:none}</style>",
        f'<rect width="{total_width}" height="{total_height}" fill="#fff"/>',
        text(MARGIN, MARGIN + 14, "vblk, qemu-storage-daemon and the file itself", 'class="head"'),
        text(MARGIN, MARGIN + 34, subtitle, 'class="unit"'),
    ]
    for i, (case, key) in enumerate(panels):
        x = MARGIN + i % COLUMNS * (WIDTH + GAP)
        y = MARGIN + 52 + i // COLUMNS * height
        out += panel(results, case, key, names, x, y)
    out.append("</svg>")
    return "\n".join(out) + "\n"
