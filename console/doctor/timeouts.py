"""Times that must fit each other."""

from collections.abc import Iterator
from datetime import timedelta

from brokers import build
from console.doctor.environment import variable
from console.doctor.finding import Finding, failed, ok
from console.doctor.surroundings import Surroundings
from console.words import in_words
from middleware import Deadline
from workshed.settings import Settings

LONGEST_SHARE = 0.5
"""Of the consumer timeout: a job may have waited in the worker for as long again."""
NEVER_ZERO = ("publish_timeout", "smtp_timeout")


def settings(here: Surroundings) -> Iterator[Finding]:
    """Refuse a limit of nothing."""
    zero = [name for name in NEVER_ZERO if not getattr(here.settings, name)]
    for name in zero:
        usual: timedelta = Settings.model_fields[name].default
        line = f"export {variable(name)}={usual.total_seconds():g}"
        yield failed(f"{variable(name)} is 0, so that nothing ever ends in time", line)
    if not zero:
        yield ok("none is 0")


def limits(_: Surroundings) -> Iterator[Finding]:
    """Compare the time limit of each actor with the consumer timeout of its queue."""
    broker = build.broker()
    usual = next(one.default_ms for one in broker.middleware if isinstance(one, Deadline))
    wrong = 0
    for name, actor in sorted(broker.actors.items()):
        limit = timedelta(milliseconds=actor.options.get("time_limit", usual))
        queue = broker.declared[actor.queue_name]
        most = queue.consumer_timeout * LONGEST_SHARE
        if limit > most:
            wrong += 1
            yield failed(
                f"{name} may run for {in_words(limit)}, and RabbitMQ takes a job of queue "
                f"{queue.name} back after {in_words(queue.consumer_timeout)}; half of that is safe",
                f"time_limit=ms(minutes={most / timedelta(minutes=1):g})  (or a Queue of its own "
                f"with consumer_timeout=timedelta(minutes={2 * limit / timedelta(minutes=1):g}))",
            )
    if not wrong:
        yield ok(f"the time limits of {len(broker.actors)} actors fit their queues")
