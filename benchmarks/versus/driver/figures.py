"""From the figures of single runs to rows: medians, ratios, and how far they can be trusted."""
import math
import statistics

ROW_KEYS = ("workload", "unit", "ours", "peer", "peer_value", "ratio", "spread", "promises")


def spread(values):
    """Half the distance between the quartiles, relative to the median: 0.1 means that half of the rounds were within
    about 10 % of it. 0 for less than two values."""
    middle = statistics.median(values)
    if len(values) < 2 or middle == 0:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2 / middle


def row(workload, unit, ours, peer="", theirs=(), promises=True):
    """One comparison. `ours` and `theirs` are costs, one for each round: the n-th of both were measured one after the
    other. Without a peer there is no ratio."""
    mine = statistics.median(ours)
    if not theirs:
        return dict(zip(ROW_KEYS, (workload, unit, mine, "", None, None, spread(ours), promises)))
    other = statistics.median(theirs)
    ratios = [a / b for a, b in zip(ours, theirs) if b > 0]
    ratio = mine / other if other > 0 else None
    return dict(zip(ROW_KEYS, (workload, unit, mine, peer, other, ratio, spread(ratios) if ratios else 0.0, promises)))


def rows_of(cell, results):
    """The rows of a cell; `results` maps the name of an entrant to its figures, a list of one for each round. Entrants
    that could not do it are not in there."""
    ours, *peers = cell.entrants
    mine = results.get(ours.name)
    if not mine:
        return []
    rows = []
    for cost in cell.costs:
        values = [figures[cost.figure] for figures in mine if cost.figure in figures]
        if not values:
            continue
        before = len(rows)
        for peer in peers:
            theirs = [figures[cost.figure] for figures in results.get(peer.name, ()) if cost.figure in figures]
            if theirs:
                rows.append(row(cell.name, cost.unit, values, peer.name, theirs, peer.promises))
        if len(rows) == before:
            rows.append(row(cell.name, cost.unit, values))
    return rows


def best(rows):
    """Of rows about one workload, the one with the fastest peer among those that promise as much as ours."""
    fit = [row for row in rows if row["ratio"] is not None and row["promises"]]
    return min(fit, key=lambda row: row["peer_value"], default=None)


def geometric_mean(values):
    return math.exp(sum(math.log(value) for value in values) / len(values))


def for_json(rows):
    """Rows as they are written: six digits are plenty."""
    def short(value):
        return float(f"{value:.6g}") if isinstance(value, float) else value
    return [{key: short(row[key]) for key in ROW_KEYS} for row in rows]
