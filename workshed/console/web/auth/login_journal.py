"""The audit of logins and logouts; repeated failures of one minute share an entry."""

import asyncio
import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from starlette.concurrency import run_in_threadpool

from workshed import db
from workshed.console.web.auth.login_attempts import LoginAttempt
from workshed.jobs.control import audit
from workshed.metrics import meters

logger = logging.getLogger(__name__)

LoginProblem = Literal["failed", "refused"]

PERIOD_S = 60.0
MOST_NETWORKS = 20
"""Addresses with entries of their own in one period; others share one. So a flood adds at most 82
entries a minute, which nothing deletes."""
MOST_NAMES = 5
"""Names in one entry."""
UNKNOWN_USER = "unknown user"
"""Written for a name that no user has: it may be a password in the wrong field."""
SEVERAL = "several users"


@dataclass
class RepeatedProblem:
    """What one entry counts: problems from one address after the first, or from all others."""

    count: int = 0
    names: set[str] = field(default_factory=set)
    attempt: LoginAttempt | None = None
    """The last one; `None`: of several addresses."""


class LoginJournal:
    """Writes logins to the audit, and counts them."""

    def __init__(self, user_names: Collection[str]) -> None:
        """Name these users in entries, and no others."""
        self._user_names = frozenset(user_names)
        self._repeated: dict[tuple[LoginProblem, str | None], RepeatedProblem] = {}
        self._lock = threading.Lock()

    def record_login(self, attempt: LoginAttempt) -> None:
        """Record that a user has logged in."""
        meters.CONSOLE_LOGINS.add("succeeded")
        self._write("console.login", attempt, f"Logged in from {attempt.address}.")

    def record_logout(self, attempt: LoginAttempt) -> None:
        """Record that a user has logged out."""
        self._write("console.logout", attempt, f"Logged out from {attempt.address}.")

    async def record_problem(self, problem: LoginProblem, attempt: LoginAttempt) -> None:
        """Record a login that failed or was refused.

        The first from an address is written at once; more of them are written as one entry after
        `PERIOD_S`.
        """
        meters.CONSOLE_LOGINS.add(problem)
        if self._is_first(problem, attempt):
            text = f"Login {problem}, from {attempt.address}."
            await run_in_threadpool(self._write, f"console.login_{problem}", attempt, text)

    def flush(self) -> None:
        """Write what was counted, and begin to count again."""
        with self._lock:
            repeated, self._repeated = self._repeated, {}
        for (problem, network), one in repeated.items():
            if one.count:
                try:
                    self._write_repeated(problem, network, one)
                except Exception:
                    logger.exception("%d logins that %s are not in the audit", one.count, problem)

    def _is_first(self, problem: LoginProblem, attempt: LoginAttempt) -> bool:
        """Return whether an attempt has an entry of its own; otherwise count it."""
        key: tuple[LoginProblem, str | None] = (problem, attempt.network)
        with self._lock:
            if not self._repeated:
                self._start_period()
            if key not in self._repeated:
                networks = {network for _, network in self._repeated if network is not None}
                if attempt.network in networks or len(networks) < MOST_NETWORKS:
                    self._repeated[key] = RepeatedProblem()
                    return True
                key = (problem, None)
            counted = self._repeated.setdefault(key, RepeatedProblem())
            counted.count += 1
            if len(counted.names) < MOST_NAMES:
                counted.names.add(self._public_name(attempt))
            counted.attempt = None if key[1] is None else attempt
            return False

    def _start_period(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(PERIOD_S, loop.run_in_executor, None, self.flush)

    def _write(self, action: str, attempt: LoginAttempt, text: str) -> None:
        with db.autocommit_statement() as conn:
            audit.record_login(
                conn,
                performed_by=self._public_name(attempt),
                action=action,
                details={"address": attempt.address, "browser": attempt.browser},
                count=1,
                summary=text,
            )

    def _write_repeated(
        self, problem: LoginProblem, network: str | None, one: RepeatedProblem
    ) -> None:
        names = sorted(one.names)
        where = {} if one.attempt is None else {"browser": one.attempt.browser}
        origin = "other addresses" if network is None else network
        more = "1 more login" if one.count == 1 else f"{one.count} more logins"
        with db.autocommit_statement() as conn:
            audit.record_login(
                conn,
                performed_by=names[0] if len(names) == 1 else SEVERAL,
                action=f"console.login_{problem}",
                details={"address": origin, **where, "names": names},
                count=one.count,
                summary=f"{more} {problem} within a minute, from {origin}.",
            )

    def _public_name(self, attempt: LoginAttempt) -> str:
        return attempt.name if attempt.name in self._user_names else UNKNOWN_USER
