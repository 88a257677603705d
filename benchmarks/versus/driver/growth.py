"""How costs grow: of workloads that are named group_growth/operation/size:1/other:2, lines over logarithmic axes."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "simulation"))

from lines import Panel, picture  # noqa: E402


def sizes_of(workload):
    """'swap_growth/x/queued:10/models:5' is ('swap_growth', 'x', {'queued': 10, 'models': 5}); None if it is no such name."""
    match = re.fullmatch(r"(\w+_growth)/(\w+)((?:/\w+:\d+)+)", workload)
    if not match:
        return None
    sizes = {name: int(value) for name, value in re.findall(r"/(\w+):(\d+)", match.group(3))}
    return match.group(1), match.group(2), sizes


def lines_over(points, name, others):
    """Of the points whose other sizes are these: (who, [(size, cost)...])..."""
    lines = {}
    for who, sizes, cost in points:
        if cost > 0 and {key: value for key, value in sizes.items() if key != name} == others:
            lines.setdefault(who, []).append((sizes[name], cost))
    return [(who, sorted(line)) for who, line in lines.items()]


def panels_of(operation, unit, points):
    """One for each size that takes at least three values while the others stay the same."""
    for name in dict.fromkeys(name for _, sizes, _ in points for name in sizes):
        seen = dict.fromkeys(tuple((key, value) for key, value in sizes.items() if key != name)
                             for _, sizes, _ in points)
        for others in seen:
            lines = [line for line in lines_over(points, name, dict(others)) if len(line[1]) > 1]
            if max((len(line) for _, line in lines), default=0) >= 3:
                given = ", ".join(f"{value} {key}" for key, value in others)
                yield Panel(f"{operation}: {unit}, {given}", lines, log_x=True, log_y=True, unit_x=name)


def growths(rows):
    """Maps file names to SVG texts."""
    found = {}
    for row in rows:
        named = sizes_of(row["workload"])
        if not named or row["unit"].startswith("CPU "):
            continue
        group, operation, sizes = named
        points = found.setdefault(group, {}).setdefault((operation, row["unit"]), {})
        points[("ours", tuple(sizes.items()))] = row["ours"]
        if row["peer"]:
            points[(row["peer"], tuple(sizes.items()))] = row["peer_value"]
    for group, operations in found.items():
        panels = [panel for (operation, unit), points in operations.items()
                  for panel in panels_of(operation, unit, [(who, dict(sizes), cost)
                                                           for (who, sizes), cost in points.items()])]
        if panels:
            title = f"{group.replace('_', ' ')}: cost against size, both logarithmic; lower and flatter is better"
            yield f"{group}.svg", picture(title, panels, columns=2, width=420, height=260)
