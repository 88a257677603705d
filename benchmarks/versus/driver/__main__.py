"""Measures ours against its peers; benchmarks/run calls this once everything is built."""
import argparse
import glob
import importlib.util
import json
import os
import re
import sys
from dataclasses import replace

import micro
from cell import Cell, Cost, Entrant
from chart import charts
from figures import for_json, rows_of
from growth import growths
from progress import Progress
from rounds import FULL_ROUNDS, Pace, measure
from table import amount, table

HERE = os.path.dirname(os.path.abspath(__file__))
LIMITS = Entrant("limits", "limits/limits")
LIMIT_CELLS = [
    Cell("atomic add", "atomic_add", {}, (LIMITS,), (Cost("wall_ns", "ns per item"),)),
    Cell("cache line, there and back", "cache_line", {}, (LIMITS,), (Cost("best_ns", "ns"),)),
    Cell("futex wake", "futex_wake", {"gap_us": 50}, (LIMITS,), (Cost("p50_ns", "ns"),), trial=100),
]


def components():
    """The cells of each folder beside this one that has any, and where its peers come from."""
    for path in sorted(glob.glob(os.path.join(HERE, "..", "*", "cells.py"))):
        spec = importlib.util.spec_from_file_location("cells", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module.cells(), module.PEERS


def parse_arguments():
    parser = argparse.ArgumentParser(prog="benchmarks/run")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--only", metavar="REGEX", default="")
    parser.add_argument("--peer", metavar="NAME=PATH", action="append", default=[])
    parser.add_argument("--programs", required=True)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    for peer in arguments.peer:
        name, _, path = peer.partition("=")
        if not name or not os.access(path, os.X_OK):
            parser.error(f"--peer {peer}: not a name and a program")
    try:
        re.compile(arguments.only)
    except re.error as error:
        parser.error(f"--only {arguments.only}: {error}")
    return arguments


def is_there(programs, entrant):
    return os.access(os.path.join(programs, entrant.program), os.X_OK)


def plan(arguments, programs):
    """The cells to measure, with the entrants that are there; and what is missing."""
    guests = tuple(Entrant(name, os.path.abspath(path), is_guest=True)
                   for name, _, path in (peer.partition("=") for peer in arguments.peer))
    chosen, missing = [], {}
    for cells, peers in components():
        for cell in cells:
            for guest in guests:
                if guest.name in (entrant.name for entrant in cell.entrants):
                    sys.exit(f"--peer {guest.name}: there is a peer of that name")
            if re.search(arguments.only, cell.name):
                entrants = cell.entrants + (guests if cell.takes_guests else ())
                there = tuple(entrant for entrant in entrants if is_there(programs, entrant))
                for entrant in entrants:
                    if entrant not in there:
                        missing[entrant.program] = f"{entrant.name} not found (needs {peers.get(entrant.name, '?')})"
                if there and there[0] is cell.entrants[0]:
                    chosen.append(replace(cell, entrants=there))
    return chosen, list(missing.values())


def main():
    arguments = parse_arguments()
    programs = os.path.join(arguments.programs, "versus")
    cells, notes = plan(arguments, programs)
    benches = [(program, len(micro.names(program, arguments.only))) for program in micro.programs(arguments.programs)]
    rounds, target, limit = (5, 0.03, 150) if arguments.quick else (FULL_ROUNDS, 0.12, 1380)
    pace = Pace(rounds, target, limit)
    limit_cells = LIMIT_CELLS if is_there(programs, LIMITS) else []
    for cell in limit_cells + cells:
        pace.plan(cell, len(cell.entrants))
    planned = pace.work_left
    per_benchmark = (0.15 if arguments.quick else 1.0) / (target + pace.OVERHEAD)  # in runs of weight 1
    progress = Progress(planned + sum(count for _, count in benches) * per_benchmark, sys.stderr)

    os.makedirs(arguments.output, exist_ok=True)
    limits, rows, failures = [], [], []
    for cell in limit_cells + cells:
        found, failed = measure(cell, cell.entrants, programs, pace,
                                lambda: progress.show(planned - pace.work_left, cell.name))
        failures += failed
        (limits if cell in limit_cells else rows).extend(rows_of(cell, found))
    done = planned
    for program, count in benches:
        def step():
            nonlocal done
            progress.show(done, os.path.basename(program))
            done += per_benchmark
        if count:
            found, failed = micro.run(program, arguments.output, arguments.only, arguments.quick, step)
            rows += found
            failures += failed
    took = progress.finish()
    report(arguments, rows, [(row["workload"], row["ours"]) for row in limits], notes, failures, took)


def report(arguments, rows, limits, notes, failures, took):
    if not rows:
        sys.exit("\n".join(failures + notes + ["nothing was measured"]))
    print("\n".join(table(rows)))
    if limits:
        print("limits of this machine: " + ", ".join(f"{label} {amount(value, 'ns')}" for label, value in limits))
    for note in notes:
        print(note)
    written = {**dict(charts(rows, limits)), **dict(growths(rows))}
    for name, svg in written.items():
        with open(os.path.join(arguments.output, name), "w", encoding="utf-8") as file:
            file.write(svg)
    print(f"measured in {took}; {len(written)} charts: {os.path.join(arguments.output, '*.svg')}")
    for path in [os.path.join(arguments.output, "rows.json")] + ([arguments.json] if arguments.json else []):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(for_json(rows), file, indent=1)
            file.write("\n")
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
