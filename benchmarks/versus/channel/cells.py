"""What channels are compared by. All that is measured here, and why, is in the words of ../README.md."""
from cell import WALL, Cell, Cost, Entrant

PEERS = {  # where each comes from
    "crossbeam": "librust-crossbeam-channel-dev, and cargo",
    "tbb": "libtbb-dev",
    "moodycamel": "libconcurrentqueue-dev",
    "moodycamel unbounded": "libconcurrentqueue-dev",
    "boost.fiber": "libboost-fiber-dev",
    "go": "golang-go",
}

OURS = Entrant("penstock", "channel/penstock")
CONDVAR = Entrant("condvar", "channel/condvar")  # std::mutex and std::condition_variable
CROSSBEAM = Entrant("crossbeam", "channel/crossbeam")
BOOST = Entrant("boost.fiber", "channel/boost_fiber")
GO = Entrant("go", "channel/go")
GOROUTINES = Entrant("go", "channel/go", promises=False)  # where ours are threads
BLOCKING = (CROSSBEAM, CONDVAR, Entrant("tbb", "channel/tbb"), Entrant("moodycamel", "channel/moodycamel"), BOOST)
THREADS = (OURS, *BLOCKING, Entrant("moodycamel unbounded", "channel/moodycamel_unbounded", promises=False), GOROUTINES)

ROUND_TRIP = (Cost("wall_ns", "ns per round trip"), Cost("cpu_ns", "CPU ns per round trip"))
TOPOLOGIES = ((1, 1), (4, 1), (1, 4), (4, 4))


def throughput():
    for size in (8, 64):
        for capacity in (0, 1, 100, 1000):
            for producers, consumers in TOPOLOGIES:
                yield Cell(f"throughput/bytes:{size}/capacity:{capacity}/{producers}p{consumers}c", "throughput",
                           {"bytes": size, "capacity": capacity, "producers": producers, "consumers": consumers},
                           THREADS, takes_guests=True)


def alone():
    for size in (8, 64):
        for capacity in (1, 1000):
            yield Cell(f"self/bytes:{size}/capacity:{capacity}", "self", {"bytes": size, "capacity": capacity},
                       (OURS, *BLOCKING, GO, THREADS[-2]), takes_guests=True)


def ping_pong():
    for size in (8, 64):
        for capacity in (0, 1, 100):
            yield Cell(f"ping_pong/bytes:{size}/capacity:{capacity}", "ping_pong",
                       {"bytes": size, "capacity": capacity}, THREADS, ROUND_TRIP, takes_guests=True)


def tasks():
    """Coroutines on `processors` threads, goroutines on as many, fibers of one thread."""
    entrants = (OURS, GO, BOOST)
    for processors in (1, 2):
        for capacity in (0, 1, 100):
            yield Cell(f"tasks_ping_pong/processors:{processors}/capacity:{capacity}", "tasks_ping_pong",
                       {"processors": processors, "capacity": capacity}, entrants, ROUND_TRIP)
    for processors in (1, 2):
        for size in (8, 64):
            for capacity in (0, 1, 100):
                for parties in (1, 4):
                    yield Cell(f"tasks/processors:{processors}/bytes:{size}/capacity:{capacity}/{parties}p{parties}c",
                               "tasks_throughput", {"processors": processors, "bytes": size, "capacity": capacity,
                                                    "producers": parties, "consumers": parties}, entrants)


def wake():
    for gap in (50, 1000):
        yield Cell(f"wake/after:{gap}us", "wake", {"capacity": 1, "gap_us": gap}, THREADS,
                   (Cost("p50_ns", "ns p50"), Cost("p99_ns", "ns p99"), Cost("cpu_ns", "CPU ns per wake")),
                   trial=40, weight=6, takes_guests=True)
    yield Cell("idle", "idle", {"capacity": 1}, THREADS, (Cost("cpu_ns", "ns of CPU per idle ms"),), trial=20, weight=3,
               takes_guests=True)


def receive_many():
    """Many at once against one at a time; the sender sends many at once both times."""
    entrants = (OURS, Entrant("single receives", OURS.program, arguments={"batch": 1}))
    for where, workload in (("alone", "receive_alone"), ("1p1c", "receive_from_other")):
        for size in (8, 64):
            yield Cell(f"receive_many/bytes:{size}/capacity:1000/{where}", workload,
                       {"bytes": size, "capacity": 1000, "batch": 64}, entrants, WALL[:1])


def select():
    for what in ("one_ready", "all_ready", "none_ready", "throughput"):
        for channels in (2, 8, 64):
            yield Cell(f"select_{what}/channels:{channels}", f"select_{what}", {"channels": channels},
                       (OURS, CROSSBEAM, GO), takes_guests=True)


def pinned():
    """Everything on one processor, where who spins waits for himself."""
    for capacity in (0, 1, 100, 1000):
        for parties in (1, 4):
            yield Cell(f"pinned/throughput/capacity:{capacity}/{parties}p{parties}c", "throughput",
                       {"pinned": 1, "capacity": capacity, "producers": parties, "consumers": parties}, (OURS, CONDVAR))
    for capacity in (0, 1):
        yield Cell(f"pinned/ping_pong/capacity:{capacity}", "ping_pong", {"pinned": 1, "capacity": capacity},
                   (OURS, CONDVAR), ROUND_TRIP)


def memory():
    yield Cell("memory", "memory", {}, (Entrant("penstock", "channel/penstock_memory"),
                                        Entrant("go", "channel/go", arguments={"items": 100_000})),
               (Cost("channel_bytes", "bytes per empty channel"),
                Cost("coroutine_bytes", "bytes per waiting coroutine"),
                Cost("resident_bytes", "bytes of RSS per waiting coroutine"), Cost("frame_bytes", "bytes of its frame"),
                Cost("waiter_bytes", "bytes of its wait")), items=1_000_000)


def cells():
    return [*throughput(), *alone(), *ping_pong(), *tasks(), *wake(), *receive_many(), *select(), *pinned(), *memory()]
