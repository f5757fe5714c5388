"""Log in and out with a password."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from workshed import db
from workshed.console.web import request_guard
from workshed.console.web.auth import csrf, known_browsers, sessions, users
from workshed.console.web.auth.authenticators import Authenticators
from workshed.console.web.auth.login_attempts import LONGEST_NAME, LoginAttempt, read_attempt
from workshed.console.web.auth.login_journal import LoginJournal
from workshed.console.web.auth.login_limits import LoginLimits, LoginRefusal
from workshed.console.web.auth.users import ConsoleUser
from workshed.console.web.view import preferences, responses, templates

NO_USER = ""
"""The user name in the CSRF token of the login form."""
LONGEST_PASSWORD = 200
MOST_CHECKS = 2
"""Passwords that are checked at once, because anyone may request a check."""
MOST_WAITING = 8
"""Logins that wait for a check; more are refused at once."""
MOST_KNOWN_WAITING = 4
"""Further logins that wait, in browsers in which the user has logged in before: strangers cannot
take these places."""
BUSY = LoginRefusal(
    "Too many users log in right now. Try again in a few seconds.", timedelta(seconds=5)
)


class Login:
    """The page where a password is entered."""

    def __init__(self, doors: Authenticators) -> None:
        self.journal = LoginJournal(doors.users)
        self._authenticators = doors
        self._limits = LoginLimits()
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
        attempt = read_attempt(request, form.one("name"))
        recalled = self._limits.recall_refusal(attempt)
        if recalled is not None:
            return await self._refuse(request, form, attempt, recalled)
        most = MOST_CHECKS + MOST_WAITING
        if attempt.browser_id is not None:
            most += MOST_KNOWN_WAITING
        if self._under_way >= most:
            return await self._refuse(request, form, attempt, BUSY)
        self._under_way += 1
        try:
            with db.WaitDeadline() as deadline:
                return await self._log_in(request, form, attempt, deadline)
        finally:
            self._under_way -= 1

    async def _log_in(
        self,
        request: Request,
        form: csrf.ActionForm,
        attempt: LoginAttempt,
        deadline: db.WaitDeadline,
    ) -> Response:
        with self._limits.enter(attempt) as ahead:
            refusal = await run_in_threadpool(self._limits.find_refusal, attempt, ahead)
            if refusal is not None:
                return await self._refuse(request, form, attempt, refusal)
            user = await self._check(form)
            # The check may have waited for others, but its outcome must be recorded.
            deadline.restart(request_guard.ANSWER_S)
            if user is None:
                await run_in_threadpool(self._limits.record_failure, attempt)
        wanted = form.one("next", "/")
        if user is None:
            await self.journal.record_problem("failed", attempt)
            return self._form_response(request, wanted, "Wrong name or password.", 401)
        response = responses.redirect_to(request, responses.safe_path(wanted))
        await run_in_threadpool(
            self._authenticators.sessions.start, request, response, user, attempt.origin
        )
        known_browsers.remember_user(request, response, user.name)
        await run_in_threadpool(self.journal.record_login, attempt)
        return response

    async def _check(self, form: csrf.ActionForm) -> ConsoleUser | None:
        """Return the user of a form if the password is right."""
        name, password = form.one("name"), form.one("password")
        if len(name) > LONGEST_NAME or len(password) > LONGEST_PASSWORD:
            return None
        return await asyncio.get_running_loop().run_in_executor(
            self._checkers, users.authenticate_user, self._authenticators.users, name, password
        )

    async def logout(self, request: Request) -> Response:
        """Log out, which ends the session in all browsers that have its cookie."""
        user = await self._authenticators.find_user(request)
        if user is not None:
            await csrf.read_form(request, user.name, is_program=user.is_program)
        if user is not None and user.session is not None:
            await run_in_threadpool(
                self._end_session, user.session, read_attempt(request, user.name)
            )
        response = responses.redirect_to(
            request, "/login" if self._authenticators.has_login else "/"
        )
        # Not for a request of another site, which has no cookie: it would lose the browser its
        # session, which would continue.
        if user is not None:
            sessions.delete_cookie(request, response)
        return response

    def _end_session(self, session: str, attempt: LoginAttempt) -> None:
        if self._authenticators.sessions.end(session, attempt.name):
            self.journal.record_logout(attempt)

    async def _refuse(
        self, request: Request, form: csrf.ActionForm, attempt: LoginAttempt, refusal: LoginRefusal
    ) -> Response:
        await self.journal.record_problem("refused", attempt)
        response = self._form_response(request, form.one("next", "/"), refusal.text, 429)
        response.headers["Retry-After"] = f"{refusal.retry_after.total_seconds():.0f}"
        return response

    def _form_response(
        self, request: Request, next_path: str, said: str = "", status: int = 200
    ) -> Response:
        about = {
            "next": responses.safe_path(next_path),
            "said": said,
            "root": responses.root_path(request),
            "csrf": csrf.csrf_token(request, NO_USER),
            "preferences": preferences.read_preferences(request),
        }
        return responses.html_response(request, templates.full_page("login.html", about), status)
