"""Lines over axes, as SVG: panels one below the other, or in columns."""
import math
from xml.sax.saxutils import escape

COLOURS = ("#8b949e", "#db6d28", "#2da44e", "#a371f7", "#cf222e", "#d4a72c")
OURS = "#1f6feb"


class Axis:
    """From numbers to places. A logarithmic one begins at `low` or, if that is not given, below the least value."""

    def __init__(self, values, log=False, low=None):
        values = [value for value in values if value > 0 or not log] or [1]
        self.log = log
        self.low = low if low is not None else min(values)
        self.high = max(max(values), self.low * 1.01 + (0 if log else 1e-9))
        if log:
            self.low = 10.0 ** math.floor(math.log10(self.low) + 1e-9) if low is None else low

    def place(self, value):
        """In [0, 1]."""
        if self.log:
            return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self):
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            steps = (1,) if last - first > 1 else (1, 2, 5)
            found = [step * 10.0 ** power for power in range(first - 1, last + 1) for step in steps]
            return [tick for tick in found if self.low <= tick * 1.0001 and tick <= self.high * 1.0001]
        size = 10.0 ** math.floor(math.log10(self.high - self.low))
        step = next(step * size for step in (0.2, 0.5, 1, 2) if (self.high - self.low) / (step * size) <= 5.5)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def text_of(value):
    for name, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:.3g}"


class Panel:
    """`lines`: (name, [(x, y)...])...; `dots`: (name, x, y)...; `marks`: (name, y)... are lines across."""

    def __init__(self, title, lines, dots=(), marks=(), log_x=False, log_y=False, low_y=None, unit_x=""):
        self.title, self.lines, self.dots, self.marks, self.unit_x = title, lines, dots, marks, unit_x
        xs = [x for _, points in lines for x, _ in points] + [x for _, x, _ in dots]
        ys = [y for _, points in lines for _, y in points] + [y for _, _, y in dots] + [y for _, y in marks]
        self.x = Axis(xs, log_x)
        self.y = Axis(ys, log_y, low_y)

    def draw(self, left, top, width, height, colours):
        def at(x, y):
            return left + width * self.x.place(x), top + height * (1 - self.y.place(y))

        bottom = top + height
        out = [f'<text x="{left}" y="{top - 6}" font-weight="bold">{escape(self.title)}</text>',
               f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#d0d7de"/>']
        for tick in self.y.ticks():
            y = at(self.x.low, tick)[1]
            out.append(f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eaeef2"/>'
                       f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{text_of(tick)}</text>')
        for tick in self.x.ticks():
            x = at(tick, self.y.low)[0]
            out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="#eaeef2"/>'
                       f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{text_of(tick)}</text>')
        if self.unit_x:
            out.append(f'<text x="{left + width}" y="{bottom + 28}" text-anchor="end">{escape(self.unit_x)}</text>')
        for name, value in self.marks:
            x, y = at(self.x.low, value)
            out.append(f'<line x1="{x}" x2="{x + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#24292f" '
                       f'stroke-dasharray="5 4"/><text x="{x + 4}" y="{y - 4:.1f}">{escape(name)}</text>')
        for name, points in self.lines:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
            out.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="1.3"/>')
        for name, x, y in self.dots:
            x, y = at(x, y)
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colours[name]}"/>')
        return out

    def names(self):
        return [name for name, _ in self.lines] + [name for name, _, _ in self.dots]


def picture(title, panels, columns=1, width=760, height=170):
    """The panels from left to right, then down, with one legend."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.names()))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(name for name in names if name != "ours")}
    colours["ours"] = OURS
    rows = math.ceil(len(panels) / columns)
    step_x, step_y = width + 70, height + 56
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * step_x + 20}" height="{70 + rows * step_y}" '
           f'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="10" y="18" font-size="14" font-weight="bold">{escape(title)}</text>']
    place = 10.0
    for name in names:
        out.append(f'<rect x="{place:.0f}" y="28" width="10" height="10" fill="{colours[name]}"/>'
                   f'<text x="{place + 14:.0f}" y="37">{escape(name)}</text>')
        place += 30 + 6.5 * len(name)
    for i, panel in enumerate(panels):
        out += panel.draw(60 + i % columns * step_x, 66 + i // columns * step_y, width, height, colours)
    return "\n".join(out + ["</svg>", ""])
