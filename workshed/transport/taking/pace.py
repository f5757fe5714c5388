"""How many jobs a worker takes ahead of its threads."""

from collections import Counter, defaultdict

from workshed.transport.taking.table_consumer import TableConsumer

MOST = 500
"""Most jobs of a queue that wait or run in a process."""
AHEAD_S = 0.2
"""Jobs are taken for about this time, so that few statements serve many short jobs, and none waits
here for long while another process is idle."""
MEASURE_S = 0.05


class TakingPace:
    """Measures how fast the jobs of each queue end; used by the taking thread."""

    def __init__(self) -> None:
        """Begin with as many jobs as the queues' prefetch says."""
        self.low_water = 0
        """With as few jobs in this process, more are to be taken at once."""
        self._ended: Counter[str] = Counter()
        self._since: defaultdict[str, float] = defaultdict(float)
        self._targets: dict[str, int] = {}

    def count(self, queue: str) -> None:
        """Note that a job has ended."""
        self._ended[queue] += 1

    def find_room(self, consumer: TableConsumer, count: int, now: float) -> int:
        """Return how many more jobs of a queue to take now."""
        queue = consumer.queue
        span = now - self._since[queue.name]
        if span >= MEASURE_S:
            wanted = int(self._ended[queue.name] / span * AHEAD_S)
            least = consumer.prefetch
            self._targets[queue.name] = (
                least if queue.cap is not None else min(max(wanted, least), max(MOST, least))
            )
            self._since[queue.name], self._ended[queue.name] = now, 0
            self.low_water = max(self._targets.values()) // 2
        return self._targets[queue.name] - count
