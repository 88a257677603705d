#!/usr/bin/env python3
"""benchmarks/report.py puts a benchmark and its rivals on one line each, by the median, and fails on a failed run."""
import json
import os
import subprocess
import sys

project, folder = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
path = os.path.join(folder, "result.json")


def run(name, time, unit="ns", **extra):
    return {"name": name, "run_name": name, "real_time": time, "cpu_time": time, "time_unit": unit, **extra}


def report(*runs):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"context": {}, "benchmarks": list(runs)}, file)
    return subprocess.run([sys.executable, f"{project}/benchmarks/report.py", path], text=True, capture_output=True)


result = report(
    run("channel/send/capacity:64/real_time/threads:2", 9.0, run_type="iteration"),
    run("channel/send/capacity:64/real_time/threads:2", 10.0, aggregate_name="median"),
    run("channel/send/capacity:64/real_time/threads:2", 99.0, aggregate_name="mean"),
    run("channel/send@go/capacity:64/real_time/threads:2", 0.025, "us"),
    run("channel/close", 1.5, "ms"),
)
lines = result.stdout.splitlines()
assert result.returncode == 0, result
assert lines[1].split() == ["channel/close", "1.5", "ms"], lines
assert lines[2].split() == ["channel/send/capacity:64/threads:2", "10", "ns", "go", "25", "ns", "2.50"], lines

result = report(run("a/b", 1.0), run("a/b@c", 0.0, error_occurred=True, error_message="sum differs"))
assert result.returncode == 1 and "a/b@c: sum differs" in result.stderr, result
assert report().returncode != 0
