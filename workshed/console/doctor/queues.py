"""Check the queues: they exist as declared, none is paused, and dead queues are empty."""

from collections.abc import Iterator

from workshed.console.doctor.context import DoctorContext
from workshed.console.operations import problems
from workshed.console.operations.finding import Finding, failed, ok, unchecked, warning
from workshed.console.rabbitmq.drift import SETUP_COMMAND, find_differences
from workshed.console.rabbitmq.queue_depths import count_dead_messages, fetch_depths
from workshed.database.postgres import database_now
from workshed.jobs.control import queues

SETUP_IMPORT = f"{SETUP_COMMAND} --import PACKAGE"


def check_declared(here: DoctorContext) -> Iterator[Finding]:
    """Compare the queues with their declarations; AMQP alone only shows whether they exist."""
    foreign = here.foreign_queues
    present = fetch_depths(here.urls, foreign, prefix=here.prefix) if foreign else {}
    if gone := [here.prefix + name for name in foreign if name not in present]:
        # Only a warning: perhaps no worker has these actors any more, but the database keeps them.
        yield warning(f"missing: {', '.join(gone)}", SETUP_IMPORT)
    elif foreign:
        yield ok(f"{', '.join(foreign)} exist")
        yield unchecked(
            "their arguments: only the module that declares them has these",
            "workshed doctor --import PACKAGE",
        )
    if not here.queues:
        return
    found = here.query_management(lambda api: find_differences(api, here.queues))
    if found is not None:
        for one in found:
            yield failed(one.message, one.fix)
        if not found:
            yield ok(f"{describe_count(here)}, with {choose_pronoun(here)} arguments and bindings")
        return
    names = [name for queue in here.queues for name in (queue.name, queue.dead_name)]
    there = fetch_depths(here.urls, names, prefix=here.prefix)
    missing = [here.prefix + name for name in names if name not in there]
    if missing:
        yield failed(f"missing: {', '.join(missing)}", SETUP_COMMAND)
    else:
        yield ok(describe_count(here))
    yield unchecked(
        "their arguments and bindings: this needs the management API",
        "export WORKSHED_MANAGEMENT_URL=http://user:password@host:15672",
    )


def describe_count(here: DoctorContext) -> str:
    """Say how many queues exist."""
    count = len(here.queues)
    return "1 queue exists" if count == 1 else f"{count} queues exist"


def choose_pronoun(here: DoctorContext) -> str:
    """Return the pronoun for this many queues."""
    return "its" if len(here.queues) == 1 else "their"


def check_dead_queues(here: DoctorContext) -> Iterator[Finding]:
    """Look for messages that could not even be stored as dead jobs."""
    names = [*(queue.name for queue in here.queues), *here.foreign_queues]
    found = count_dead_messages(here.urls, names, here.prefix)
    for name, count in found.items():
        said = f"{name}.dead holds {count}, whose outcome could not be stored"
        yield warning(said, f"workshed dead requeue {name}")
    if not found:
        yield ok("RabbitMQ's dead queues are empty")


def check_paused(here: DoctorContext) -> Iterator[Finding]:
    """Look for paused queues, which an operator may have forgotten."""
    with here.connect() as conn:
        found, now = queues.list_queues(conn), database_now(conn)
    paused = problems.judge_pauses(found, now)
    yield from paused
    if not paused:
        yield ok("no queue is paused")
