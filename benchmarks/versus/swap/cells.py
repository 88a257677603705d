"""What swap schedulers are compared by. All that is measured here, and why, is in the words of ../README.md."""
from cell import WALL, Cell, Cost, Entrant

PEERS = {  # where each comes from
    "go": "golang-go",
    "go published": "golang-go",
}

BYTES = (Cost("bytes", "bytes per request"),)


def ours(workload, items=0):
    return entrant("penstock", "swap/penstock", workload, items)


def entrant(name, program, workload, items=0):
    return Entrant(name, program, arguments={"items": items} if items else {}, workload=workload)


def peers(workload):
    found = [entrant("locked", "swap/locked", workload), entrant("go", "swap/go", workload)]
    if workload != "position":  # as published, it is pushed
        found.append(entrant("go published", "swap/go", f"published_{workload}"))
    return found


# How long each takes for `unrelated`, in nanoseconds, by how many wait and for how many models; from 1 on.
UNRELATED = {
    "penstock": lambda queued, models: 500,
    "locked": lambda queued, models: 200 + 12 * queued,
    "go": lambda queued, models: 4000 + 300 * queued,
    "go published": lambda queued, models: (200 + 20 * models) * queued,
    "reference": lambda queued, models: (100 + 2 * models) * queued,
}
PROGRAMS = {"penstock": "swap/penstock", "locked": "swap/locked", "go": "swap/go", "go published": "swap/go",
            "reference": "swap/reference"}


def grown(workload, queued, models, share=1.0, costs=WALL):
    """Who can do it in a while, with as many items as take some 30 ms. `share`: what is to be looked at, of the queue."""
    entrants = []
    for name, program in PROGRAMS.items():
        ns = 500 + UNRELATED[name](queued, models) * share
        fills_slowly = name == "reference" and queued > 10_000
        if ns <= 1e9 and not fills_slowly:
            prefix = "published_" if name == "go published" else ""
            entrants.append(entrant(name, program, prefix + workload, max(1, int(3e7 / ns))))
    return Cell(f"swap_growth/{workload}/queued:{queued}/models:{models}", workload,
                {"queued": queued, "models": models}, tuple(entrants), costs, items=1, repeats=3)


def growth():
    for queued in (10, 100, 1_000, 10_000, 100_000, 1_000_000):
        yield grown("unrelated", queued, 100)
        yield grown("come_and_go", queued, 100, 0.1)
    for models in (10, 1_000, 10_000, 100_000):
        yield grown("unrelated", 10_000, models)
    for queued in (10_000, 100_000, 1_000_000):  # with fewer, it is what memory comes in pieces of
        yield Cell(f"swap_growth/memory/queued:{queued}/models:100", "memory", {"queued": queued, "models": 100},
                   (ours("memory"), *peers("memory")[:2]), BYTES, items=1, repeats=3)


def measured():
    for queued, models in ((10, 10), (1_000, 100), (100_000, 1_000)):
        size = {"queued": queued, "models": models}
        is_large = queued == 100_000
        for workload in ("ready", "unrelated", "come_and_go", "position", "life"):
            others = peers(workload)
            if is_large and workload in ("unrelated", "life"):  # it takes seconds for one
                others = others[:2]
            yield Cell(f"swap/{workload}/queued:{queued}/models:{models}", workload, size,
                       (ours(workload), *others), trial=16 if is_large else 100)
    yield Cell("swap/unrelated_once/queued:100000/models:1000", "unrelated", {"queued": 100_000, "models": 1_000},
               (ours("unrelated", 100_000), entrant("go published", "swap/go", "published_unrelated", 1)), items=1,
               repeats=3)
    for models in (1, 3):
        for threads in (1, 4):
            yield Cell(f"swap_serve/models:{models}/threads:{threads}", "serve", {"models": models, "producers": threads},
                       (Entrant("penstock", "swap/penstock_runner"), *peers("serve")))
    yield from growth()


def cells():
    return list(measured())
