"""Log in and out, with a rate limit on failed logins."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from workshed import db
from workshed.console.web.auth import csrf, sessions, users
from workshed.console.web.auth.authenticators import Authenticators
from workshed.console.web.view import responses, templates
from workshed.jobs.locks import counters

WINDOW = timedelta(minutes=5)
PER_ADDRESS, PER_NAME = 10, 30
"""Tries per window: from one address, and from all addresses for one name."""
NO_USER = ""
"""The user name in the CSRF token of the login form."""
LONGEST_INPUT = 200
MOST_CHECKS = 2
"""Passwords that are checked at once, because anyone may request a check."""
MOST_WAITING = 8
"""Logins that wait for a check; more are refused at once."""
BUSY_S = 5
"""After how long a refused one should try again."""


class Login:
    """The page where a password is entered."""

    def __init__(self, doors: Authenticators) -> None:
        self._authenticators = doors
        self._under_way = 0
        # Threads of its own: otherwise many logins would take those that all other pages need.
        self._checkers = ThreadPoolExecutor(MOST_CHECKS, thread_name_prefix="workshed login")

    async def show_form(self, request: Request) -> Response:
        """Show the form; redirect a user who is logged in already."""
        if not self._authenticators.has_login:
            raise HTTPException(404, "Password login is not enabled here.")
        if await self._authenticators.find_user(request) is not None:
            return responses.redirect_to(request, "/")
        return self._form_response(request, request.query_params.get("next", "/"))

    async def submit(self, request: Request) -> Response:
        """Log in a user with the right password."""
        if not self._authenticators.has_login:
            raise HTTPException(404, "Password login is not enabled here.")
        form = await csrf.read_form(request, NO_USER)
        if self._under_way >= MOST_CHECKS + MOST_WAITING:
            return self._refusal(
                request, form, "Too many users log in right now. Try again in a moment.", BUSY_S
            )
        self._under_way += 1
        try:
            return await self._log_in(request, form)
        finally:
            self._under_way -= 1

    async def _log_in(self, request: Request, form: csrf.ActionForm) -> Response:
        name, password, wanted = form.one("name"), form.one("password"), form.one("next", "/")
        if not await run_in_threadpool(_is_allowed, request, name):
            return self._refusal(
                request, form, "Too many attempts. Wait five minutes.", WINDOW.total_seconds()
            )
        known = self._authenticators.users
        user = None
        if len(name) <= LONGEST_INPUT and len(password) <= LONGEST_INPUT:
            user = await asyncio.get_running_loop().run_in_executor(
                self._checkers, users.authenticate_user, known, name, password
            )
        if user is None:
            return self._form_response(request, wanted, "Wrong name or password.", 401)
        response = responses.redirect_to(request, responses.safe_path(wanted))
        sessions.create_session(request, response, user)
        return response

    async def logout(self, request: Request) -> Response:
        """Log out."""
        who = await self._authenticators.find_user(request)
        if who is not None:
            await csrf.read_form(request, who.name)
        response = responses.redirect_to(
            request, "/login" if self._authenticators.has_login else "/"
        )
        sessions.end_session(request, response)
        return response

    def _refusal(
        self, request: Request, form: csrf.ActionForm, said: str, retry_after_s: float
    ) -> Response:
        response = self._form_response(request, form.one("next", "/"), said, 429)
        response.headers["Retry-After"] = f"{retry_after_s:.0f}"
        return response

    def _form_response(
        self, request: Request, wanted: str, said: str = "", status: int = 200
    ) -> Response:
        about = {
            "next": responses.safe_path(wanted),
            "said": said,
            "root": responses.root_path(request),
            "csrf": csrf.csrf_token(request, NO_USER),
        }
        return responses.html_response(request, templates.full_page("login.html", about), status)


def _is_allowed(request: Request, name: str) -> bool:
    """Count a try; tell whether it is allowed. The limits are shared by all processes."""
    address = request.client.host if request.client else "?"
    counts = [(f"from {address}", PER_ADDRESS), (f"as {name[:LONGEST_INPUT]}", PER_NAME)]
    return all(_count_try(who, most) for who, most in counts)


def _count_try(who: str, most: int) -> bool:
    with db.autocommit_statement() as conn:
        return counters.count_login(conn, who, most, WINDOW)
