"""`workshed job ID --follow`: print the events of a job as they happen."""

import json
import time
from datetime import UTC
from typing import Any

from workshed.console.cli.terminal.output import print_message
from workshed.console.operations import timeline
from workshed.console.operations.environment import has_rabbitmq
from workshed.console.operations.timeline import JobEvent
from workshed.console.text import escape_control, to_json_type
from workshed.database.postgres import Connection
from workshed.errors import WorkshedError
from workshed.jobs.outcomes import FINAL

POLL_S = 0.5


def follow_job(conn: Connection, message_id: str, *, as_json: bool) -> None:
    """Print each event once, until the job has ended; raises `WorkshedError` unless it succeeds.

    A job on RabbitMQ has no row yet, so this also waits for an unknown job.
    """
    seen: set[tuple[str, int]] = set()
    known = timeline.load_job(conn, message_id)
    if not known.is_known:
        print_message(
            "Not in PostgreSQL yet: the job waits on RabbitMQ, or was never sent."
            if has_rabbitmq()
            else "No such job yet: it was never sent, or its transaction is open."
        )
    while True:
        for event in known.timeline:
            if (name := identify_event(event)) not in seen:
                seen.add(name)
                print_event(event, as_json=as_json)
        if known.state in FINAL:
            break
        time.sleep(POLL_S)
        known = timeline.load_job(conn, message_id)
    if known.state != "succeeded":
        raise WorkshedError(f"{message_id} has ended: {known.state}")


def identify_event(event: JobEvent) -> tuple[str, int]:
    """Return the identity of an event; two rows may record the same one within a second."""
    return event.what, int(event.at.timestamp())


def print_event(event: JobEvent, *, as_json: bool) -> None:
    """Print an event on one line."""
    if as_json:
        fields: dict[str, Any] = {"at": event.at, "what": event.what, "details": event.details}
        print(json.dumps(fields, default=to_json_type), flush=True)
    else:
        print(escape_control(f"{format_event(event)}  {event.details}"), flush=True)


def format_event(event: JobEvent) -> str:
    """Format the time of an event, in UTC to the millisecond, and its name."""
    return f"{event.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"  {event.what:<9}"
