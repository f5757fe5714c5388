"""Check what the account of `WORKSHED_BROKER_URL` may do: publish, consume, declare queues."""

import re
import shlex
from collections.abc import Iterator

from workshed.console.doctor import probe
from workshed.console.doctor.context import DoctorContext
from workshed.console.operations.finding import Finding, failed, ok, unchecked
from workshed.transport.amqp.arguments import EXCHANGE


def check_permissions(here: DoctorContext) -> Iterator[Finding]:
    """Ask the management API, which answers administrators; otherwise try it out."""
    patterns = here.query_management(lambda api: api.permissions(here.user))
    yield from check_by_probe(here) if patterns is None else check_patterns(here, patterns)


def check_patterns(here: DoctorContext, patterns: dict[str, str]) -> Iterator[Finding]:
    """Match the names against the patterns, as RabbitMQ does."""
    names = list_consumed_queues(here)
    unread = [name for name in names if not is_match(patterns["read"], name)]
    unmade = [name for name in (EXCHANGE, *names) if not is_match(patterns["configure"], name)]
    if not is_match(patterns["write"], EXCHANGE):
        yield failed(
            f"{here.user} may not write to exchange {EXCHANGE}: nothing can be sent",
            grant_command(here),
        )
    if unread:
        yield failed(
            f"{here.user} may not read {', '.join(unread)}: no worker gets jobs",
            grant_command(here),
        )
    if unmade:
        yield ok(
            f"{here.user} may not declare {', '.join(unmade)}: "
            "run `workshed broker setup` as another user"
        )
    if is_match(patterns["write"], EXCHANGE) and not unread:
        which = ", ".join(here.consumed_queues) or "every queue"
        yield ok(f"{here.user} may publish, and may consume {which}")


def check_by_probe(here: DoctorContext) -> Iterator[Finding]:
    """Publish a message that no queue gets, and read from queues that are empty."""
    sent = probe.probe_publish(here.urls)
    refused, untried = probe.probe_read(here.urls, list_consumed_queues(here))
    if sent.kind == "refused":
        yield failed(f"nothing can be sent: {sent.reason}", grant_command(here))
    if sent.kind in ("blocked", "no exchange"):
        yield unchecked(f"publishing could not be tried: {sent.reason}")
    if refused:
        yield failed(
            f"{here.user} may not read {', '.join(refused)}: no worker gets jobs",
            grant_command(here),
        )
    if untried:
        yield unchecked(
            f"reading was not tried on queues with messages: {', '.join(untried)}",
            "export WORKSHED_MANAGEMENT_URL=… of an administrator",
        )
    if sent.kind == "allowed" and not refused:
        yield ok(f"{here.user} may publish and read, as far as that was tried")


def list_consumed_queues(here: DoctorContext) -> list[str]:
    """Return the queues that workers on this host consume, by their names on RabbitMQ."""
    known = {queue.name: queue.rabbitmq_name for queue in here.queues}
    known |= {name: f"{here.prefix}{name}" for name in here.foreign_queues}
    return [
        known[name] for name in known if not here.consumed_queues or name in here.consumed_queues
    ]


def is_match(pattern: str, name: str) -> bool:
    """Match as RabbitMQ does: anywhere in the name; an empty pattern matches nothing."""
    return bool(pattern) and re.search(pattern, name) is not None


def grant_command(here: DoctorContext) -> str:
    """Return the command that grants the account exactly the rights it needs."""
    names = "|".join(map(re.escape, list_consumed_queues(here)))
    pattern = rf"'^({re.escape(EXCHANGE)}|({names})(\.dead)?)$'"
    vhost, user = shlex.quote(here.vhost), shlex.quote(here.user)
    return f"rabbitmqctl set_permissions --vhost {vhost} {user} {pattern} {pattern} {pattern}"
