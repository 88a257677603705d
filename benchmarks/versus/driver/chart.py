"""Bars on a logarithmic axis, as SVG, with lines where the hardware's limits are."""
import math
import re
from xml.sax.saxutils import escape

COLOURS = ("#1f6feb", "#8b949e", "#d4a72c", "#2da44e", "#a371f7", "#db6d28", "#f778ba", "#17a2b8", "#7a4a1e", "#24292f")
LEFT, PLOT, RIGHT, BAR, GAP, TOP = 190, 620, 90, 9, 8, 64


def ticks(low, high):
    return [10.0 ** power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]


def short(value):
    for name, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:.3g}"


def chart(title, unit, groups, limits=()):
    """`groups`: (label, [(name, value)...])...; `limits`: (label, value)... in the same unit."""
    values = [value for _, bars in groups for _, value in bars if value > 0]
    if not values:
        return ""
    names = list(dict.fromkeys(name for _, bars in groups for name, _ in bars))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    low = 10.0 ** math.floor(math.log10(min(values)) - 1e-9)
    high = 10.0 ** math.ceil(math.log10(max(values)) + 1e-9)

    def x(value):
        return LEFT + PLOT * math.log(max(value, low) / low) / math.log(high / low)

    height = TOP + sum(len(bars) * BAR + GAP for _, bars in groups) + 30
    bottom = height - 24
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + PLOT + RIGHT}" height="{height}" '
           f'font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="10" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
           f'<text x="{LEFT + PLOT}" y="18" text-anchor="end">{escape(unit)}, logarithmic; less is better</text>']
    place = 10.0
    for name in names:
        out.append(f'<rect x="{place}" y="28" width="10" height="10" fill="{colours[name]}"/>'
                   f'<text x="{place + 14}" y="37">{escape(name)}</text>')
        place += 26 + 6.5 * len(name)
    for tick in ticks(low, high):
        out.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP - 6}" y2="{bottom}" stroke="#d0d7de"/>'
                   f'<text x="{x(tick):.1f}" y="{bottom + 14}" text-anchor="middle">{short(tick)}</text>')
    y = TOP
    for label, bars in groups:
        out.append(f'<text x="{LEFT - 8}" y="{y + len(bars) * BAR / 2 + 4}" text-anchor="end">{escape(label)}</text>')
        for name, value in bars:
            out.append(f'<rect x="{LEFT}" y="{y}" width="{max(x(value) - LEFT, 1):.1f}" height="{BAR - 1}" '
                       f'fill="{colours[name]}"/>'
                       f'<text x="{x(value) + 4:.1f}" y="{y + BAR - 1}" font-size="9">{short(value)}</text>')
            y += BAR
        y += GAP
    for label, value in limits:
        if low <= value <= high:
            out.append(f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP - 6}" y2="{bottom}" stroke="#cf222e" '
                       f'stroke-dasharray="4 3"/><text x="{x(value):.1f}" y="{TOP - 9}" text-anchor="middle" '
                       f'fill="#cf222e" font-size="9">{escape(label)} {short(value)}</text>')
    return "\n".join(out + ["</svg>", ""])


def title_of(workload):
    """A chart for each size of value of a group of workloads."""
    return "/".join(re.match(r"([^/]+)(?:/(bytes:\d+|processors:\d+))?", workload).group(0).split("/"))


def charts(rows, limits):
    """Maps file names to SVG texts. `limits` are nanoseconds."""
    found = {}
    for row in rows:
        if row["peer"] and not row["unit"].startswith("CPU "):
            bars = found.setdefault((title_of(row["workload"]), row["unit"]), {}).setdefault(row["workload"], {})
            bars.setdefault("penstock", row["ours"])
            bars[row["peer"]] = row["peer_value"]
    for (title, unit), workloads in found.items():
        groups = [(workload[len(title):].strip("/") or title, list(bars.items()))
                  for workload, bars in workloads.items()]
        svg = chart(title, unit, groups, limits if "ns" in unit.split() else ())
        if svg:
            name = re.sub(r"[^a-z0-9]+", "_", f"{title} {'' if unit.startswith('ns per') else unit}".lower()).strip("_")
            yield f"{name}.svg", svg
