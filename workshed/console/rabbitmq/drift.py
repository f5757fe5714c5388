"""What RabbitMQ has against what is declared, as its management API shows it."""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from workshed.console.rabbitmq.management_api import Management
from workshed.queues import Queue
from workshed.transport.amqp.arguments import EXCHANGE, Version, equivalents, read_version

SETUP = "workshed broker setup"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as declared, and what mends it."""

    message: str
    fix: str


def differences(api: Management, queues: Iterable[Queue]) -> list[Difference]:
    """Compare the queues, their arguments and their bindings; raises `ManagementError`."""
    found = api.queues()
    version = read_version(api.overview().get("rabbitmq_version", ""))
    missing = [name for queue in queues for name in (queue.name, queue.dead) if name not in found]
    result = (
        [Difference(f"missing: {', '.join(api.prefix + one for one in missing)}", SETUP)]
        if missing
        else []
    )
    bound = set() if missing else api.bindings(EXCHANGE)
    for queue in queues:
        for name in (queue.name, queue.dead):
            if name in found and not missing and (name, name) not in bound:
                there = api.prefix + name
                said = f"queue {there!r} is not bound to exchange {EXCHANGE!r}: nothing reaches it"
                result.append(Difference(said, SETUP))
        if queue.name in found:
            wrong = ", ".join(unlike(queue, found[queue.name], version))
            if wrong:
                result.append(Difference(f"queue {queue.on_rabbitmq!r}: {wrong}", anew(api, queue)))
        if found.get(queue.dead, {}).get("type", "quorum") != "quorum":
            said = f"queue {queue.dead_on_rabbitmq!r} is no quorum queue"
            result.append(Difference(said, anew(api, queue, queue.dead)))
    return result


def unlike(queue: Queue, found: dict[str, Any], version: Version) -> Iterator[str]:
    """Say which arguments differ; RabbitMQ keeps those a queue was made with."""
    allowed, has = equivalents(queue, version), found.get("arguments", {})
    wanted = has if has in allowed else allowed[0]
    for name in sorted(wanted.keys() | has.keys()):
        if wanted.get(name) != has.get(name):
            yield f"{name} is {shown(has.get(name))} and declared as {shown(wanted.get(name))}"
    if not found.get("durable"):
        yield "it does not survive a restart of RabbitMQ"


def shown(value: object) -> str:
    """Write an argument, or that there is none."""
    return "absent" if value is None else repr(value)


def anew(api: Management, queue: Queue, name: str | None = None) -> str:
    """Say how to make a queue anew without losing what is in it."""
    there = api.prefix + (name or queue.name)
    delete = f"rabbitmqctl delete_queue --vhost {shlex.quote(api.vhost)} {there}"
    return f"once `workshed queues` shows it empty, with none unacked: {delete} && {SETUP}"
