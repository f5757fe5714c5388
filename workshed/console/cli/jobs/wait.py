"""`workshed enqueue --wait`: wait for a job, print its result, and exit by its outcome."""

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import dramatiq

from workshed.console.cli.terminal.output import print_json, print_message
from workshed.console.errors import StillWaitingError
from workshed.console.operations.environment import open_database
from workshed.console.operations.wait_for_end import has_worker, wait_for_end
from workshed.errors import WorkshedError

UNKNOWN = {"outcome": None, "reason": "", "result": None}


def await_end(
    message: dramatiq.Message[Any], timeout: timedelta | None, sent: dict[str, Any] | None
) -> None:
    """Wait until a job has ended and print its result, or, with `sent`, one JSON value with both.

    Raises `StillWaitingError` after `timeout`, `WorkshedError` if the job did not succeed.
    """
    with open_database() as conn:
        if not has_worker(conn, message.queue_name):
            print_message(f"No worker consumes {message.queue_name} now; see `workshed workers`.")
        end = wait_for_end(conn, message, timeout)
    if sent is not None:
        print_json(sent | (UNKNOWN if end is None else asdict(end)))
    if end is None:
        raise StillWaitingError(
            f"{message.actor_name} has not ended yet; "
            f"follow it with `workshed job {message.message_id} --follow`"
        )
    if end.outcome != "succeeded":
        raise WorkshedError(f"{message.actor_name} has ended: {end.outcome}: {end.reason}")
    if sent is None and end.result is not None:
        print(json.dumps(end.result))
    print_message(f"{message.actor_name}: succeeded")
