"""The programs of Google Benchmark, benchmarks/*_bench.cpp: an operation alone, and rivals measured beside it.

A benchmark is named component/operation, and a rival component/operation@rival; arguments follow, as in
component/operation@rival/capacity:64/threads:2.
"""
import glob
import json
import os
import re
import subprocess

from figures import row

UNITS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
LESS = {"nothing"}  # rivals that promise less: the loop without the call
# The rivals take turns with ours.
FULL = ("--benchmark_min_time=0.1", "--benchmark_repetitions=5", "--benchmark_enable_random_interleaving=true")
QUICK = ("--benchmark_min_time=0.02",)


def programs(folder):
    return sorted(glob.glob(os.path.join(folder, "*_bench")))


def names(program, only):
    listed = subprocess.run([program, "--benchmark_list_tests", f"--benchmark_filter={only or '.'}"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    return [line for line in listed.split() if "/" in line]


def split(name):
    """'a/b@rival/x:1/real_time' is ('a/b/x:1', 'rival')."""
    name = re.sub(r"/(real_time|process_time|manual_time|repeats:\d+|min_time:[^/]+)", "", name)
    match = re.search(r"@([^/]+)", name)
    return (name.replace(match.group(0), ""), match.group(1)) if match else (name, "")


def rows_of(data):
    """The rows of what a program wrote with --benchmark_format=json, and the texts of what failed."""
    times, failures = {}, []
    for run in data["benchmarks"]:
        if run.get("error_occurred"):
            failures.append(f"{run['name']}: {run.get('error_message', 'failed')}")
        elif "aggregate_name" not in run:
            times.setdefault(split(run.get("run_name", run["name"])), []).append(
                run["real_time"] * UNITS[run["time_unit"]])
    rows = []
    for name in dict.fromkeys(name for name, _ in times):
        ours = times.get((name, ""))
        rivals = [rival for other, rival in times if other == name and rival]
        if ours:
            rows += [row(name, "ns per iteration", ours, rival, times[(name, rival)], rival not in LESS)
                     for rival in rivals]
            if not rivals:
                rows.append(row(name, "ns per iteration", ours))
    return rows, failures


def run(program, output, only, quick, step):
    """Runs what `only` selects, and calls `step` for each. What it prints stays in the folder `output`."""
    written = os.path.join(output, f"{os.path.basename(program)}.json")
    command = [program, *(QUICK if quick else FULL), f"--benchmark_filter={only or '.'}",
               "--benchmark_out_format=json", f"--benchmark_out={written}"]
    last = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            last = last[-4:] + [line]
            if re.match(r"[a-z0-9_]+/", line) and (quick or "_median" in line):
                step()
    if process.returncode != 0:
        return [], [f"{program}: exit {process.returncode}: {''.join(last).strip()}"]
    with open(written, encoding="utf-8") as file:
        return rows_of(json.load(file))
