"""Queues that are full at the same time, and what share of a worker each gets."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from shop.demo.load import ACTORS, QUEUES
from workshed import broker, db, schedule
from workshed.db import Connection

JOBS = 300
"""Of each queue."""
LEEWAY = 0.25
"""By so much of itself a share may differ from what the weights say."""


@dataclass(slots=True)
class FairnessDemo:
    """The queues of the demo under load, and what was seen of them so far."""

    weights: dict[str, int]
    done: int = 0
    first: dict[str, int] = field(default_factory=dict)
    """How many jobs of each were started while all queues were full."""

    @property
    def title(self) -> str:
        """Say what it is."""
        return f"{len(QUEUES)} queues of {JOBS} jobs each, filled at once"

    @property
    def bar(self) -> tuple[str, int, int]:
        """How many jobs are done."""
        return "queues", self.done, JOBS * len(QUEUES)

    @property
    def missing(self) -> list[str]:
        """Name what is expected and was not seen yet."""
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
            # The heaviest is the first that runs empty; what runs ahead of its turn is in memory.
            most = JOBS * sum(self.weights.values()) // max(self.weights.values()) * 9 // 10
            first = """
                SELECT queue, count(*)
                  FROM (SELECT queue FROM workshed.runs WHERE actor = ANY (%s)
                         ORDER BY started_at LIMIT %s) AS first
                 GROUP BY queue
            """
            self.first = dict(conn.execute(first, (names, most)).fetchall())

    def stories(self) -> Iterator[str]:
        """Say in lines what share each has had."""
        total = sum(self.first.values())
        for queue, weight in self.weights.items():
            share = self.first.get(queue, 0)
            percent = 100 * share / total if total else 0
            yield f"{queue:<10} weight {weight}  {share:4} of the first {total}, {percent:.0f} %"


def fill() -> FairnessDemo:
    """Fill the queues, a job of each in turn; a relay sends them faster than a worker works."""
    with db.transaction() as conn:
        for number in range(JOBS):
            for actor in ACTORS.values():
                schedule.send(conn, actor.message(number))
    return FairnessDemo({queue: broker.declared[queue].weight for queue in QUEUES})
