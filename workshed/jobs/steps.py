"""Long jobs in steps: each resumes where it stopped after a crash, a deploy or a failure."""

import json
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Concatenate, LiteralString, ParamSpec, overload
from uuid import UUID, uuid4

from workshed import db, strict_json
from workshed.database.adapters import (
    AsyncConnection,
    Steps,
    SyncConnection,
    run_in_transaction,
    run_on,
)
from workshed.database.postgres import Connection, Statement, class_row
from workshed.errors import OpenTransactionError, WorkshedError
from workshed.jobs.context import JobContext, checkpoint, current_job
from workshed.jobs.signals import Snooze
from workshed.pruning import WITHOUT_JOB, delete_old_rows
from workshed.value_class import value_class

P = ParamSpec("P")

LONGEST_NAME = 100
LARGEST_CURSOR_BYTES = 8 << 10
COPY_RETRY_DELAY = timedelta(seconds=10)


class StepError(WorkshedError):
    """A step's name or cursor cannot be saved."""


@value_class
class SavedStep:
    """The saved state of a step."""

    cursor: Any = None
    done: bool = False


class Progress:
    """The saved position of a step, from which its next run resumes."""

    def __init__(self, name: str, saved: SavedStep, job: JobContext | None, owner: UUID) -> None:
        """Continue from the saved state; outside a job there is none."""
        self.name = name
        self.cursor = saved.cursor
        """The cursor saved last, decoded from JSON; `None` at first. Set it in `transaction`."""
        self._job = job
        self._owner: UUID | None = owner

    @contextmanager
    def transaction(self) -> Generator[Connection]:
        """Run the block in one transaction, and save the cursor at its end.

        If the job was cancelled, raises `Cancelled` before the block. If its worker is stopping,
        raises `Snooze` before the block: that costs no attempt, and the job resumes here. If
        another run of the job has begun this step, the block is rolled back and `Snooze` is raised.
        Do not catch these. Raises `OpenTransactionError` inside `db.transaction()` and in an actor
        with `once=True`, because a failure rolls back the whole transaction there.
        """
        if db.is_in_transaction():
            raise OpenTransactionError(
                f"step {self.name!r}: transaction() is a transaction of its own, and one is open "
                "here: "
                "end that transaction first, or remove once=True from the actor"
            )
        checkpoint()
        if self._job is not None and self._job.is_stopping:
            raise Snooze(timedelta(), f"its worker is stopping; it resumes in step {self.name!r}")
        before = json.dumps(self.cursor)
        saved = False
        try:
            with db.transaction() as conn:
                yield conn
                self.save(conn, self.cursor)
                saved = True
        except BaseException as err:
            self.cursor = json.loads(before)
            if saved and not (isinstance(err, db.errors.Error) and not db.commit_is_unknown(err)):
                self._owner = None  # it may have committed, so a repetition could write it twice
            raise
        if self._job is not None and json.dumps(self.cursor) != before:
            self._job.made_progress = True

    @overload
    def save(self, conn: AsyncConnection, cursor: object) -> Awaitable[None]: ...

    @overload
    def save(self, conn: SyncConnection, cursor: object) -> None: ...

    def save(
        self, conn: SyncConnection | AsyncConnection, cursor: object
    ) -> Awaitable[None] | None:
        """Save the cursor in the caller's transaction, as `transaction` does at its end.

        `conn` is a connection of psycopg 3, Django or SQLAlchemy, or a session of SQLAlchemy. With
        their asyncio variants: `await progress.save(…)`.

        Raises `OpenTransactionError` if `conn` has no transaction open, `StepError` for a cursor
        that is not JSON or has more than 8 KiB, `Snooze` if another run of the job has begun this
        step, and `UnknownConnectionError` for any other `conn`.
        """
        _check_cursor(self.name, cursor)
        steps = self._save_steps(cursor)
        return run_in_transaction(conn, steps, f"step {self.name!r}: save()")

    def _save_steps(self, cursor: object) -> Steps[None]:
        if self._job is not None:
            yield from self._write_steps(self._job, cursor, is_complete=False)
        self.cursor = cursor

    def finish(self) -> None:
        """Record that the step is done, so that it is not run again.

        Raises `Snooze` if another run of the job has begun it.
        """
        if self._job is not None:
            with db.transaction() as conn:
                run_on(conn, self._write_steps(self._job, self.cursor, is_complete=True))
            self._job.made_progress = True

    def _write_steps(self, job: JobContext, cursor: object, *, is_complete: bool) -> Steps[None]:
        # As text, because the drivers of other connections know no `Jsonb`, and some no `UUID`.
        query: LiteralString = """
            UPDATE workshed.steps
               SET cursor = %(cursor)s::text::jsonb, done = %(done)s, saved_at = workshed.now()
             WHERE message_id = %(id)s AND name = %(name)s AND owner = %(owner)s::text::uuid
            RETURNING true
        """
        values = {
            "id": job.message_id,
            "name": self.name,
            "owner": None if self._owner is None else str(self._owner),
            "cursor": json.dumps(cursor),
            "done": is_complete,
        }
        if (yield Statement(query, values)) is None:
            reason = f"another run of this job has started step {self.name!r}"
            if self._owner is None:
                reason = f"a block of step {self.name!r} may have committed without an answer"
            # Retry later instead of leaving it to the other run, whose delivery may be gone.
            raise Snooze(COPY_RETRY_DELAY, reason)


_claimed_steps: ContextVar[tuple[JobContext, set[str]] | None] = ContextVar(
    "steps begun", default=None
)


def step(
    name: str,
    function: Callable[Concatenate[Progress, P], object],
    *args: P.args,
    **kwargs: P.kwargs,
) -> None:
    """Call `function(progress, …)` unless this job has completed this step before.

    Each step of a job has a unique name. When a step fails, or its worker dies, the next run skips
    the completed steps and calls this one with the cursor that it saved last. Outside a job, the
    function is called and nothing is saved. Raises `StepError` for a name that is used twice and
    for an async function, and `OpenTransactionError` if a transaction is open.
    """
    _check_name(name)
    if db.is_in_transaction():
        raise OpenTransactionError(
            f"step {name!r} is begun in an open transaction, whose rollback would undo all of it: "
            "end that transaction first, or remove once=True from the actor"
        )
    checkpoint()
    job, owner = current_job(), uuid4()
    saved = SavedStep() if job is None else _claim_step(job, name, owner)
    if not saved.done:
        progress = Progress(name, saved, job, owner)
        _require_end(name, function(progress, *args, **kwargs))
        progress.finish()


def _require_end(name: str, result: object) -> None:
    """Refuse the result of an async function, none of which has run: its step is not done."""
    if not isinstance(result, Awaitable):
        return
    if isinstance(result, Coroutine):
        result.close()  # otherwise Python warns that it was never awaited
    raise StepError(
        f"step {name!r}: its function is async, and step() does not await it: give a plain "
        "function, which may call asyncio.run(). In an async actor, write "
        "`await db.run_in_job_thread(step, …)`"
    )


def prune_steps(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete steps of jobs of which no copy can run any more, at most `limit`; return how many.

    Steps of waiting and dead jobs are renewed at half that age. Such a job may be published soon,
    after which no row shows that it is alive, and it must still find its steps.
    """
    renew = """
        UPDATE workshed.steps SET saved_at = workshed.now()
         WHERE (message_id, name) IN (
               SELECT message_id, name FROM workshed.steps AS s
                WHERE saved_at < workshed.now() - %(older_than)s / 2
                  AND (EXISTS (SELECT FROM workshed.schedule WHERE message_id = s.message_id)
                       OR EXISTS (SELECT FROM workshed.dead WHERE message_id = s.message_id))
                  FOR UPDATE SKIP LOCKED)
    """
    conn.execute(renew, {"older_than": older_than})
    return delete_old_rows(conn, "workshed.steps", "saved_at", older_than, limit, WITHOUT_JOB)


def _claim_step(job: JobContext, name: str, owner: UUID) -> SavedStep:
    """Begin a step: from now on no other run of the job can save it.

    This also renews completed steps, because the job may run for longer than its steps are kept.
    """
    begun = _claimed_steps.get()
    if begun is None or begun[0] is not job:
        begun = (job, set())
        _claimed_steps.set(begun)
    if name in begun[1]:
        raise StepError(f"step {name!r} comes twice in one job; give each step its own name")
    begun[1].add(name)
    query = """
        INSERT INTO workshed.steps (message_id, name, owner) VALUES (%s, %s, %s)
            ON CONFLICT (message_id, name) DO UPDATE
               SET owner = excluded.owner, saved_at = workshed.now()
        RETURNING cursor, done
    """
    with db.transaction() as conn, conn.cursor(row_factory=class_row(SavedStep)) as cur:
        return next(iter(cur.execute(query, (job.message_id, name, owner))))


def _check_name(name: str) -> None:
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise StepError(f"step {name!r:.200}: a name has 1 to {LONGEST_NAME} printable characters")


def _check_cursor(name: str, cursor: object) -> None:
    """Refuse a cursor that JSON would change or PostgreSQL cannot store."""
    problem = strict_json.find_inexact(cursor, f"step {name!r}: the cursor")
    if problem is None and "\\u0000" in (text := json.dumps(cursor)):
        problem = f"step {name!r}: the cursor has a NUL in it, which PostgreSQL does not hold"
    if problem is not None:
        raise StepError(f"{problem}; save numbers, texts and lists of them")
    if len(text) > LARGEST_CURSOR_BYTES:
        raise StepError(
            f"step {name!r}: the cursor has {len(text)} bytes of JSON, {LARGEST_CURSOR_BYTES} at "
            "most; save where to resume, not the data itself"
        )
