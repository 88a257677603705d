"""What is measured: a cell is one workload with its arguments, done by ours and by its peers."""
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entrant:
    name: str  # as it is printed
    program: str  # below the folder of the programs, as 'channel/crossbeam', or an absolute path
    promises: bool = True  # False for one that promises less than ours: spins, has no bound, is not for threads
    arguments: dict = field(default_factory=dict)  # its own, beside those of the cell
    workload: str = ""  # its own, in place of that of the cell
    is_guest: bool = False  # named by --peer: may not know all workloads and arguments


@dataclass(frozen=True)
class Cost:
    figure: str  # of the line that a program prints
    unit: str  # 'ns ...' and 'CPU ns ...' are times; the table has the CPU time in the line of the wall time


WALL = (Cost("wall_ns", "ns per item"), Cost("cpu_ns", "CPU ns per item"))


@dataclass(frozen=True)
class Cell:
    name: str  # 'throughput/bytes:8/capacity:0/1p1c'; the first part names the group
    workload: str
    arguments: dict
    entrants: tuple  # ours first
    costs: tuple = WALL
    trial: int = 1000  # items of the first, uncounted run, which tells how many are enough
    weight: float = 1.0  # how much longer than others it is measured
    items: int = 0  # if not 0: always that many, measured `repeats` times
    repeats: int = 1  # at most as often as everything else
    takes_guests: bool = False  # whether the programs named by --peer take part

    @property
    def group(self):
        return self.name.split("/")[0]
