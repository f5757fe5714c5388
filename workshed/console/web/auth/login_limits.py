"""How many logins may fail before further ones are refused without a check.

A user is never locked out by strangers. A browser in which the user has logged in before has a
budget of its own. Any other browser has the budget of its address, and strangers who guess from
many addresses only lower that budget, for this name.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from workshed import db, secret_keys
from workshed.console.web.auth.login_attempts import LoginAttempt
from workshed.jobs.control import login_failures
from workshed.jobs.control.login_failures import FailureCount, FailureLimit
from workshed.value_class import value_class

WINDOW = timedelta(minutes=5)
PER_BROWSER = 10
"""Failures of one user in a browser in which this user has logged in before."""
PER_ADDRESS = 10
"""Failures from one address (IPv6: one /64), of all names, in other browsers."""
PER_NAME = 30
"""Failures of one name in other browsers, after which addresses have less for this name:"""
PER_ADDRESS_AND_NAME, LONG_WINDOW = 3, timedelta(hours=1)
NAME_PURPOSE = "console login name"
ELSEWHERE = ", or use a browser in which you have logged in before"


RECALLED_S = 5.0
"""How long a process recalls a refusal: meanwhile a flood asks PostgreSQL nothing, and takes no
places."""
MOST_RECALLED = 10_000


@value_class
class LoginRefusal:
    """Why a login is not checked."""

    text: str
    retry_after: timedelta
    key: str | None = None
    """The key under which too many failures are counted; `None`: some may not become failures."""


class LoginLimits:
    """Counts failed logins in PostgreSQL, for all processes."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        """Attempts that have not ended, by key: each may become a failure."""
        self._recalled: dict[str, tuple[float, LoginRefusal]] = {}
        """The latest refusals, each with the time of `time.monotonic` until which it is valid."""

    def recall_refusal(self, attempt: LoginAttempt) -> LoginRefusal | None:
        """Return a refusal of the last seconds that is valid for this attempt, too."""
        for key in list_keys(attempt):
            until, refusal = self._recalled.get(key, (0.0, None))
            if refusal is not None and time.monotonic() < until:
                return refusal
        return None

    @contextmanager
    def enter(self, attempt: LoginAttempt) -> Iterator[Counter[str]]:
        """Yield how many attempts were under way before this one, by key.

        Without them, many attempts at once would all be checked before the first has failed.
        """
        keys = list_keys(attempt)
        ahead = Counter({key: self._under_way[key] for key in keys})
        self._under_way.update(keys)
        try:
            yield ahead
        finally:
            self._under_way.subtract(keys)
            self._under_way = +self._under_way

    def find_refusal(self, attempt: LoginAttempt, ahead: Counter[str]) -> LoginRefusal | None:
        """Return why the attempt may not be checked, or `None`."""
        with db.autocommit_statement() as conn:
            counts = login_failures.count_failures(conn, list_limits(attempt))
        refusal = choose_refusal(attempt, counts, ahead)
        if refusal is not None and refusal.key is not None:
            if len(self._recalled) >= MOST_RECALLED:
                self._recalled.clear()
            self._recalled[refusal.key] = time.monotonic() + RECALLED_S, refusal
        return refusal

    def record_failure(self, attempt: LoginAttempt) -> None:
        """Count a failure."""
        with db.autocommit_statement() as conn:
            login_failures.record_failure(conn, list_keys(attempt))


def list_limits(attempt: LoginAttempt) -> list[FailureLimit]:
    """Return the limits to look at; of a known browser only its own."""
    # Signed, because users type passwords into the wrong field.
    name = secret_keys.create_proof_signer(NAME_PURPOSE).get_signature(attempt.name).decode()
    if attempt.browser_id is not None:
        return [FailureLimit(f"browser {attempt.browser_id} for {name}", PER_BROWSER, WINDOW)]
    return [
        FailureLimit(f"from {attempt.network}", PER_ADDRESS, WINDOW),
        FailureLimit(f"for {name}", PER_NAME, WINDOW),
        FailureLimit(f"from {attempt.network} for {name}", PER_ADDRESS_AND_NAME, LONG_WINDOW),
    ]


def list_keys(attempt: LoginAttempt) -> list[str]:
    """Return the keys under which a failure of this attempt counts."""
    return [limit.key for limit in list_limits(attempt)]


def choose_refusal(
    attempt: LoginAttempt, counts: Sequence[FailureCount], ahead: Counter[str]
) -> LoginRefusal | None:
    """Return why the attempt may not be checked, given the failures and what is under way."""

    def is_exceeded(one: FailureCount) -> bool:
        return one.count + ahead[one.limit.key] >= one.limit.most

    if attempt.browser_id is not None:
        [of_browser] = counts
        if is_exceeded(of_browser):
            return refuse("in this browser", of_browser, "")
        return None
    of_address, of_name, of_both = counts
    if is_exceeded(of_address):
        return refuse("from your address", of_address, ELSEWHERE)
    if is_exceeded(of_name) and is_exceeded(of_both):
        return refuse("from your address for this name", of_both, ELSEWHERE)
    return None


def refuse(origin: str, counted: FailureCount, otherwise: str) -> LoginRefusal:
    """Return a refusal until the first of the failures no longer counts."""
    lasts = max(counted.lasts, timedelta(seconds=1))
    minutes = -(-lasts // timedelta(minutes=1))
    wait = "one minute" if minutes == 1 else f"{minutes} minutes"
    text = f"Too many logins failed {origin}. Wait {wait}{otherwise}."
    is_certain = counted.count >= counted.limit.most
    return LoginRefusal(text, lasts, counted.limit.key if is_certain else None)
