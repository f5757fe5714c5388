"""Log in and out, with a rate limit on failed logins."""

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
NOBODY = ""
"""The user name in the CSRF token of the login form."""
LONGEST = 200


class Login:
    """The page where a password is entered."""

    def __init__(self, doors: Authenticators) -> None:
        """Log in the users of `doors`."""
        self._doors = doors

    async def ask(self, request: Request) -> Response:
        """Show the form; redirect a user who is logged in already."""
        if not self._doors.has_login:
            raise HTTPException(404, "Password login is not enabled here.")
        if await self._doors.who(request) is not None:
            return responses.redirect_to(request, "/")
        return self._form(request, request.query_params.get("next", "/"))

    async def enter(self, request: Request) -> Response:
        """Log in a user with the right password."""
        if not self._doors.has_login:
            raise HTTPException(404, "Password login is not enabled here.")
        form = await csrf.read_form(request, NOBODY)
        name, password, wanted = form.one("name"), form.one("password"), form.one("next", "/")
        if not await run_in_threadpool(_may_try, request, name):
            response = self._form(request, wanted, "Too many attempts. Wait five minutes.", 429)
            response.headers["Retry-After"] = f"{WINDOW.total_seconds():.0f}"
            return response
        known = self._doors.users
        user = None
        if len(name) <= LONGEST and len(password) <= LONGEST:
            user = await run_in_threadpool(users.authenticate_user, known, name, password)
        if user is None:
            return self._form(request, wanted, "Wrong name or password.", 401)
        response = responses.redirect_to(request, responses.safe_path(wanted))
        sessions.create_session(request, response, user)
        return response

    async def leave(self, request: Request) -> Response:
        """Log out."""
        who = await self._doors.who(request)
        if who is not None:
            await csrf.read_form(request, who.name)
        response = responses.redirect_to(request, "/login" if self._doors.has_login else "/")
        sessions.end_session(request, response)
        return response

    def _form(self, request: Request, wanted: str, said: str = "", status: int = 200) -> Response:
        about = {
            "next": responses.safe_path(wanted),
            "said": said,
            "root": responses.root_path(request),
            "csrf": csrf.csrf_token(request, NOBODY),
        }
        return responses.html_response(request, templates.full_page("login.html", about), status)


def _may_try(request: Request, name: str) -> bool:
    """Count a try; tell whether it is allowed. The limits are shared by all processes."""
    address = request.client.host if request.client else "?"
    counts = [(f"from {address}", PER_ADDRESS), (f"as {name[:LONGEST]}", PER_NAME)]
    return all(_counted(who, most) for who, most in counts)


def _counted(who: str, most: int) -> bool:
    with db.autocommit_statement() as conn:
        return counters.count_login(conn, who, most, WINDOW)
