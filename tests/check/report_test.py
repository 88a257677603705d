#!/usr/bin/env python3
"""The driver of benchmarks/versus: its statistics, rounds, table, JSON and charts, with made-up programs."""
import glob
import importlib.util
import json
import os
import subprocess
import sys
import xml.etree.ElementTree
from dataclasses import replace

project, folder = sys.argv[1:]
sys.dont_write_bytecode = True
driver = f"{project}/benchmarks/versus/driver"
sys.path.insert(0, driver)

import chart  # noqa: E402
import figures  # noqa: E402
import growth  # noqa: E402
import micro  # noqa: E402
import progress  # noqa: E402
import rounds  # noqa: E402
import table  # noqa: E402
from cell import Cell, Cost, Entrant  # noqa: E402

OURS, PEER, LESS = Entrant("ours", "a/ours"), Entrant("peer", "a/peer"), Entrant("less", "a/less", promises=False)
CELL = Cell("group/x:1", "work", {"x": 1}, (OURS, PEER, LESS))


def line(wall, cpu=1.0):
    return {"items": 1000.0, "wall_ns": wall, "cpu_ns": cpu}


# Medians; the spread is half the distance between the quartiles.
assert figures.spread([5]) == 0 and figures.spread([0, 0]) == 0
assert figures.spread([8, 9, 10, 11, 12]) == 0.1
row = figures.row("w", "ns per item", [10, 30, 20], "peer", [40, 40, 40], False)
assert list(row) == ["workload", "unit", "ours", "peer", "peer_value", "ratio", "spread", "promises"]
assert (row["ours"], row["peer_value"], row["ratio"], row["spread"], row["promises"]) == (20, 40, 0.5, 0.25, False), row
assert figures.row("w", "ns", [1], "peer", [0])["ratio"] is None
assert figures.row("w", "ns", [1])["peer"] == "" and abs(figures.geometric_mean([0.5, 2, 8]) - 2) < 1e-12

# A row for each peer and cost; who promises less is never the best one.
rows = figures.rows_of(CELL, {"ours": 2 * [line(10)], "peer": 2 * [line(20, 4)], "less": 2 * [line(5)]})
assert [(r["peer"], r["unit"], r["ratio"]) for r in rows] == [
    ("peer", "ns per item", 0.5), ("less", "ns per item", 2), ("peer", "CPU ns per item", 0.25),
    ("less", "CPU ns per item", 1)], rows
assert figures.best(rows[:2])["peer"] == "peer" and figures.best(rows[1:2]) is None
assert figures.rows_of(CELL, {"peer": [line(1)]}) == []
lonely = figures.rows_of(replace(CELL, costs=(Cost("p50_ns", "ns p50"), Cost("none", "none"))),
                         {"ours": [{"p50_ns": 2.0}], "peer": [line(1)]})
assert len(lonely) == 1 and lonely[0]["ratio"] is None, lonely
assert figures.for_json([figures.row("w", "ns", [1 / 3])])[0]["ours"] == 0.333333

# The line of a program.
assert rounds.parse("items=5 wall_ns=1.5\n") == {"items": 5, "wall_ns": 1.5} and rounds.parse("unsupported\n") is None
for text in ("", "hello", "wall_ns=1", "items=x"):
    try:
        rounds.parse(text)
        raise AssertionError(text)
    except rounds.Failure:
        pass
assert rounds.items_for(1, 1000, 1000) == 1_000_000 and rounds.items_for(1e-9, 1e9, 1000) == 250

# Ours, first peer, second peer, ours, ...; who cannot do it is asked once, who fails is left out.
calls = []


def fake(path, workload, arguments):
    calls.append((os.path.basename(path), arguments["items"]))
    assert workload == "work" and arguments["x"] == 1
    if path.endswith("less"):
        return None
    if path.endswith("peer") and len(calls) > 5:
        raise rounds.Failure("broken")
    return line(1000)


now = [0.0]
pace = rounds.Pace(3, 0.1, 1000, lambda: now[0])
pace.plan(CELL, 3)
found, failed = rounds.measure(CELL, CELL.entrants, "/p", pace, run=fake)
assert [name for name, _ in calls] == ["ours", "peer", "less", "ours", "peer", "ours", "peer", "ours"], calls
assert [items for _, items in calls[:5]] == [1000, 1000, 1000, 100_000, 100_000], calls
assert list(found) == ["ours"] and len(found["ours"]) == 3 and failed == ["broken"], (found, failed)
assert abs(pace.work_left) < 1e-9, pace.work_left
calls.clear()
found, _ = rounds.measure(replace(CELL, items=7), (OURS,), "/p", rounds.Pace(3, 0.1, 1000), run=fake)
assert calls == [("ours", 7)] and found == {"ours": [line(1000)]}
calls.clear()
pace, thrice = rounds.Pace(rounds.FULL_ROUNDS, 0.1, 1000), replace(CELL, items=7, repeats=3)
pace.plan(thrice, 1)
assert pace.work_left == 3
found, _ = rounds.measure(thrice, (OURS,), "/p", pace, run=fake)
assert calls == 3 * [("ours", 7)] and found == {"ours": 3 * [line(1000)]} and pace.work_left == 0, (calls, pace.work_left)
assert rounds.Pace(5, 0.1, 1000).repeats(thrice) == 1

# Runs become shorter when the time gets short, and are never skipped.
pace = rounds.Pace(2, 0.1, 10, lambda: now[0])
pace.plan(CELL, 40)
assert pace.work_left == 100 and abs(pace.seconds(CELL) - (0.1 - pace.OVERHEAD)) < 1e-9
now[0] = 100
assert pace.seconds(CELL) == 0.1 / 20

# The table: one line for a workload, CPU time beside wall time.
rows.append(figures.row("group/x:2", "ns per item", [3e6, 3e6], "peer", [1e6, 1e6]))
rows.append(figures.row("memory", "bytes", [96.0]))
text = list(table.table(rows))
assert text[1].split() == ["group/x:1", "10", "ns", "1", "ns", "peer", "20", "ns", "4", "ns", "0.50", "0.25", "less*",
                           "2.00"], text
assert text[2].split() == ["group/x:2", "3", "ms", "peer", "1", "ms", "3.00"], text
assert text[3].split() == ["memory", "(bytes)", "96", "bytes"], text
assert text[-1] == "group: geometric mean of 2 ratios 1.22, worst 3.00 (group/x:2, peer)", text

# What is measured: each cell has a name of its own and begins with ours; of each peer it is known where it comes from,
# unless it needs nothing that ours does not need.
with open(f"{project}/benchmarks/versus/CMakeLists.txt", encoding="utf-8") as file:
    build = file.read()
always = {"penstock", "condvar", "locked", "everyday", "new", "threads", "penstock_batches", "penstock_memory",
          "penstock_limiter", "condvar_unbounded", "reference"}
names = []
for component in sorted(glob.glob(f"{project}/benchmarks/versus/*/cells.py")):
    spec = importlib.util.spec_from_file_location("cells", component)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for cell in module.cells():
        names.append(cell.name)
        ours, *peers = cell.entrants
        assert ours.name == "penstock" and len({entrant.name for entrant in cell.entrants}) == len(cell.entrants), cell
        for entrant in cell.entrants:
            folder_name, program = entrant.program.split("/")
            assert f"({folder_name} {program} " in build or f"_go({folder_name})" in build and program == "go" or (
                f"_gopath({folder_name} " in build or f"_rust({folder_name} {program} " in build), entrant
        assert all(peer.name in module.PEERS or peer.program.split("/")[1] in always or peer.name.startswith("go")
                   for peer in peers), cell
assert len(names) == len(set(names)) > 50, [name for name in names if names.count(name) > 1]

# Charts are well-formed, with a limit where it is in sight.
svgs = dict(chart.charts(rows, [("atomic <add>", 7.0), ("wake", 5e9)]))
assert list(svgs) == ["group.svg"], svgs.keys()
texts = [element.text for element in xml.etree.ElementTree.fromstring(svgs["group.svg"]).iter() if element.text]
assert "atomic <add> 7" in texts and "x:2" in texts and "less" in texts and not any("wake" in t for t in texts), texts
assert chart.chart("t", "ns", [("a", [("b", 0)])]) == ""

# Growth: a panel for each size of which there are three while the others stay the same, a line for who has two.
sizes = [(10, 5), (100, 5), (1000, 5), (100, 50), (100, 500)]
rows = [figures.row(f"a_growth/x/queued:{queued}/models:{models}", "ns per item", [float(queued)], "peer", [9.0 * models])
        for queued, models in sizes]
rows.append(figures.row("a_growth/x/queued:10000/models:5", "ns per item", [1e4], "late", [1.0]))
assert growth.sizes_of("a/x/queued:1") is None and growth.sizes_of("a_growth/x") is None
svgs = dict(growth.growths(rows + [figures.row("b/c:1", "ns", [1.0])]))
assert list(svgs) == ["a_growth.svg"], svgs.keys()
texts = [element.text for element in xml.etree.ElementTree.fromstring(svgs["a_growth.svg"]).iter() if element.text]
assert [t for t in texts if t.startswith("x: ")] == ["x: ns per item, 5 models", "x: ns per item, 100 queued"], texts
assert "peer" in texts and "late" not in texts and dict(growth.growths(rows[:2])) == {}, texts
assert chart.title_of("throughput/bytes:8/capacity:1") == "throughput/bytes:8" and chart.title_of("idle") == "idle"


# Google Benchmark's results: rivals by name, repetitions as rounds.
def run(name, time, unit="ns", **extra):
    return {"name": name, "run_name": name, "real_time": time, "time_unit": unit, **extra}


rows, failed = micro.rows_of({"benchmarks": [
    run("a/b/real_time/threads:2", 9.0), run("a/b/real_time/threads:2", 11.0),
    run("a/b@go/real_time/threads:2", 0.02, "us"), run("a/b/real_time/threads:2", 99.0, aggregate_name="mean"),
    run("a/c", 1.5, "ms"), run("a/d@nothing", 1.0), run("a/e", 0.0, error_occurred=True, error_message="sum differs")]})
assert [(r["workload"], r["ours"], r["peer"], r["ratio"]) for r in rows] == [
    ("a/b/threads:2", 10, "go", 0.5), ("a/c", 1.5e6, "", None)], rows
assert failed == ["a/e: sum differs"], failed


# Time left, by what is done.
class Terminal:
    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


terminal, now = Terminal(), [0.0]
shown = progress.Progress(10, terminal, lambda: now[0])
shown.show(0, "first")
now[0] = 30
shown.show(2, "second")
shown.show(2, "second")
assert terminal.text.split("\r\033[K") == ["", "[  0 %]             first", "[ 20 %]  2:00 left  second"], terminal.text


# All of it, with programs that are scripts.
def script(name, text):
    path = os.path.join(folder, "programs", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\n{text}\n")
    os.chmod(path, 0o755)
    return path


def drive(*arguments):
    return subprocess.run([sys.executable, "-B", driver, "--quick", "--programs", f"{folder}/programs", "--output",
                           f"{folder}/out", *arguments], text=True, capture_output=True, check=False)


script("versus/channel/penstock", "echo items=1000 wall_ns=20 cpu_ns=20 switches=0")
script("versus/channel/crossbeam", "echo items=1000 wall_ns=40 cpu_ns=40 switches=0")
script("versus/channel/condvar", "echo unsupported")
script("versus/limits/limits", "echo items=1000 wall_ns=5 best_ns=190 p50_ns=5000")
guest = script("guest", "echo items=1000 wall_ns=10 cpu_ns=10 switches=0")
script("counter_bench", '''case "$*" in
*--benchmark_list_tests*) case "$*" in *filter=^counter*) echo counter/add ;; *) echo none >&2 ;; esac ;;
*) for argument; do case "$argument" in --benchmark_out=*) file=${argument#*=} ;; esac; done
   echo '{"benchmarks": [{"name": "counter/add", "real_time": 1.0, "time_unit": "ns"}]}' >"$file" ;;
esac''')
result = drive("--only", "self/bytes:8/capacity:1$", "--json", f"{folder}/rows.json", "--peer", f"guest={guest}")
assert result.returncode == 0, result
assert "self/bytes:8/capacity:1" in result.stdout and "tbb not found (needs libtbb-dev)" in result.stdout, result.stdout
assert "limits of this machine: atomic add 5 ns, cache line, there and back 190 ns, futex wake 5 us" in result.stdout
with open(f"{folder}/rows.json", encoding="utf-8") as file:
    rows = json.load(file)
assert {r["workload"] for r in rows} == {"self/bytes:8/capacity:1"}, rows
assert [(r["peer"], r["ours"], r["ratio"], r["promises"]) for r in rows if r["unit"] == "ns per item"] == [
    ("crossbeam", 20, 0.5, True), ("guest", 20, 2, True)], rows
assert os.path.exists(f"{folder}/out/self_bytes_8.svg")
result = drive("--only", "^counter")
assert result.returncode == 0 and result.stdout.splitlines()[1].split() == ["counter/add", "1", "ns"], result

script("versus/channel/crossbeam", "echo the sum is wrong >&2; exit 1")
result = drive("--only", "self/bytes:8/capacity:1$")
assert result.returncode == 1 and "failed:" in result.stderr and "exit 1: the sum is wrong" in result.stderr, result
for arguments in (("--only", "self("), ("--peer", "guest"), ("--peer", "guest=/nowhere")):
    assert drive(*arguments).returncode == 2, arguments
assert "there is a peer of that name" in drive("--peer", f"condvar={guest}").stderr
result = drive("--only", "nonsense")
assert result.returncode != 0 and "nothing was measured" in result.stderr, result
