"""Health probes of the console, without a login."""

import asyncio
import time

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from workshed import db
from workshed.console.web.view.safe_headers import NO_STORE

FRESH_S = 1.0
"""How long an answer of PostgreSQL is valid, so that it is asked at most once a second."""
WAIT_S = 2.0


class ConsoleProbes:
    """Runs one query at a time over the pool; all probes wait for it, for at most `WAIT_S`.

    A query that hangs blocks one thread, but no probe.
    """

    def __init__(self) -> None:
        self._answered_at = float("-inf")
        self._probe_task: asyncio.Task[None] | None = None

    async def live(self, _request: Request) -> Response:
        """Answer `ok`, without asking any server."""
        return PlainTextResponse("ok\n", headers=NO_STORE)

    async def ready(self, _request: Request) -> Response:
        """Answer whether PostgreSQL answers."""
        if not self._is_fresh:
            if self._probe_task is None or self._probe_task.done():
                self._probe_task = asyncio.create_task(self._probe(), name="workshed probe")
            await asyncio.wait([self._probe_task], timeout=WAIT_S)
        if self._is_fresh:
            return PlainTextResponse("ok\n", headers=NO_STORE)
        return PlainTextResponse("PostgreSQL does not answer\n", 503, headers=NO_STORE)

    @property
    def _is_fresh(self) -> bool:
        return time.monotonic() - self._answered_at < FRESH_S

    async def _probe(self) -> None:
        try:
            await run_in_threadpool(probe_database)
        except Exception:  # noqa: BLE001 -- the probe reports it; pages and the log give the cause
            return
        self._answered_at = time.monotonic()


def probe_database() -> None:
    """Run a query; raises the errors of PostgreSQL and the pool."""
    with db.limited_wait(), db.autocommit_statement() as conn:
        conn.execute("SELECT 1")
