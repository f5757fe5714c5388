"""The workers: one on each queue that has actors, or jobs."""

from collections.abc import Iterator

from brokers import build
from console.depths import depths
from console.doctor.surroundings import Surroundings
from console.finding import Finding, failed, ok, warning
from middleware.retries import retry_queues


def check(here: Surroundings) -> Iterator[Finding]:
    """Look for queues without a consumer: nothing else says that nobody takes their jobs."""
    names = [*(queue.name for queue in here.queues), *here.foreign_queues]
    found = depths(here.urls, names, prefix=here.prefix)
    alone = {name: one.ready for name, one in found.items() if not one.consumers}
    full = [f"{name} ({ready} ready)" for name, ready in alone.items() if ready]
    empty = [name for name in sorted(with_actors(here)) if alone.get(name) == 0]
    start = " ".join(("workshed worker", *(here.packages or ("PACKAGE",))))
    if full:
        yield failed(f"no worker is on {', '.join(full)}: their jobs wait", start)
    if empty:
        yield warning(f"no worker is on {', '.join(empty)}, where nothing waits", start)
    if not (full or empty):
        yield ok("a worker is on each queue that has jobs, or actors")


def with_actors(here: Surroundings) -> set[str]:
    """Name the queues that the imported actors work off, or those that workers have declared."""
    if not here.packages:
        return here.used_queues or set()
    if here.problems:  # no broker can be built then
        return set()
    actors = build.broker().actors.values()
    return {queue for actor in actors for queue in (actor.queue_name, *retry_queues(actor))}
