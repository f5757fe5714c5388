"""Buffer measurements cheaply, and write them in batches."""

from collections import defaultdict, deque

from workshed.metrics.metric import Metric
from workshed.threads.background import BackgroundThread

EVERY_S = 0.1
LONGEST_PAUSE_S = 5.0  # after errors, for example on a full disk
CLOSE_S = 5.0


class MetricBuffer:
    """A thread that writes, ten times a second, the measurements that other threads have noted.

    Each measurement is a write to a shared file under one lock. Written by the threads that run
    jobs, these took as long as everything else that is done for a job. A killed process loses the
    measurements of a tenth of a second.
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[Metric, float, tuple[str, ...]]] = deque()
        self._thread = BackgroundThread(
            "metrics",
            self.flush,
            EVERY_S,
            retry_s=(EVERY_S, LONGEST_PAUSE_S),
            is_work_left=lambda: self._pending,
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def record(self, meter: Metric, number: float, values: tuple[str, ...]) -> None:
        """Note a measurement: a metric, the number, and the label values."""
        self._pending.append((meter, number, values))

    def flush(self) -> None:
        """Write everything noted so far."""
        found: defaultdict[tuple[Metric, tuple[str, ...]], list[float]] = defaultdict(list)
        for _ in range(len(self._pending)):
            meter, number, values = self._pending.popleft()
            found[meter, values].append(number)
        for (meter, values), numbers in found.items():
            meter.record(numbers, values)

    def close(self) -> None:
        """Write the rest, and stop the thread."""
        self._thread.stop(CLOSE_S)
