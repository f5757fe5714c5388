"""Health probes of the console, without a login."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from workshed import db
from workshed.console.web.view.safe_headers import NO_STORE

FRESH_S = 1.0
"""How long an answer of PostgreSQL is valid, so that it is asked at most once a second."""
WAIT_S = 2.0
ANSWER_S = 5.0
"""How long a query may take; then the next probe asks again."""


class ConsoleProbes:
    """Runs one query at a time; all probes wait for it, for at most `WAIT_S`.

    It has a thread and a connection of its own, which pages and logins cannot use up.
    """

    def __init__(self) -> None:
        self._answered_at = float("-inf")
        self._probe_task: asyncio.Task[bool] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="workshed probe")

    async def live(self, _request: Request) -> Response:
        """Answer `ok`, without asking any server."""
        return PlainTextResponse("ok\n", headers=NO_STORE)

    async def ready(self, _request: Request) -> Response:
        """Answer whether PostgreSQL answers."""
        if await self._is_ready():
            return PlainTextResponse("ok\n", headers=NO_STORE)
        return PlainTextResponse("PostgreSQL does not answer\n", 503, headers=NO_STORE)

    async def _is_ready(self) -> bool:
        if time.monotonic() - self._answered_at < FRESH_S:
            return True
        if self._probe_task is None or self._probe_task.done():
            self._probe_task = asyncio.create_task(self._probe(), name="workshed probe")
        await asyncio.wait([self._probe_task], timeout=WAIT_S)
        return self._probe_task.done() and self._probe_task.result()

    async def _probe(self) -> bool:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, probe_database)
        except Exception:  # noqa: BLE001 -- the probe reports it; pages and the log give the cause
            return False
        self._answered_at = time.monotonic()
        return True


def probe_database() -> None:
    """Connect, which includes a query; raises `DatabaseUnreachableError`."""
    with db.WaitDeadline(ANSWER_S):
        db.connect().close()
