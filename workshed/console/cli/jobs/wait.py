"""`workshed enqueue --wait`: how a job ended, and the exit code that says so."""

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import dramatiq

from workshed.console.cli.terminal.output import print_json, talk
from workshed.console.errors import StillWaitingError
from workshed.console.operations.environment import open_database
from workshed.console.operations.wait_for_end import is_worked_on, wait_for_end
from workshed.errors import WorkshedError

UNKNOWN = {"outcome": None, "reason": "", "result": None}


def await_end(
    message: dramatiq.Message[Any], timeout: timedelta | None, sent: dict[str, Any] | None
) -> None:
    """Wait for the end of a job and print what it returned, or all with what is known as `sent`.

    Raises `StillWaitingError` when that takes too long, `WorkshedError` when it has not succeeded.
    """
    with open_database() as conn:
        if not is_worked_on(conn, message.queue_name):
            talk(f"No worker is on {message.queue_name} now; see `workshed workers`.")
        end = wait_for_end(conn, message, timeout)
    if sent is not None:
        print_json(sent | (UNKNOWN if end is None else asdict(end)))
    if end is None:
        raise StillWaitingError(
            f"{message.actor_name} has not ended yet; "
            f"`workshed job {message.message_id} --follow` shows when it does"
        )
    if end.outcome != "succeeded":
        raise WorkshedError(f"{message.actor_name} has ended: {end.outcome}: {end.reason}")
    if sent is None and end.result is not None:
        print(json.dumps(end.result))
    talk(f"{message.actor_name}: succeeded")
