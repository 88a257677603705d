"""Runs the programs: ours, first peer, second peer, ..., ours, ..., so that a disturbance hits all alike."""
import os
import subprocess
import time

TIME_LIMIT = 30  # seconds, for a single run
MOST_ITEMS = 20_000_000
FULL_ROUNDS = 11
UNKNOWN_ARGUMENT = 64  # the exit code of a program that was given one


class Failure(Exception):
    """A program that failed, or printed what cannot be understood."""


class Unknown(Failure):
    """A program that does not know an argument."""


def parse(line):
    """The figures of the line that a program printed, or None if it cannot do this workload."""
    if line.strip() == "unsupported":
        return None
    try:
        figures = {name: float(value) for name, value in (word.split("=") for word in line.split())}
    except ValueError:
        figures = {}
    if "items" not in figures:
        raise Failure(f"printed '{line.strip()}'")
    return figures


def run_once(path, workload, arguments):
    command = [path, f"workload={workload}"] + [f"{name}={value}" for name, value in arguments.items()]
    text = " ".join(command)
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=TIME_LIMIT,
                                check=False)
    except subprocess.TimeoutExpired:
        raise Failure(f"{text}: took more than {TIME_LIMIT} s") from None
    except OSError as error:
        raise Failure(f"{text}: {error.strerror}") from None
    if result.returncode != 0:
        kind = Unknown if result.returncode == UNKNOWN_ARGUMENT else Failure
        raise kind(f"{text}: exit {result.returncode}: {result.stderr.strip()}")
    try:
        return parse(result.stdout)
    except Failure as failure:
        raise Failure(f"{text}: {failure}") from None


class Pace:
    """How long a run should take: `target` seconds, less once the end would otherwise be later than `limit`."""
    OVERHEAD = 0.012  # of a process, in seconds

    def __init__(self, rounds, target, limit, clock=time.monotonic):
        self.rounds, self.target, self.clock = rounds, target, clock
        self.end = clock() + limit
        self.work_left = 0.0  # in runs of weight 1, the trials included

    def repeats(self, cell):
        """How often a cell with a fixed number of items is measured: less often if there are few rounds."""
        return max(cell.repeats * self.rounds // FULL_ROUNDS, 1)

    def work(self, cell, entrants):
        return cell.weight * entrants * (self.repeats(cell) if cell.items else self.rounds + 0.5)

    def plan(self, cell, entrants):
        self.work_left += self.work(cell, entrants)

    def seconds(self, cell):
        fair = (self.end - self.clock()) / max(self.work_left, 1.0) - self.OVERHEAD
        return max(min(self.target, fair), self.target / 20) * cell.weight


def items_for(seconds, wall_ns, trial):
    """How many items take that long, by what one took last time."""
    return int(min(max(seconds * 1e9 / max(wall_ns, 1.0), trial / 4, 16), MOST_ITEMS))


def measure(cell, entrants, programs, pace, step=lambda: None, run=run_once):
    """Maps the names of those `entrants` that can do it to the figures of their rounds; and what failed, as texts."""
    results, failures, items = {}, [], {}
    work_after = pace.work_left - pace.work(cell, len(entrants))

    def one(entrant, count):
        arguments = {**cell.arguments, **entrant.arguments, "items": entrant.arguments.get("items", count)}
        step()
        try:
            return run(os.path.join(programs, entrant.program), entrant.workload or cell.workload, arguments)
        except Failure as failure:
            if not (entrant.is_guest and isinstance(failure, Unknown)):
                failures.append(str(failure))
            return None

    for entrant in entrants:  # the trial
        figures = one(entrant, cell.items or cell.trial)
        pace.work_left -= cell.weight * (1 if cell.items else 0.5)
        if figures is not None:
            results[entrant.name] = [figures] if cell.items else []
            items[entrant.name] = cell.items or items_for(pace.seconds(cell), figures["wall_ns"], cell.trial)
    for _ in range(pace.repeats(cell) - 1 if cell.items else pace.rounds):
        for entrant in [entrant for entrant in entrants if entrant.name in items]:
            figures = one(entrant, items[entrant.name])
            pace.work_left -= cell.weight
            if figures is None:
                del items[entrant.name], results[entrant.name]
                continue
            results[entrant.name].append(figures)
            items[entrant.name] = cell.items or items_for(pace.seconds(cell), figures["wall_ns"], cell.trial)
    pace.work_left = work_after
    return results, failures
