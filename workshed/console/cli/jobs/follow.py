"""`workshed job ID --follow`: print the events of a job as they happen."""

import json
import time
from datetime import UTC
from typing import Any

from workshed.console.cli.terminal.output import talk
from workshed.console.operations import timeline
from workshed.console.operations.timeline import Event
from workshed.console.text import plain, visible
from workshed.db import Connection
from workshed.errors import WorkshedError
from workshed.jobs.outcomes import FINAL

LOOK_S = 0.5


def follow(conn: Connection, message_id: str, *, as_json: bool) -> None:
    """Print each event once, until the job has ended; raises `WorkshedError` unless it succeeds.

    A job on RabbitMQ has no row yet, so this also waits for an unknown job.
    """
    seen: set[tuple[str, int]] = set()
    known = timeline.load_job(conn, message_id)
    if not known.is_known:
        talk("Not in PostgreSQL yet: the job waits on RabbitMQ, or was never sent.")
    while True:
        for event in known.timeline:
            if (name := named(event)) not in seen:
                seen.add(name)
                print_event(event, as_json=as_json)
        if known.state in FINAL:
            break
        time.sleep(LOOK_S)
        known = timeline.load_job(conn, message_id)
    if known.state != "succeeded":
        raise WorkshedError(f"{message_id} has ended: {known.state}")


def named(event: Event) -> tuple[str, int]:
    """Return the identity of an event; two rows may record the same one within a second."""
    return event.what, int(event.at.timestamp())


def print_event(event: Event, *, as_json: bool) -> None:
    """Print an event on one line."""
    if as_json:
        fields: dict[str, Any] = {"at": event.at, "what": event.what, "details": event.details}
        print(json.dumps(fields, default=plain), flush=True)
    else:
        print(visible(f"{moment(event)}  {event.details}"), flush=True)


def moment(event: Event) -> str:
    """Format the time of an event, in UTC to the millisecond, and its name."""
    return f"{event.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"  {event.what:<9}"
