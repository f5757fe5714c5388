"""Wait for the end of a job."""

import math
import time
from datetime import timedelta
from typing import Any

import dramatiq
from dramatiq.results import ResultFailure

from workshed.database.postgres import Connection
from workshed.jobs.control import cancellations, workers
from workshed.jobs.history import attempts, results
from workshed.jobs.idempotency import completed_generations
from workshed.middleware.composition.results import PostgresResults
from workshed.value_class import value_class

POLL_S = 0.2


@value_class
class FinalState:
    """How a job ended."""

    outcome: str
    """A final outcome of `workshed.jobs.outcomes`."""
    reason: str = ""
    result: Any = None
    """The return value of its actor, if it is stored."""


def wait_for_end(
    conn: Connection, message: dramatiq.Message[Any], timeout: timedelta | None
) -> FinalState | None:
    """Return how a message with the option `awaited` ended; `None` if it has not in time."""
    backend = PostgresResults()
    key = backend.build_message_key(message)
    until = time.monotonic() + (math.inf if timeout is None else timeout.total_seconds())
    while True:
        body = results.get_result(conn, key)
        if body is not None:
            return find_final_state(conn, message.message_id, backend, backend.encoder.decode(body))
        if is_withdrawn(conn, message.message_id):
            return FinalState("cancelled", "before it ran")
        if time.monotonic() >= until:
            return None
        time.sleep(POLL_S)


def find_final_state(
    conn: Connection, message_id: str, backend: PostgresResults, stored: Any
) -> FinalState:
    """Return the outcome; its rows commit with the stored result, and a discard has no result."""
    tried = attempts.list_job_attempts(conn, message_id)
    if tried and tried[-1].outcome != "retry":
        return FinalState(tried[-1].outcome, tried[-1].reason)
    try:
        result = backend.unwrap_result(stored)  # type: ignore[no-untyped-call]  # dramatiq's
    except ResultFailure as failure:  # dead, and since then erased or retried
        return FinalState("dead", str(failure))
    return FinalState("succeeded", result=result)


def is_withdrawn(conn: Connection, message_id: str) -> bool:
    """Return whether it was cancelled while it waited, so that no worker will see it."""
    return cancellations.is_cancelled(conn, message_id) and completed_generations.is_completed(
        conn, message_id, 0
    )


def has_worker(conn: Connection, queue: str) -> bool:
    """Return whether a running worker consumes a queue."""
    return any(one.alive and queue in one.queues for one in workers.list_workers(conn))
