"""Take numbers for the price of an append, and hand on many of them at once."""

import threading
from collections import defaultdict, deque

from workshed.metrics.meter import Metric

EVERY_S = 0.1
CLOSE_S = 5.0


class MetricBuffer:
    """A thread that hands on, ten times a second, what other threads have noted.

    Each number is a write to a file that another process reads, under one lock: handed on by the
    threads that run jobs, they took as long as all else that is done for a job. A process that is
    killed loses those of a tenth of a second.
    """

    def __init__(self) -> None:
        """Start nothing."""
        self._noted: deque[tuple[Metric, str, float, tuple[str, ...]]] = deque()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Hand on from now on."""
        self._thread.start()

    def note(self, meter: Metric, method: str, number: float, values: tuple[str, ...]) -> None:
        """Take a number for a meter, by its labels."""
        self._noted.append((meter, method, number, values))

    def hand_on(self) -> None:
        """Hand on what was noted until now."""
        found: defaultdict[tuple[Metric, str, tuple[str, ...]], list[float]] = defaultdict(list)
        for _ in range(len(self._noted)):
            meter, method, number, values = self._noted.popleft()
            found[meter, method, values].append(number)
        for (meter, method, values), numbers in found.items():
            meter.tell_all(method, numbers, values)

    def close(self) -> None:
        """Hand on the rest."""
        self._over.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            self.hand_on()
        self.hand_on()
