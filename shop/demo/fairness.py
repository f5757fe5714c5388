"""Queues that are full at the same time, and the share of a worker that each gets."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from shop.demo.fairness_actors import ACTORS, QUEUES
from workshed import broker, db, schedule
from workshed.db import Connection

JOBS_PER_QUEUE = 300
"""Jobs per queue."""
TOLERANCE = 0.25
"""A share may differ from what the weights say by this fraction of itself."""


@dataclass(slots=True)
class FairnessDemo:
    """The demo's full queues, and what was seen of them so far."""

    weights: dict[str, int]
    succeeded: int = 0
    early_starts: dict[str, int] = field(default_factory=dict)
    """By queue: how many of its jobs were started while all queues were full."""

    @property
    def title(self) -> str:
        """Say what it is."""
        return f"{len(QUEUES)} queues of {JOBS_PER_QUEUE} jobs each, filled at once"

    @property
    def progress(self) -> tuple[str, int, int]:
        """How many jobs have succeeded."""
        return "queues", self.succeeded, JOBS_PER_QUEUE * len(QUEUES)

    @property
    def pending(self) -> list[str]:
        """Name the expected events that were not seen yet."""
        missing = (
            []
            if self.succeeded == JOBS_PER_QUEUE * len(QUEUES)
            else [f"{JOBS_PER_QUEUE} jobs of each queue"]
        )
        total = sum(self.early_starts.values())
        for queue, weight in self.weights.items():
            share = total * weight / sum(self.weights.values())
            if not total or abs(self.early_starts.get(queue, 0) - share) > TOLERANCE * share:
                missing.append(f"the share of {queue}")
        return [f"weighted queues: {what}" for what in missing]

    def update(self, conn: Connection) -> None:
        """Look once."""
        names = [actor.actor_name for actor in ACTORS.values()]
        query = (
            "SELECT count(*) FROM workshed.runs WHERE actor = ANY (%s) AND outcome = 'succeeded'"
        )
        ((self.succeeded,),) = conn.execute(query, (names,)).fetchall()
        if self.succeeded == JOBS_PER_QUEUE * len(QUEUES):
            # The queue with the largest weight is empty first. Prefetched jobs blur that: use 90 %.
            most = (
                JOBS_PER_QUEUE * sum(self.weights.values()) // max(self.weights.values()) * 9 // 10
            )
            first = """
                SELECT queue, count(*)
                  FROM (SELECT queue FROM workshed.runs WHERE actor = ANY (%s)
                         ORDER BY started_at LIMIT %s) AS first
                 GROUP BY queue
            """
            self.early_starts = dict(conn.execute(first, (names, most)).fetchall())

    def summary_lines(self) -> Iterator[str]:
        """Yield lines that say what share each queue has had."""
        total = sum(self.early_starts.values())
        for queue, weight in self.weights.items():
            share = self.early_starts.get(queue, 0)
            percent = 100 * share / total if total else 0
            yield f"{queue:<10} weight {weight}  {share:4} of the first {total}, {percent:.0f} %"


def fill_queues() -> FairnessDemo:
    """Fill the queues, one job of each in turn; the relay sends faster than the worker works."""
    with db.transaction() as conn:
        for number in range(JOBS_PER_QUEUE):
            for actor in ACTORS.values():
                schedule.send(conn, actor.message(number))
    return FairnessDemo({queue: broker.declared_queues[queue].weight for queue in QUEUES})
