"""The sessions of users who have logged in with a password: a cookie, and a row in PostgreSQL."""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import partial

import anyio
import psycopg
from itsdangerous import BadData
from starlette.requests import Request
from starlette.responses import Response

from workshed import db, secret_keys
from workshed.console.web.auth import cookies
from workshed.console.web.auth.roles import Who
from workshed.console.web.auth.users import ConsoleUser
from workshed.database.postgres import Connection
from workshed.database.waits import WaitLimit
from workshed.jobs.control import console_sessions
from workshed.jobs.control.console_sessions import SessionLimits, SessionOrigin, SessionRow
from workshed.value_class import value_class

COOKIE = "workshed_console"
COOKIE_PURPOSE, PROOF_PURPOSE = "console session cookie", "console session proof"
LIMITS = SessionLimits(lifetime=timedelta(hours=12), idle=timedelta(hours=2))
"""A page that is only open, also a live one, is no use of the session."""
FRESH_S = 2.0
"""How long a process relies on what it has read, so that an open page costs no query per request.
A session that was ended by another process is refused after this time."""
USE_S = 60.0
"""A use is recorded at most so often."""
STALE_S = 60.0
"""How long an open live page goes on while PostgreSQL does not answer."""
LOOKUP_S = 3.0
"""How long a request waits for PostgreSQL before it fails."""
MOST_CACHED = 10_000


@value_class
class CachedSession:
    """What a process has read about a session."""

    user: Who
    read_at: float
    used_at: float
    """When its use was last recorded here; both are times of `time.monotonic`."""


class Sessions:
    """The sessions of the users in the settings, cached for `FRESH_S` in each process."""

    def __init__(self, users: Mapping[str, ConsoleUser]) -> None:
        """Accept sessions of these users."""
        self._users = users
        self._cache: dict[bytes, CachedSession] = {}

    async def find_user(self, request: Request, *, is_use: bool) -> Who | None:
        """Return the user of the session cookie, or `None`; `is_use`: the user did something.

        While PostgreSQL does not answer, an open page stays for a short time, but nothing is done
        for a session that may have ended. Raises `psycopg.OperationalError` then.
        """
        token_hash = _read_token_hash(request)
        if token_hash is None:
            return None
        cached, now = self._cache.get(token_hash), time.monotonic()
        if cached is not None:
            is_recorded = not is_use or now - cached.used_at < USE_S
            if now - cached.read_at < FRESH_S and is_recorded:
                return cached.user
        found = await self._ask(token_hash, cached, is_use=is_use)
        if found is None:
            self._cache.pop(token_hash, None)
            return None
        if found is not cached:
            if len(self._cache) >= MOST_CACHED:
                self._cache.clear()
            self._cache[token_hash] = found
        return found.user

    async def _ask(
        self, token_hash: bytes, cached: CachedSession | None, *, is_use: bool
    ) -> CachedSession | None:
        """Read a session in a thread; raises `psycopg.OperationalError` if that takes too long.

        What was read before is returned as it is, so that a failure does not make it last longer.
        """
        read = partial(self._read, token_hash, cached, is_use=is_use)
        try:
            async with asyncio.timeout(LOOKUP_S):
                return await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
        except (TimeoutError, *db.TRANSIENT_ERRORS) as err:
            if cached is None or is_use or time.monotonic() - cached.read_at > STALE_S:
                raise psycopg.OperationalError("a session cannot be looked up") from err
            return cached

    def start(
        self, request: Request, response: Response, user: ConsoleUser, origin: SessionOrigin
    ) -> None:
        """Begin a session of a user, and end the one that this browser had."""
        before = _read_token_hash(request)
        with db.transaction() as conn:
            row = None if before is None else console_sessions.find_session(conn, before)
            if row is not None:
                console_sessions.delete_session(conn, row.id, row.user_name)
                self._forget(row.id)
            value = create_session(conn, user, origin)
        cookies.set_cookie(request, response, COOKIE, value, LIMITS.lifetime)

    def end(self, session: str, user_name: str) -> bool:
        """End a session of a user; False if it has ended already."""
        with db.autocommit_statement() as conn:
            has_ended = console_sessions.delete_session(conn, session, user_name)
        self._forget(session)
        return has_ended

    def _forget(self, session: str) -> None:
        """Forget a session that has ended."""
        for token_hash, cached in list(self._cache.items()):
            if cached.user.session == session:
                self._cache.pop(token_hash, None)

    def _read(
        self, token_hash: bytes, cached: CachedSession | None, *, is_use: bool
    ) -> CachedSession | None:
        now = time.monotonic()
        used_at = cached.used_at if cached is not None else float("-inf")
        with WaitLimit(LOOKUP_S):
            with db.autocommit_statement() as conn:
                row = console_sessions.find_session(conn, token_hash)
            user = None if row is None else find_owner(row, self._users)
            if row is None or user is None:
                return None
            if is_use and now - used_at >= USE_S:
                with db.autocommit_statement() as conn:
                    console_sessions.use_session(conn, row.id, LIMITS)
                used_at = now
        return CachedSession(Who(user.name, user.role, row.id), now, used_at)


def create_session(conn: Connection, user: ConsoleUser, origin: SessionOrigin) -> str:
    """Begin a session; return the value of its cookie."""
    token = secrets.token_urlsafe(32)
    token_hash = _hash(token)
    signer = secret_keys.create_proof_signer(PROOF_PURPOSE)
    console_sessions.create_session(
        conn,
        token_hash=token_hash,
        proof=signer.get_signature(_proven_text(token_hash, user)).decode(),
        user_name=user.name,
        origin=origin,
        limits=LIMITS,
    )
    # Signed, so that a made-up cookie is refused without a query.
    return str(secret_keys.create_timed_signer(COOKIE_PURPOSE).dumps(token))


def find_owner(row: SessionRow, users: Mapping[str, ConsoleUser]) -> ConsoleUser | None:
    """Return the user of a session, unless the user's entry has changed since the login."""
    user = users.get(row.user_name)
    if user is None or not secret_keys.create_proof_signer(PROOF_PURPOSE).verify_signature(
        _proven_text(row.token_hash, user), row.proof
    ):
        return None
    return user


def list_valid_sessions(
    conn: Connection, users: Mapping[str, ConsoleUser], name: str | None, limit: int
) -> list[SessionRow]:
    """Return the sessions that are accepted, of one user or of all for `None`."""
    found = console_sessions.list_sessions(conn, name, limit)
    return [row for row in found if find_owner(row, users) is not None]


def delete_cookie(request: Request, response: Response) -> None:
    """Delete the session cookie."""
    cookies.delete_cookie(request, response, COOKIE)


def _read_token_hash(request: Request) -> bytes | None:
    said = cookies.read_cookie(request, COOKIE)
    if said is None:
        return None
    most_s = int(LIMITS.lifetime.total_seconds())
    try:
        token = secret_keys.create_timed_signer(COOKIE_PURPOSE).loads(said, max_age=most_s)
    except BadData:
        return None
    return _hash(str(token))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _proven_text(token_hash: bytes, user: ConsoleUser) -> str:
    return json.dumps([token_hash.hex(), user.name, user.role, user.password_hash])
