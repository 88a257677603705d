"""Draws what provider_road found: charts.py <its JSON> <folder for the charts>; benchmarks/run calls it."""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "versus", "driver"))

from chart import chart  # noqa: E402
from lines import Panel, picture  # noqa: E402

SCALERS = ("document", "ours")
TRIMS = ("poison pill", "idle timeout", "low water")
TIME, RATE, WORKERS, QUEUED, IN_FLIGHT, LIMIT = range(6)  # of a moment


def over_time(scenario):
    """The rate, workers and queue of the number of workers that costs as much as ours, the document's, and ours."""
    rows = [row for row in scenario["rows"] if row["contender"] in SCALERS]
    rows.insert(0, scenario["rows"][0])

    def lines(figure):
        return [(row["contender"], [(moment[TIME], moment[figure]) for moment in row["moments"]]) for row in rows]

    rate = [("jobs/s", [(moment[TIME], moment[RATE]) for moment in rows[0]["moments"]])]
    return picture(f"{scenario['name']}: {scenario['what']}", [
        Panel("workers", lines(WORKERS), low_y=0), Panel("queue", lines(QUEUED), low_y=0),
        Panel("jobs per second that arrive", rate, low_y=0, unit_x="seconds")])


def costs(scenarios):
    """For each scenario, the p99 and the cost of each number of workers that never changes, and of the scalers."""
    panels = []
    for scenario in scenarios:
        fixed = [(row["worker_seconds"], row["p99_s"]) for row in scenario["fixed_sizes"]]
        dots = [(row["contender"], row["worker_seconds"], row["p99_s"]) for row in scenario["rows"]
                if row["contender"] in SCALERS]
        panels.append(Panel(f"{scenario['name']}: p99 in seconds", [("any fixed number", fixed)], dots, log_y=True,
                            low_y=1, unit_x="worker-seconds"))
    return picture("p99 of the served jobs against worker-seconds: further left and lower is better", panels, columns=2,
                   width=400, height=220)


def limits(scenarios, unit, figure):
    """Bars: a figure of each limit, and of ours, in each scenario."""
    groups = [(scenario["name"], [(row["contender"], figure(row)) for row in scenario["rows"]
                                  if row["contender"] != "document" and row not in scenario["rows"][:2]])
              for scenario in scenarios]
    return chart("limits", unit, groups)


def drift(found, by_formula, title):
    lines = [(line["name"], [(calls, limit) for calls, _, limit in line["points"]])
             for line in found["lines"] if line["by_formula"] == by_formula]
    panel = Panel("limit", lines, marks=[(f"{found['slots']} slots", found["slots"])], log_x=True, log_y=True,
                  unit_x="calls that have ended")
    return picture(title, [panel], height=360)


def elastic(loads):
    """The workers of an elastic pool over time: the tasks that run, and the three ways to let idle workers go."""
    panels = []
    for load in loads:
        rows = [row for row in load["rows"] if row["contender"] in TRIMS]
        lines = [("tasks", [(time, busy) for time, _, busy in rows[0]["moments"]])]
        lines += [(row["contender"], [(time, live) for time, live, _ in row["moments"]]) for row in rows]
        panels.append(Panel(f"{load['name']}: {load['what']}", lines, low_y=0, unit_x="seconds"))
    return picture("Workers of an elastic pool, by trim policy", panels)


def main():
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} <JSON of provider_road> <folder>")
    with open(sys.argv[1], encoding="utf-8") as file:
        found = json.load(file)
    scenarios = found["scenarios"]
    charts = {scenario["name"]: over_time(scenario) for scenario in scenarios}
    charts["costs"] = costs(scenarios)
    charts["limits_p99"] = limits(scenarios, "p99 of the served jobs in seconds", lambda row: row["p99_s"])
    charts["limits_lost"] = limits(scenarios, "jobs that were not served, per mille",
                                   lambda row: 1000 * (1 - row["served"] / row["arrived"]))
    charts["drift"] = drift(found["drift"], True, "A load that never ends, by the formula of a queue: no delay, no chance")
    charts["drift_events"] = drift(found["drift"], False, "A load that never ends, call by call, with windows of a second")
    charts["elastic"] = elastic(found["elastic"])
    for name, svg in charts.items():
        with open(os.path.join(sys.argv[2], f"simulation_{name}.svg"), "w", encoding="utf-8") as file:
            file.write(svg)
    print(f"{len(charts)} charts: {os.path.join(sys.argv[2], 'simulation_*.svg')}")


if __name__ == "__main__":
    main()
