#!/usr/bin/env python3
"""Prints results of Google Benchmark (JSON files) as one table of ratios.

A benchmark is named component/operation, and a rival measured beside it component/operation@rival; arguments follow as
in component/operation@rival/capacity:64/threads:2. The ratio is the rival's time over ours: above 1, ours is faster.
"""
import json
import re
import sys

UNITS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


def load(paths):
    """Maps (benchmark name without rival, rival or '') to nanoseconds an iteration; the median if there is one."""
    times, failures, context = {}, [], {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        context = data.get("context", context)
        for run in data["benchmarks"]:
            if run.get("error_occurred"):
                failures.append(f"{run['name']}: {run.get('error_message', 'failed')}")
                continue
            aggregate = run.get("aggregate_name", "")
            if aggregate not in ("", "median"):
                continue
            name = run.get("run_name", run["name"])
            name = re.sub(r"/(real_time|process_time|manual_time|repeats:\d+|min_time:[^/]+)", "", name)
            rival = ""
            match = re.search(r"@([^/]+)", name)
            if match:
                rival = match.group(1)
                name = name.replace(match.group(0), "")
            time = run["real_time"] * UNITS[run["time_unit"]]
            seen = times.get((name, rival))
            if seen is None or aggregate == "median":
                times[(name, rival)] = (time, aggregate)
    return {key: value[0] for key, value in times.items()}, failures, context


def short(nanoseconds):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def table(times):
    rows = [("benchmark", "penstock", "rival", "rival's time", "ratio")]
    for name in sorted({name for name, _ in times}):
        ours = times.get((name, ""))
        rivals = sorted(rival for other, rival in times if other == name and rival)
        mine = short(ours) if ours is not None else "-"
        if not rivals:
            rows.append((name, mine, "", "", ""))
        for rival in rivals:
            theirs = times[(name, rival)]
            ratio = f"{theirs / ours:.2f}" if ours else "-"
            rows.append((name, mine, rival, short(theirs), ratio))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].ljust(widths[2]), row[3].rjust(widths[3]),
                 row[4].rjust(widths[4])]
        lines.append("  ".join(cells).rstrip())
    return lines


def main():
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} <result.json>...")
    times, failures, context = load(sys.argv[1:])
    print("\n".join(table(times)))
    print()
    print("ratio: the rival's time over ours, in the same run; above 1 ours is faster")
    if context.get("library_build_type") == "debug":
        print("Google Benchmark itself was built without NDEBUG here, as Debian does; it adds the same to both sides")
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    if not times:
        sys.exit("no results")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
