"""Queues that are full at the same time, and the share of a worker that each gets."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from shop.demo.load import ACTORS, QUEUES
from workshed import broker, db, schedule
from workshed.db import Connection

JOBS = 300
"""Jobs per queue."""
LEEWAY = 0.25
"""A share may differ from what the weights say by this fraction of itself."""


@dataclass(slots=True)
class FairnessDemo:
    """The demo's full queues, and what was seen of them so far."""

    weights: dict[str, int]
    done: int = 0
    first: dict[str, int] = field(default_factory=dict)
    """By queue: how many of its jobs were started while all queues were full."""

    @property
    def title(self) -> str:
        """Say what it is."""
        return f"{len(QUEUES)} queues of {JOBS} jobs each, filled at once"

    @property
    def bar(self) -> tuple[str, int, int]:
        """How many jobs have succeeded."""
        return "queues", self.done, JOBS * len(QUEUES)

    @property
    def missing(self) -> list[str]:
        """Name the expected events that were not seen yet."""
        missing = [] if self.done == JOBS * len(QUEUES) else [f"{JOBS} jobs of each queue"]
        total = sum(self.first.values())
        for queue, weight in self.weights.items():
            share = total * weight / sum(self.weights.values())
            if not total or abs(self.first.get(queue, 0) - share) > LEEWAY * share:
                missing.append(f"the share of {queue}")
        return [f"weighted queues: {what}" for what in missing]

    def look(self, conn: Connection) -> None:
        """Look once."""
        names = [actor.actor_name for actor in ACTORS.values()]
        query = (
            "SELECT count(*) FROM workshed.runs WHERE actor = ANY (%s) AND outcome = 'succeeded'"
        )
        ((self.done,),) = conn.execute(query, (names,)).fetchall()
        if self.done == JOBS * len(QUEUES):
            # The queue with the largest weight is empty first. Prefetched jobs blur that: use 90 %.
            most = JOBS * sum(self.weights.values()) // max(self.weights.values()) * 9 // 10
            first = """
                SELECT queue, count(*)
                  FROM (SELECT queue FROM workshed.runs WHERE actor = ANY (%s)
                         ORDER BY started_at LIMIT %s) AS first
                 GROUP BY queue
            """
            self.first = dict(conn.execute(first, (names, most)).fetchall())

    def stories(self) -> Iterator[str]:
        """Yield lines that say what share each queue has had."""
        total = sum(self.first.values())
        for queue, weight in self.weights.items():
            share = self.first.get(queue, 0)
            percent = 100 * share / total if total else 0
            yield f"{queue:<10} weight {weight}  {share:4} of the first {total}, {percent:.0f} %"


def fill() -> FairnessDemo:
    """Fill the queues, one job of each in turn; the relay sends faster than the worker works."""
    with db.transaction() as conn:
        for number in range(JOBS):
            for actor in ACTORS.values():
                schedule.send(conn, actor.message(number))
    return FairnessDemo({queue: broker.declared[queue].weight for queue in QUEUES})
