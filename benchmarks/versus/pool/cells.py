"""What pools are compared by. All that is measured here, and why, is in the words of ../README.md."""
from cell import WALL, Cell, Cost, Entrant

PEERS = {  # where each comes from
    "asio": "libboost1.74-dev",
    "tbb arena": "libtbb-dev",
    "tbb group": "libtbb-dev",
    "go": "golang-go",
}

OURS = Entrant("penstock", "pool/penstock")
CONDVAR = Entrant("condvar", "pool/condvar")  # std::mutex and std::condition_variable
UNBOUNDED = Entrant("condvar unbounded", "pool/condvar_unbounded", promises=False)
ASIO = Entrant("asio", "pool/asio", promises=False)
TBB = (Entrant("tbb arena", "pool/tbb_arena", promises=False), Entrant("tbb group", "pool/tbb_group", promises=False))
GO = Entrant("go", "pool/go")  # goroutines that receive from a buffered channel
STATEMENT = Entrant("go stmt", "pool/go", promises=False, arguments={"statement": 1})  # one for each job
ALL = (OURS, CONDVAR, ASIO, *TBB, GO, STATEMENT)

CAPACITY = 1024
WORKERS = (2, 16, 64)
LATENCY = (Cost("p50_ns", "ns p50"), Cost("p99_ns", "ns p99"), Cost("cpu_ns", "CPU ns per start"))


def submitting():
    for workers in WORKERS:
        for producers in (1, 4):
            yield f"workers:{workers}/{producers}p", {"capacity": CAPACITY, "workers": workers, "producers": producers}


def bulk():
    one_function = Entrant("go, one function", "pool/go", promises=False, arguments={"reuse": 1})
    for name, arguments in submitting():
        yield Cell(f"pool_bulk/{name}", "bulk", arguments, (*ALL, UNBOUNDED, one_function), takes_guests=True)


def results():
    own_channels = Entrant("go, a channel each", "pool/go", arguments={"result_channels": 1})
    nobody_waits = Entrant("fire and forget", "pool/penstock", promises=False, workload="bulk")
    for name, arguments in submitting():
        yield Cell(f"pool_results/{name}", "results", arguments,
                   (OURS, CONDVAR, ASIO, GO, own_channels, nobody_waits), takes_guests=True)


def tree():
    for workers in WORKERS:
        yield Cell(f"pool_tree/workers:{workers}", "tree", {"workers": workers}, ALL, takes_guests=True)


def work():
    for ns in (1_000, 10_000, 100_000):
        for workers in (2, 16):
            yield Cell(f"pool_work/{ns // 1000}us/workers:{workers}", "work",
                       {"capacity": CAPACITY, "workers": workers, "ns": ns}, ALL,
                       (*WALL, Cost("ideal_percent", "% of the ideal")), trial=100, takes_guests=True)


def idle():
    for workers in (2, 16):
        for gap in (50, 1000):
            yield Cell(f"pool_idle_start/workers:{workers}/after:{gap}us", "idle_start",
                       {"capacity": CAPACITY, "workers": workers, "gap_us": gap}, ALL, LATENCY, trial=40, weight=4,
                       takes_guests=True)
    for workers in (2, 64):
        yield Cell(f"pool_idle/workers:{workers}", "idle_pool", {"capacity": CAPACITY, "workers": workers}, ALL,
                   (Cost("cpu_ns", "ns of CPU per idle ms"),), trial=20, weight=2, takes_guests=True)


def head_of_line():
    yield Cell("pool_head_of_line", "head_of_line", {"capacity": CAPACITY, "workers": 2}, ALL,
               (Cost("set_ns", "ns until all short ones are done"),), trial=19, weight=2, takes_guests=True)


def coroutines():
    """Against goroutines, as many threads as there are processors run those."""
    for workers in (2, 16):
        for producers in (1, 4):
            yield Cell(f"pool_coroutines/spawned/workers:{workers}/{producers}p", "coroutines",
                       {"workers": workers, "producers": producers}, (OURS, GO))
    yield Cell("pool_coroutines/scheduled_again/workers:2/1p", "coroutines_schedule", {"workers": 2}, (OURS, GO))


def pinned():
    """Everything on one processor, where who spins waits for himself."""
    yield Cell("pinned/pool_bulk", "bulk", {"pinned": 1, "capacity": CAPACITY, "workers": 2},
               (OURS, CONDVAR, ASIO, *TBB, UNBOUNDED))


def cells():
    return [*bulk(), *results(), *tree(), *work(), *idle(), *head_of_line(), *coroutines(), *pinned()]
