#!/usr/bin/env python3
"""The charts of benchmarks/simulation, from made-up results."""
import json
import os
import subprocess
import sys
import xml.etree.ElementTree

project, folder = sys.argv[1:]
sys.dont_write_bytecode = True
sys.path.insert(0, f"{project}/benchmarks/simulation")

from lines import Axis, Panel, picture  # noqa: E402

# Places are in proportion, or in that of their logarithms; ticks are round and inside.
axis = Axis([10, 45], low=0)
assert axis.place(0) == 0 and axis.place(45) == 1 and axis.ticks() == [0, 10, 20, 30, 40], axis.ticks()
axis = Axis([3, 0, 1000], log=True)
assert axis.low == 1 and abs(axis.place(1000) - 1) < 1e-9 and axis.place(0) == 0, axis.low
assert [round(tick) for tick in axis.ticks()] == [1, 10, 100, 1000], axis.ticks()
assert [round(tick, 9) for tick in Axis([1, 12], log=True, low=1).ticks()] == [1, 2, 5, 10]
# What never changes, or is not there, can be drawn as well.
for values in ([], [0], [5, 5]):
    for log in (False, True):
        axis = Axis(values, log)
        assert axis.high > axis.low and all(0 <= axis.place(tick) <= 1.0001 for tick in axis.ticks()), values

svg = picture("a < b", [Panel("p", [("ours", [(0, 1), (2, 3)]), ("x", [(1, 1)])], dots=[("y", 1, 2)])])
tree = xml.etree.ElementTree.fromstring(svg)
colours = [line.get("stroke") for line in tree.iter("{http://www.w3.org/2000/svg}polyline")]
assert len(colours) == 2 and colours[0] != colours[1], colours


def row(contender, moments):
    return {"contender": contender, "arrived": 100, "served": 90, "rejected": 10, "failed": 0, "p50_s": 0.5, "p99_s": 2.5,
            "worker_seconds": 1000, "use": 0.5, "most_workers": 9,
            **({"moments": [[1, 20, 4, 0, 3, 0], [2, 20, 5, 7, 3, 0]]} if moments else {})}


rows = [row(name, True) for name in ("fixed 5", "fixed 7", "document", "ours", "fixed limit", "gradient2")]
found = {"seeds": 1, "scenarios": [{"name": name, "what": "a & b", "rows": rows, "fixed_sizes": [row("fixed 5", False),
                                                                                                row("fixed 7", False)]}
                                   for name in ("step", "spike")],
         "drift": {"slots": 50, "lines": [{"name": "vegas", "by_formula": by_formula, "has_probe": False,
                                           "points": [[1, 0.1, 20], [10, 0.2, 60]]} for by_formula in (True, False)]},
         "elastic": [{"name": name, "what": "a & b", "rows": [
             {"contender": contender, "to_floor_s": None, "moments": [[0, 0, 0], [1, 9, 4], [2, 9, 0]]}
             for contender in ("thread per task", "never trimmed", "poison pill", "idle timeout", "low water")]}
             for name in ("bursts", "steady")]}
os.makedirs(folder, exist_ok=True)
for name in os.listdir(folder):
    os.remove(os.path.join(folder, name))
with open(f"{folder}/found.json", "w", encoding="utf-8") as file:
    json.dump(found, file)
program = [sys.executable, "-B", f"{project}/benchmarks/simulation/charts.py"]
result = subprocess.run([*program, f"{folder}/found.json", folder], text=True, capture_output=True, check=False)
assert result.returncode == 0 and "8 charts" in result.stdout, result
charts = sorted(name for name in os.listdir(folder) if name.endswith(".svg"))
assert charts == [f"simulation_{name}.svg" for name in ("costs", "drift", "drift_events", "elastic", "limits_lost",
                                                        "limits_p99", "spike", "step")], charts
for name in charts:
    with open(f"{folder}/{name}", encoding="utf-8") as file:
        text = file.read()
    xml.etree.ElementTree.fromstring(text)
    assert "nan" not in text and "inf" not in text, name
with open(f"{folder}/simulation_step.svg", encoding="utf-8") as file:
    text = file.read()
assert text.count("<polyline") == 7 and "fixed 5" in text and "fixed 7" not in text, text
with open(f"{folder}/simulation_elastic.svg", encoding="utf-8") as file:
    text = file.read()
assert text.count("<polyline") == 8 and "tasks" in text and "low water" in text and "never trimmed" not in text, text
with open(f"{folder}/simulation_limits_p99.svg", encoding="utf-8") as file:
    text = file.read()
assert "gradient2" in text and "fixed limit" in text and "fixed 5" not in text and "document" not in text
assert subprocess.run(program, capture_output=True, check=False).returncode != 0

# A swap scheduler's policies: a chart for each load, with a bar for each model and policy.
waits = [{"name": name, "p99_s": seconds} for name, seconds in (("A", 12.5), ("B", 0), ("all", 20))]
found = {"seeds": 1, "swap": [{"name": name, "what": "a < b", "rows": [{"contender": contender, "waits": waits}
                                                                     for contender in ("as it comes", "max wait")]}
                              for name in ("hot", "failing")]}
with open(f"{folder}/found_swap.json", "w", encoding="utf-8") as file:
    json.dump(found, file)
program = [sys.executable, "-B", f"{project}/benchmarks/simulation/swap_charts.py"]
result = subprocess.run([*program, f"{folder}/found_swap.json", folder], text=True, capture_output=True, check=False)
assert result.returncode == 0 and "2 charts" in result.stdout, result
for name in ("hot", "failing"):
    with open(f"{folder}/simulation_swap_{name}.svg", encoding="utf-8") as file:
        text = file.read()
    xml.etree.ElementTree.fromstring(text)
    assert "nan" not in text and "max wait" in text and "as it comes" in text, text
assert subprocess.run(program, capture_output=True, check=False).returncode != 0
