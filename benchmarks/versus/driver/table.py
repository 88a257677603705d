"""All rows as one table, a line for each workload."""
from figures import best, geometric_mean

HEAD = ("workload", "penstock", "CPU", "best peer", "cost", "CPU", "ratio", "+-", "CPU ratio", "other peers")
LEFT = (0, 3, 9)  # columns of text


def amount(value, unit):
    if "ns" not in unit.split():
        return f"{value:.0f} {unit.split()[0]}" if value >= 10 or value == int(value) else f"{value:.2g} {unit.split()[0]}"
    for name, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g} ns"


def number(ratio):
    return "-" if ratio is None else f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"


def by_workload(rows):
    """Maps (workload, unit) to its rows, in the order of the rows."""
    groups = {}
    for row in rows:
        groups.setdefault((row["workload"], row["unit"]), []).append(row)
    return groups


def line(workload, unit, rows, cpu_rows):
    peers = [row for row in rows if row["peer"]]
    first = best(peers)
    spread = (first or rows[0])["spread"]
    cells = [workload if unit.startswith("ns per") else f"{workload} ({unit})", amount(rows[0]["ours"], unit)]
    cells.append(amount(cpu_rows[0]["ours"], unit) if cpu_rows else "")
    cpu = next((row for row in cpu_rows if first and row["peer"] == first["peer"]), None)
    cells += [first["peer"], amount(first["peer_value"], unit)] if first else ["", ""]
    cells.append(amount(cpu["peer_value"], unit) if cpu else "")
    cells += [number(first["ratio"]) if first else "", f"{100 * spread:.0f} %" if spread else ""]
    cells.append(number(cpu["ratio"]) if cpu else "")
    others = sorted((row for row in peers if row is not first), key=lambda row: row["peer_value"])
    cells.append(", ".join(f"{row['peer']}{'' if row['promises'] else '*'} {number(row['ratio'])}" for row in others))
    return cells


def columns(lines):
    widths = [max(len(cells[i]) for cells in lines) for i in range(len(HEAD))]
    for cells in lines:
        yield "  ".join(text.ljust(width) if i in LEFT else text.rjust(width)
                        for i, (text, width) in enumerate(zip(cells, widths))).rstrip()


def summary(rows):
    """For each group of workloads, how ours compares over all of them."""
    groups = {}
    for (workload, unit), same in by_workload(rows).items():
        if unit.startswith("ns ") and best(same):
            groups.setdefault(workload.split("/")[0], []).append(best(same))
    for group, firsts in groups.items():
        ratios = [row["ratio"] for row in firsts]
        if len(ratios) < 2:
            continue
        worst = max(firsts, key=lambda row: row["ratio"])
        yield (f"{group}: geometric mean of {len(ratios)} ratios {number(geometric_mean(ratios))}, "
               f"worst {number(worst['ratio'])} ({worst['workload']}, {worst['peer']})")


def table(rows):
    groups = by_workload(rows)
    lines = [HEAD]
    for (workload, unit), same in groups.items():
        if not unit.startswith("CPU "):
            lines.append(line(workload, unit, same, groups.get((workload, f"CPU {unit}"), [])))
    yield from columns(lines)
    yield ""
    yield "ratio: our cost over that of the fastest peer that promises as much, so below 1 ours is faster; half of the"
    yield "rounds were within +- of it. *: promises less (has no bound, or is not for threads)."
    yield from summary(rows)
