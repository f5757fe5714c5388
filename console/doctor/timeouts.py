"""Times that must fit each other; a limit of nothing the settings refuse."""

from collections.abc import Iterator
from datetime import timedelta

from brokers import build
from console.doctor.finding import Finding, failed, ok
from console.doctor.surroundings import Surroundings
from console.words import in_words
from middleware import Deadline
from middleware.retries import retry_queues

LONGEST_SHARE = 0.5
"""Of the consumer timeout: a job may have waited in the worker for as long again."""

LONGEST_HARD_SHARE = 0.75
"""It may have waited for a quarter: one that waits for longer is given back."""


def limits(_: Surroundings) -> Iterator[Finding]:
    """Compare the time limit of each actor with the consumer timeout of its queue."""
    broker = build.broker()
    usual = next(one.default_ms for one in broker.middleware if isinstance(one, Deadline))
    wrong = 0
    for name, actor in sorted(broker.actors.items()):
        limit = timedelta(milliseconds=actor.options.get("time_limit", usual))
        queues = [broker.declared[queue] for queue in (actor.queue_name, *retry_queues(actor))]
        queue = min(queues, key=lambda queue: queue.consumer_timeout)
        most = queue.consumer_timeout * LONGEST_SHARE
        if limit > most:
            wrong += 1
            yield failed(
                f"{name} may run for {in_words(limit)}, and RabbitMQ takes a job of queue "
                f"{queue.name} back after {in_words(queue.consumer_timeout)}; half of that is safe",
                f"time_limit=ms(minutes={most / timedelta(minutes=1):g})  (or a Queue of its own "
                f"with consumer_timeout=timedelta(minutes={2 * limit / timedelta(minutes=1):g}))",
            )
        hard = timedelta(milliseconds=actor.options.get("hard_time_limit", 0))
        most = queue.consumer_timeout * LONGEST_HARD_SHARE
        if hard > most:
            wrong += 1
            yield failed(
                f"{name} is given up after {in_words(hard)}, and RabbitMQ takes a job of queue "
                f"{queue.name} back after {in_words(queue.consumer_timeout)}; three quarters of "
                "that are safe",
                f"hard_time_limit=ms(minutes={most / timedelta(minutes=1):g})",
            )
    if not wrong:
        yield ok(f"the time limits of {len(broker.actors)} actors fit their queues")
