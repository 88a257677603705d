"""What pools of objects are compared by. All that is measured here, and why, is in the words of ../README.md."""
from cell import Cell, Cost, Entrant

PEERS = {  # where each comes from
    "new/jemalloc": "libjemalloc-dev",
    "new/mimalloc": "libmimalloc-dev",
    "tbb scalable": "libtbb-dev",
    "boost.lockfree": "libboost1.74-dev",
    "boost.pool": "libboost1.74-dev",
    "sync.Pool": "golang-go",
    "sync.Pool+counts": "golang-go",
}

PROGRAM = "objects/penstock"
EVERYDAY = "objects/everyday"
WALL = (Cost("wall_ns", "ns per get and put"), Cost("cpu_ns", "CPU ns per get and put"))
PHASES = ("channels", "messages", "responses")


def workload(name):
    return lambda entrant, program, prefix="", promises=True: Entrant(entrant, program, promises, {}, prefix + name)


def entrants(name):
    """Lists of a thread's own limit nothing, count nothing, and what is returned elsewhere is lost to them."""
    of = workload(name)
    found = [of("penstock", PROGRAM), of("new/glibc", "objects/new"), of("new/jemalloc", "objects/new_jemalloc"),
             of("new/mimalloc", "objects/new_mimalloc"), of("tbb scalable", "objects/tbb"), of("mutex", EVERYDAY),
             of("boost.lockfree", "objects/boost", "stack_"), of("sync.Pool", "objects/go")]
    if name != "crossed":
        found.append(of("list", EVERYDAY, "list_", False))
    if name == "one":
        found.append(of("list+shared counts", EVERYDAY, "counted_list_", False))
    if name != "many":
        found += [of("boost.pool", "objects/boost", "pool_"), of("sync.Pool+counts", "objects/go", "counted_")]
    return tuple(found)


def plain():
    for name in ("one", "many"):
        for threads in (1, 2, 4):
            yield Cell(f"objects/{name}/threads:{threads}", name, {"producers": threads, "batch": 64}, entrants(name),
                       WALL)
    for threads in (2, 4):
        yield Cell(f"objects/crossed/threads:{threads}", "crossed", {"producers": threads}, entrants("crossed"),
                   WALL)


def timed():
    """Two readings of the clock are what it may cost."""
    of = workload("one")
    for threads in (1, 4):
        yield Cell(f"objects/timestamps/threads:{threads}", "one", {"producers": threads},
                   (of("penstock", PROGRAM, "timed_"), of("list+clock", EVERYDAY, "timed_list_", False),
                    of("without", PROGRAM, "", False)), WALL)


def hits():
    for name in PHASES:
        of = workload(name)
        yield Cell(f"objects_hits/{name}", name, {"producers": 4},
                   (of("penstock", PROGRAM), of("mutex", EVERYDAY), of("boost.lockfree", "objects/boost", "stack_"),
                    of("sync.Pool", "objects/go")),
                   (Cost("misses_per_1000", "misses per 1000 gets"),), items=100_000, repeats=5)


def cells():
    return [*plain(), *timed(), *hits()]
