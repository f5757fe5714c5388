"""The fixture `jobs` over a worker process, and a real RabbitMQ where the application has one."""

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, overload

import dramatiq

from workshed.db import Connection
from workshed.testing import text
from workshed.testing.errors import DiedError, KitError
from workshed.testing.expected_job import Actor, name_arguments
from workshed.testing.jobs import Jobs
from workshed.testing.real_worker.recorder import (
    list_unfinished_ids,
    list_waiting_ids,
    release_killed_jobs,
)
from workshed.testing.real_worker.worker import WorkerProcess
from workshed.testing.stored import StoredJobs

P = ParamSpec("P")
R = TypeVar("R")

LOOK_S = 0.05
DEFAULT_WAIT = timedelta(minutes=2)


class RealJobs(StoredJobs):
    """Jobs of one test, which a worker process runs."""

    def __init__(
        self, conn: Connection, worker: WorkerProcess, folder: Path, *, without_rabbitmq: bool
    ) -> None:
        """Take the kit's own `conn`, which is in autocommit mode."""
        super().__init__(conn, folder)
        self._worker = worker
        self._without_rabbitmq = without_rabbitmq
        self._list_unfinished = list_waiting_ids if without_rabbitmq else list_unfinished_ids

    def drain(self, *, within: timedelta = DEFAULT_WAIT) -> None:
        """Let the worker run all due jobs, and those that they send, until none is due.

        Raises `DiedError` if a job has died meanwhile, and `KitError` if the worker has ended or
        jobs are still due or running after `within`.
        """
        before = len(self.dead)
        self._wait(within, may_die=False)
        if died := self.dead[before:]:
            raise DiedError("\n".join(f"{one.actor} died: {one.reason}" for one in died))

    # No parameter may stand between those of a ParamSpec, so with `at` the others are checked only
    # at run time.
    @overload
    def crash_during(
        self, actor: dramatiq.Actor[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> None: ...

    @overload
    def crash_during(self, actor: Actor, /, *args: Any, at: str | None, **kwargs: Any) -> None: ...

    def crash_during(self, actor: Actor, /, *args: Any, at: Any = None, **kwargs: Any) -> None:
        """Send a job, kill its worker while the actor runs, and let another worker run the rest.

        `at`: one of the failpoints that `assert_idempotent` returns, for example `"before COMMIT"`.
        By default the worker is killed at the end of the function, when all of it is committed but
        its outcome is not. Returns when no job is due any more.
        """
        name_arguments(actor, args, kwargs)
        self._conn.execute("INSERT INTO workshed.crashes VALUES (%s, %s)", (actor.actor_name, at))
        actor.send(*args, **kwargs)
        self._wait(DEFAULT_WAIT, may_die=True)
        if self._conn.execute("DELETE FROM workshed.crashes").rowcount:
            place = "its end" if at is None else at
            raise KitError(f"{actor.actor_name} did not reach {place}, so no worker was killed")

    def __getattr__(self, name: str) -> Any:
        """Raise `KitError` for an attribute that only the other modes have."""
        if hasattr(Jobs, name):
            raise KitError(f"jobs.{name} exists in the modes fake and inline, but not in real")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _wait(self, within: timedelta, *, may_die: bool) -> None:
        self._worker.start()
        until = time.monotonic() + within.total_seconds()
        while ids := self._list_unfinished(self._conn):
            if time.monotonic() > until:
                raise KitError(self._timeout_text(ids, within))
            if may_die and not self._worker.is_alive:
                if self._without_rabbitmq:
                    release_killed_jobs(self._conn)
                self._worker.start()
                may_die = False
            self._worker.check()
            time.sleep(LOOK_S)

    def _timeout_text(self, ids: Sequence[str], within: timedelta) -> str:
        return (
            f"still due or running after {text.span_text(within)}: {len(ids)} jobs, "
            f"such as {ids[0]}\n"
            f"The end of the worker's log:\n{self._worker.log_tail()}"
        )
