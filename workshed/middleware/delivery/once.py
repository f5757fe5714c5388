"""Commit what a job writes once, however often the job is delivered."""

import functools
import logging
import threading
import time
from collections.abc import Callable
from math import inf
from typing import Any, Protocol, runtime_checkable

import dramatiq
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from workshed import db
from workshed.database.postgres import Connection
from workshed.jobs.control import queues
from workshed.jobs.idempotency import once_keys
from workshed.metrics import meters
from workshed.middleware.job import SUCCEEDED, DuplicateDelivery, Job, Outcome

logger = logging.getLogger(__name__)

Function = Callable[..., Any]

REPORT_EVERY_S = 3_600.0


@runtime_checkable
class OutcomeStore(Protocol):
    """A broker that lets its middleware write what follows from an outcome."""

    def write_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Write it on the given connection."""


class OncePerMessage(Middleware):
    """Run an actor with `once=True` in the transaction that stores its once key and its outcome.

    In the actor, your `db.transaction()` joins that transaction, and messages that you send are
    stored in it. A duplicate that finds the key does not run the actor; a duplicate that ends
    second rolls back.

    *Order:* below `TimeLimit`, so that its wrapper encloses `TimeLimit`'s and no time limit
    interrupts a commit. *Options:* `once=` (bool; by default `False`).
    """

    def __init__(self) -> None:
        self._current = threading.local()
        self._reported_at: dict[str, float] = {}
        """When this process last reported each actor, by `time.monotonic`."""
        self._using: set[str] = set()
        """Actors of which a job has used its transaction."""

    @property
    def actor_options(self) -> set[str]:
        """Whether an actor runs once per message."""
        return {"once"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Wrap the function; its signature and name stay."""
        wanted = actor.options.get("once", False)
        if not isinstance(wanted, bool):
            raise ValueError(f"{actor.actor_name}: once={wanted!r} is neither True nor False")  # noqa: TRY004 -- as for every option
        if wanted and isinstance(broker, OutcomeStore):
            actor.fn = self._wrap(broker, actor.actor_name, actor.fn)

    def checks_plain_jobs(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return whether its jobs run once."""
        return bool(actor.options.get("once", False))

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Note the job that this thread is about to run, if it runs once."""
        once = broker.get_actor(message.actor_name).options.get("once", False)
        self._current.job = message.job if once else None

    def _wrap(
        self, broker: OutcomeStore, scope: str, function: Callable[..., Any]
    ) -> Callable[..., Any]:
        @functools.wraps(function)
        def once(*args: Any, **kwargs: Any) -> Any:
            job: Job | None = self._current.__dict__.pop("job", None)
            if job is None:  # called directly, not by a worker
                return function(*args, **kwargs)
            result, outcome = None, SUCCEEDED
            key = once_keys.OnceKey(scope, job.message_id)
            try:
                with (
                    db.transaction_begun_by(key.begin) as conn,
                    db.join_transaction(conn) as joined,
                ):
                    if key.claim(conn):
                        with db.lend_transaction(joined):
                            result = function(*args, **kwargs)
                        if joined.is_used:
                            self._using.add(scope)
                        else:
                            report = functools.partial(self._report_unused, scope)
                            joined.after_commit.append(report)
                    else:
                        outcome = Outcome("duplicate", "a copy of it has already run")
                    broker.write_outcome(conn, job, SUCCEEDED)
                joined.run_after_commit()
            except DuplicateDelivery as copy:
                outcome = Outcome("duplicate", f"{copy}; the writes of this run were rolled back")
            job.outcome = outcome
            return result

        return once

    def _report_unused(self, actor: str) -> None:
        """Count a job that wrote nothing in its transaction, and report its actor once an hour.

        Another job of the actor may have had something to write; then this is no mistake.
        """
        meters.ONCE_UNUSED.add(actor)
        now = time.monotonic()
        if actor in self._using or now < self._reported_at.get(actor, -inf) + REPORT_EVERY_S:
            return
        self._reported_at[actor] = now
        logger.warning(
            "%s has once=True, but did not use its transaction: what it writes on a connection of "
            "its own, for example an ORM's, may happen twice. Write through db.transaction(), "
            "job_session() or async_job_session() of workshed.contrib.sqlalchemy, or Django's ORM "
            "with workshed.contrib.django, or leave out once=True",
            actor,
        )
        with db.autocommit_statement() as conn:
            queues.note_unused_once(conn, actor)
