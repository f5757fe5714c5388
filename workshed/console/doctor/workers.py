"""Check that a worker consumes each queue that has actors or jobs."""

from collections.abc import Iterable, Iterator
from functools import partial

from workshed.console.doctor.context import DoctorContext
from workshed.console.operations.finding import Finding, failed, ok, warning
from workshed.console.rabbitmq.management_api import ManagementApi
from workshed.console.rabbitmq.queue_depths import fetch_depths
from workshed.middleware.retrying.retries import retry_queues
from workshed.transport import build
from workshed.transport.consuming import consumer_tag


def check_workers(here: DoctorContext) -> Iterator[Finding]:
    """Look for queues without a consumer; no other check notices that their jobs wait."""
    names = [*(queue.name for queue in here.queues), *here.foreign_queues]
    found = fetch_depths(here.urls, names, prefix=here.prefix)
    alone = {name: one.ready for name, one in found.items() if not one.consumers}
    full = [f"{name} ({ready} ready)" for name, ready in alone.items() if ready]
    used = sorted(list_actor_queues(here))
    empty = [name for name in used if name not in found or alone.get(name) == 0]
    start = " ".join(("workshed worker", *(here.packages or ("PACKAGE",))))
    if full:
        yield failed(f"no worker consumes {', '.join(full)}: jobs wait", start)
    if empty:
        yield warning(f"no worker consumes {', '.join(empty)} (no jobs wait there)", start)
    shared = list(find_shared_queues(here, found))
    yield from shared
    if not (full or empty or shared):
        yield ok("a worker consumes each queue that has jobs or actors")


def find_shared_queues(here: DoctorContext, names: Iterable[str]) -> Iterator[Finding]:
    """Look for programs that share a queue: each gets jobs for which it has no actor.

    This needs the management API. The tag of a consumer identifies its program.
    """
    for name in names:
        tags = here.query_management(partial(list_consumers, name)) or []
        programs = {one.digest: one for tag in tags if (one := consumer_tag.parse_tag(tag))}
        if len(programs) > 1:
            listed = "; ".join(sorted(one.name for one in programs.values()))
            yield warning(
                f"workers with different actors share queue {name}: {listed}. A job waits until "
                "a worker that has its actor gets it. During a deployment this is temporary",
                "give each program its own queues, for example with WORKSHED_QUEUE_PREFIX",
            )


def list_consumers(name: str, api: ManagementApi) -> list[str]:
    """Return the tags of the consumers of a queue."""
    return api.consumers(name)


def list_actor_queues(here: DoctorContext) -> set[str]:
    """Return the queues of the imported actors, or those of the actors that workers declared."""
    if not here.packages:
        return here.used_queues or set()
    if here.problems:  # then no broker can be built
        return set()
    actors = build.get_broker().actors.values()
    return {queue for actor in actors for queue in (actor.queue_name, *retry_queues(actor))}
