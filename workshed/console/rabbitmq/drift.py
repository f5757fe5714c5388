"""Compare the queues on RabbitMQ with their declarations, by the management API."""

import shlex
from collections.abc import Iterable, Iterator
from typing import Any

from workshed.console.rabbitmq.management_api import ManagementApi
from workshed.queues import Queue
from workshed.transport.amqp.arguments import EXCHANGE, Version, accepted_arguments, parse_version
from workshed.value_class import value_class

SETUP_COMMAND = "workshed broker setup"


@value_class
class Difference:
    """One difference from the declaration, and its fix."""

    message: str
    fix: str


def find_differences(api: ManagementApi, queues: Iterable[Queue]) -> list[Difference]:
    """Compare the queues, their arguments and their bindings; raises `ManagementError`."""
    found = api.queues()
    version = parse_version(api.overview().get("rabbitmq_version", ""))
    missing = [
        name for queue in queues for name in (queue.name, queue.dead_name) if name not in found
    ]
    result = (
        [Difference(f"missing: {', '.join(api.prefix + one for one in missing)}", SETUP_COMMAND)]
        if missing
        else []
    )
    bound = set() if missing else api.bindings(EXCHANGE)
    for queue in queues:
        for name in (queue.name, queue.dead_name):
            if name in found and not missing and (name, name) not in bound:
                there = api.prefix + name
                said = f"queue {there!r} is not bound to exchange {EXCHANGE!r}: it gets no messages"
                result.append(Difference(said, SETUP_COMMAND))
        if queue.name in found:
            wrong = ", ".join(describe_arguments(queue, found[queue.name], version))
            if wrong:
                result.append(
                    Difference(
                        f"queue {queue.rabbitmq_name!r}: {wrong}", recreate_command(api, queue)
                    )
                )
        if found.get(queue.dead_name, {}).get("type", "quorum") != "quorum":
            said = f"queue {queue.dead_rabbitmq_name!r} is not a quorum queue"
            result.append(Difference(said, recreate_command(api, queue, queue.dead_name)))
    return result


def describe_arguments(queue: Queue, found: dict[str, Any], version: Version) -> Iterator[str]:
    """Yield the arguments that differ; RabbitMQ keeps those that a queue was created with."""
    allowed, has = accepted_arguments(queue, version), found.get("arguments", {})
    wanted = has if has in allowed else allowed[0]
    for name in sorted(wanted.keys() | has.keys()):
        was, new = has.get(name), wanted.get(name)
        if was != new:
            yield f"{name} is {format_argument(was)} and declared as {format_argument(new)}"
    if not found.get("durable"):
        yield "it does not survive a restart of RabbitMQ"


def format_argument(value: object) -> str:
    """Format an argument, or its absence."""
    return "absent" if value is None else repr(value)


def recreate_command(api: ManagementApi, queue: Queue, name: str | None = None) -> str:
    """Return how to recreate a queue without losing its messages."""
    there = api.prefix + (name or queue.name)
    delete = f"rabbitmqctl delete_queue --vhost {shlex.quote(api.vhost)} {there}"
    return f"once `workshed queues` shows it empty and none unacked: {delete} && {SETUP_COMMAND}"
