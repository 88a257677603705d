"""Draws what swap_policies found: swap_charts.py <its JSON> <folder for the charts>; benchmarks/run calls it."""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "versus", "driver"))

from chart import chart  # noqa: E402


def waits(study, figure):
    """Bars: for each model and tenant, how long its requests waited under each policy."""
    names = [wait["name"] for wait in study["rows"][0]["waits"]]
    return [(name, [(row["contender"], next(wait[figure] for wait in row["waits"] if wait["name"] == name))
                    for row in study["rows"]]) for name in names]


def main():
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} <JSON of swap_policies> <folder>")
    with open(sys.argv[1], encoding="utf-8") as file:
        studies = json.load(file)["swap"]
    for study in studies:
        svg = chart(f"{study['name']}: {study['what']}", "p99 of the waits in seconds", waits(study, "p99_s"))
        with open(os.path.join(sys.argv[2], f"simulation_swap_{study['name']}.svg"), "w", encoding="utf-8") as file:
            file.write(svg)
    print(f"{len(studies)} charts: {os.path.join(sys.argv[2], 'simulation_swap_*.svg')}")


if __name__ == "__main__":
    main()
