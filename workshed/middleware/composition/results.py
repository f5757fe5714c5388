"""Store what a job returns together with its outcome."""

import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.encoder import JSONEncoder
from dramatiq.middleware import Middleware
from dramatiq.results import Missing, ResultBackend
from dramatiq.results import Results as Stock

from workshed import db, strict_json
from workshed.database.postgres import Connection
from workshed.jobs.context import current_job
from workshed.jobs.history import results
from workshed.jobs.history.attempts import LONGEST_ERROR, format_error, to_storable
from workshed.middleware.composition.callbacks import ResultError
from workshed.middleware.job import Job, Outcome, OutcomeMiddleware
from workshed.middleware.job_state import ReturnValue

LARGEST_BYTES = 1 << 20
MILLISECOND = timedelta(milliseconds=1)
AWAITED = "awaited"
NOT_RUN = None
"""Stored for a discarded job, as dramatiq does for a skipped one."""


class PostgresResults(ResultBackend):
    """Keep results in `workshed.results` until they expire.

    `message.get_result(block=True, timeout=10_000)` polls at growing intervals.
    """

    def build_message_key(self, message: dramatiq.Message[Any]) -> str:
        """Leave out the queue, because a retry may run in another queue than the sender's."""
        return f"{self.namespace}:{message.actor_name}:{message.message_id}"

    def _get(self, message_key: str) -> Any:
        with db.transaction() as conn:
            body = results.get_result(conn, message_key)
        return Missing if body is None else self.encoder.decode(body)

    def _store(self, message_key: str, result: Any, ttl: int) -> None:
        with db.transaction() as conn:
            results.store_result(conn, message_key, self.encoder.encode(result), ttl * MILLISECOND)


class Results(Stock, OutcomeMiddleware):
    """Store each result in the transaction of its job's outcome, like dramatiq's `Results`.

    You can read a result once its job has ended; a job that will be retried has none. The result of
    a dead job is its error, which `get_result` raises as `ResultFailure`; that of a discarded job
    is `None`.

    *Order:* above `OncePerMessage` and `TimeLimit`, so that their wrappers enclose this one and a
    result is checked while the job can still fail. *Options:* `store_results=` (bool; by default
    `False`), `result_ttl=` (milliseconds; by default 10 minutes); on a message `awaited=`: record
    that the job has ended, whatever it returns.
    """

    def __init__(self, backend: ResultBackend | None = None) -> None:
        """Keep results in PostgreSQL, unless you pass another `backend`."""
        super().__init__(  # type: ignore[no-untyped-call]  # dramatiq's
            backend=backend or PostgresResults(encoder=JSONEncoder())
        )
        self._broker: Broker | None = None

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Wrap the function; its signature and name stay."""
        self._broker = broker
        actor.fn = self._wrap(actor.fn, always=bool(actor.options.get("store_results")))

    def writes_plain_success(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return False: only a job with a result to store."""
        return False

    def handles(self, job: Job, outcome: Outcome) -> bool:
        """Return whether there is a result to store."""
        if outcome.kind == "succeeded":
            return job.return_value is not None or AWAITED in job.message.options
        return outcome.is_final and self._options(job)[0]

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Store the result."""
        ttl = self._options(job)[1]
        with db.join_transaction(conn):
            if outcome.is_dead:
                self.backend.store_exception(job.message, _public_error(job, outcome), ttl)
            else:
                returned = job.return_value if outcome.kind == "succeeded" else None
                found = NOT_RUN if returned is None else returned.value
                self.backend.store_result(job.message, found, ttl)

    # Disabled: `on_outcome` stores the result, because an error in a hook would lose it.
    after_process_message = Middleware.after_process_message
    after_skip_message = Middleware.after_skip_message
    after_nack = Middleware.after_nack

    def _options(self, job: Job) -> tuple[bool, int]:
        actor = None if self._broker is None else self._broker.actors.get(job.actor)
        options = {**(actor.options if actor else {}), **job.message.options}
        kept = bool(options.get("store_results")) or AWAITED in options
        return kept, options.get("result_ttl", self.result_ttl)

    def _wrap(self, function: Callable[..., Any], *, always: bool) -> Callable[..., Any]:
        @functools.wraps(function)
        def noting(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            job = current_job()
            if isinstance(job, Job) and job.message.options.get("store_results", always):
                job.return_value = ReturnValue(self._check_result(result))
            return result

        return noting

    def _check_result(self, result: object) -> object:
        """Return the result; raises `ResultError` if JSON would change it or it is too large."""
        if problem := strict_json.find_inexact(result, "its result"):
            raise ResultError(f"{problem}; return an id, a string, a number, or a list of them")
        size = len(self.backend.encoder.encode(result))
        if size > LARGEST_BYTES:
            raise ResultError(
                f"its result has {size} bytes, {LARGEST_BYTES} at most; store it, and return its id"
            )
        return result


def _public_error(job: Job, outcome: Outcome) -> Exception:
    """Return a dead job's error as callers may see it: storable text without secrets."""
    error = outcome.error
    text = outcome.reason if error is None else format_error(error)
    name = "RuntimeError" if error is None else type(error).__name__
    kind: type[Exception] = type(name, (Exception,), {})
    return kind(job.redact(to_storable(text))[:LONGEST_ERROR])
