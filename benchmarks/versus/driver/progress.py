"""How far it is, and how long it will take: one line that is written over on a terminal, else a line now and then."""
import time


def clock_time(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    EVERY = 15.0  # seconds between lines where there is no terminal

    def __init__(self, total, stream, clock=time.monotonic):
        self.total, self.stream, self.clock = total, stream, clock
        self.begin, self.last, self.shown = clock(), clock(), ""

    def show(self, done, label):
        """Says that `done` of the total is done, and that `label` comes next."""
        now = self.clock()
        left = ""
        if done > 0:
            left = f"{clock_time((now - self.begin) / done * max(self.total - done, 0))} left"
        line = f"[{100 * done / self.total:3.0f} %] {left:>10}  {label}"
        if self.stream.isatty():
            if line != self.shown:
                self.stream.write(f"\r\033[K{line[:118]}")
                self.stream.flush()
        elif now - self.last >= self.EVERY:
            self.stream.write(line + "\n")
            self.stream.flush()
            self.last = now
        self.shown = line

    def finish(self):
        """Clears the line, and returns how long it took."""
        if self.stream.isatty():
            self.stream.write("\r\033[K")
            self.stream.flush()
        return clock_time(self.clock() - self.begin)
