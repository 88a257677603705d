"""What breakers and limiters are compared by. All that is measured here, and why, is in the words of ../README.md."""
from cell import Cell, Entrant

PEERS = {  # where each comes from
    "go-resiliency": "golang-go, golang-gopkg-eapache-go-resiliency.v1-dev",
    "x/time/rate": "golang-go, golang-golang-x-time-dev",
    "juju/ratelimit": "golang-go, golang-github-juju-ratelimit-dev",
    "x/sync/semaphore": "golang-go, golang-golang-x-sync-dev",
    "go channel": "golang-go, golang-golang-x-sync-dev",
}

OURS = Entrant("penstock", "road/penstock")
GO = "road/go"
THREADS = (1, 4)


def breaker():
    locked = Entrant("mutex", "road/locked")
    # Records no success, so it cannot know the part of the calls that fail.
    go = Entrant("go-resiliency", GO, promises=False)
    for name, workload in (("road_breaker/closed", "breaker"), ("road_breaker/open", "breaker_open")):
        for threads in THREADS:
            yield Cell(f"{name}/threads:{threads}", workload, {"producers": threads}, (OURS, locked, go))


def rate():
    for name, suffix in (("road_rate/granted", ""), ("road_rate/refused", "_refused")):
        entrants = (OURS, Entrant("our token bucket", "road/penstock", promises=False, workload=f"rate_bucket{suffix}"),
                    Entrant("mutex", "road/locked"), Entrant("x/time/rate", GO),
                    Entrant("juju/ratelimit", GO, workload=f"rate_juju{suffix}"))
        for threads in THREADS:
            yield Cell(f"{name}/threads:{threads}", f"rate{suffix}", {"producers": threads}, entrants)


def limiter():
    """A slot taken, waiting if need be, and given back: of more than there are threads, or of fewer."""
    for name, capacity, threads in (("free", 1000, 1), ("free", 1000, 4), ("short", 2, 4)):
        entrants = [Entrant("penstock", "road/penstock_limiter"), Entrant("mutex, condvar", "road/locked"),
                    # Whoever comes may overtake who waits.
                    Entrant("counting_semaphore", "road/locked", promises=False, workload="limiter_semaphore"),
                    Entrant("x/sync/semaphore", GO), Entrant("go channel", GO, workload="limiter_channel")]
        if name == "free":
            entrants.insert(1, Entrant("our try_acquire", "road/penstock_limiter", promises=False,
                                       workload="limiter_try"))
        yield Cell(f"road_limiter/{name}/threads:{threads}", "limiter", {"capacity": capacity, "producers": threads},
                   tuple(entrants))


def cells():
    return [*breaker(), *rate(), *limiter()]
