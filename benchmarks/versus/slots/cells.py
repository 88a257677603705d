"""What queues of slots are compared by. All that is measured here, and why, is in the words of ../README.md."""
from cell import WALL, Cell, Cost, Entrant

PEERS = {  # where each comes from
    "go sync.Cond": "golang-go",
    "go channel": "golang-go",
    "database/sql": "golang-go",
}

LATENCY = (Cost("p50_ns", "ns p50"), Cost("p99_ns", "ns p99"), Cost("cpu_ns", "CPU ns per slot"))
PER_SLOT = (Cost("wall_ns", "ns per slot"), Cost("cpu_ns", "CPU ns per slot"))


OURS = Entrant("penstock", "slots/penstock")


def few(herd):
    """Arguments for who wakes all of a herd each time."""
    return {"items": 10} if herd > 1 else {}


def threads(name, herd=1):
    return (OURS, Entrant("condvar", "slots/locked"),
            Entrant("broadcast", "slots/locked", arguments=few(herd), workload=f"all_{name}"))


def go(name, kinds=("cond", "channel", "sql"), promises=False, herd=1):
    """A channel is no stack, and neither it nor database/sql can take a slot back; all of these serve goroutines."""
    names = {"cond": "go sync.Cond", "channel": "go channel", "sql": "database/sql"}
    return tuple(Entrant(names[kind], "slots/go", promises, few(herd) if kind == "cond" else {}, f"{kind}_{name}")
                 for kind in kinds)


def measured():
    for producers in (1, 4):
        yield Cell(f"slots/reuse/threads:{producers}", "reuse", {"capacity": 10, "producers": producers},
                   (*threads("reuse"), *go("reuse")))
    yield Cell("slots/life", "life", {"capacity": 10}, (*threads("life"), *go("life", ("cond",))))
    for idle in (10, 100_000):
        yield Cell(f"slots/eject/idle:{idle}", "eject_oldest", {"capacity": idle},
                   (*threads("eject_oldest"), *go("eject_oldest", ("cond",))), trial=100)
    yield Cell("slots_offer/threads:1", "offer_to_waiters", {"consumers": 1}, threads("offer_to_waiters"), PER_SLOT,
               trial=100)
    yield Cell("slots_offer/threads:10000", "offer_to_waiters", {"consumers": 10_000},
               threads("offer_to_waiters", 10_000), PER_SLOT, items=1000, repeats=3, weight=8)
    coroutines = Entrant(OURS.name, OURS.program, workload="offer_to_coroutines")
    for waiting in (1, 10_000):
        yield Cell(f"slots_offer/coroutines:{waiting}", "offer_to_waiters", {"consumers": waiting, "processors": 1},
                   (coroutines, *go("offer_to_waiters", promises=True, herd=waiting)), PER_SLOT)
    yield Cell("slots_hand_over", "hand_over", {"gap_us": 50}, (*threads("hand_over"), *go("hand_over")), LATENCY,
               trial=40, weight=3)


def cells():
    return list(measured())
