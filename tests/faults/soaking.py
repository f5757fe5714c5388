"""Measurements during a steady load, and their growth."""

import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

DAY_S = 86_400
PAGE_MIB = 4096 / (1 << 20)


class Samples:
    """A series of measured numbers by name."""

    def __init__(self, take: Callable[[], dict[str, float]]) -> None:
        self._take = take
        self._rows: list[tuple[float, dict[str, float]]] = []

    def add(self) -> None:
        """Measure once more."""
        self._rows.append((time.monotonic(), self._take()))

    def slope_s(self, name: str) -> float:
        """Return a number's growth per second by least squares, without the first third."""
        rows = self._rows[len(self._rows) // 3 :]
        if len(rows) < 2:
            return 0.0
        times = [at for at, _ in rows]
        values = [numbers.get(name, 0.0) for _, numbers in rows]
        return statistics.linear_regression(times, values).slope

    def a_day(self, name: str) -> float:
        """Return the growth extrapolated to a day."""
        return round(self.slope_s(name) * DAY_S, 1)

    def growth(self, name: str) -> float:
        """Return by how much the typical value of the last third exceeds that of the second."""
        third = len(self._rows) // 3
        if not third:
            return 0.0
        values = [numbers.get(name, 0.0) for _, numbers in self._rows]
        return statistics.median(values[-third:]) - statistics.median(values[third : 2 * third])


def rss_mib(pids: Iterable[int]) -> float:
    """Return the memory of processes in total; a process that has ended counts as 0."""
    total = 0.0
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/statm").read_text().split()
        except OSError:
            continue
        total += int(words[1]) * PAGE_MIB
    return total


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    except OSError:
        pass
    return found
