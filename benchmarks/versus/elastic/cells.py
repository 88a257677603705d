"""What elastic pools are compared by. All that is measured here, and why, is in the words of ../README.md."""
from cell import WALL, Cell, Cost, Entrant

PEERS = {  # where each comes from
    "glib": "libglib2.0-dev",
    "asio": "libboost1.74-dev",
    "tbb arena": "libtbb-dev",
    "go": "golang-go",
    "go stmt": "golang-go",
}

OURS = Entrant("penstock", "elastic/penstock")
THREADS = Entrant("std::thread", "elastic/threads")
KEPT = (Entrant("condvar", "elastic/condvar"), Entrant("glib", "elastic/glib"))
# Goroutines, in place of threads.
GO = (Entrant("go", "elastic/go", promises=False),
      Entrant("go stmt", "elastic/go", promises=False, arguments={"statement": 1}))
LATENCY = (Cost("p50_ns", "ns p50"), Cost("p99_ns", "ns p99"), Cost("cpu_ns", "CPU ns per start"))


def fixed(workload):
    """Pools of two workers: jobs that block would wait there for ever."""
    return (Entrant("asio", "pool/asio", promises=False, workload=workload),
            Entrant("tbb arena", "pool/tbb_arena", promises=False, workload=workload))


def measured():
    for gap in (50, 1000):
        yield Cell(f"elastic_start/after:{gap}us", "idle_start", {"gap_us": gap},
                   (OURS, THREADS, *KEPT, *fixed("idle_start"), *GO), LATENCY, trial=40, weight=1.5)
    yield Cell("elastic_burst/jobs:1000", "burst", {}, (OURS, THREADS, *KEPT, *GO), items=1000, repeats=7)
    yield Cell("elastic_burst/jobs:1000/again", "second_burst", {}, (OURS, THREADS, *KEPT, *GO), items=1000, repeats=7)
    yield Cell("elastic_burst/jobs:10000", "burst", {}, (OURS, THREADS, *KEPT, *GO), items=10_000, repeats=3, weight=8)
    short = Entrant(THREADS.name, THREADS.program, arguments={"items": 10_000})
    yield Cell("elastic_tiny", "tiny", {}, (OURS, short, *KEPT, *fixed("bulk"), *GO),
               (*WALL, Cost("threads", "threads at most")), items=100_000, repeats=5, weight=4)
    yield Cell("elastic_idle/workers:64", "idle_workers", {"workers": 64}, (OURS, *KEPT, *GO),
               (Cost("cpu_ns", "ns of CPU per idle ms"),), trial=20)


def cells():
    return list(measured())
