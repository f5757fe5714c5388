"""Endpoints for pages and actions: authentication, authorization, transactions, errors."""

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from workshed import db
from workshed.console.errors import NotFoundError
from workshed.console.web.auth import csrf
from workshed.console.web.auth.authenticators import Authenticators
from workshed.console.web.auth.who import Who
from workshed.console.web.menu import build_menu, has_schema, is_there
from workshed.console.web.view import responses, templates
from workshed.console.web.view.page import (
    Action,
    ActionRequest,
    ActionResult,
    BadQueryError,
    Download,
    Downloaded,
    Page,
    PageRequest,
)
from workshed.db import PASSING_ERRORS
from workshed.errors import WorkshedError
from workshed.jobs.control import audit
from workshed.jobs.outbox.claims import database_now

Endpoint = Callable[[Request], Awaitable[Response]]
LONGEST_LOOK = "SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = '5s'"
LONGEST_DEED = "SET LOCAL statement_timeout = '60s'"
NOT_HERE = "This feature is not enabled in this installation."
REFUSED = (
    "PostgreSQL refuses this to the console: {}. Its role needs the rights of a reader to show "
    "pages, and those of an operator to change anything; `workshed roles` grants them."
)
AWAY = "PostgreSQL cannot be reached right now. Try again."


class EndpointFactory:
    """Creates the endpoints of pages and actions."""

    def __init__(self, doors: Authenticators) -> None:
        """Authenticate users with `doors`."""
        self._doors = doors

    def shows(self, page: Page) -> Endpoint:
        """Return the endpoint of a page, for people and for programs."""

        async def endpoint(request: Request) -> Response:
            who = await self._doors.who(request)
            if who is None:
                return self.stranger(request)
            about = await run_in_threadpool(
                load_page, page, request, who, dict(request.query_params)
            )
            if responses.wants_json(request):
                return responses.json_response(about["shown"])
            return responses.html_response(
                request, await run_in_threadpool(templates.full_page, *fill_template(page, about))
            )

        return _answering(endpoint)

    def gives(self, download: Download) -> Endpoint:
        """Return the endpoint of a download, for every authenticated user."""

        async def endpoint(request: Request) -> Response:
            who = await self._doors.who(request)
            if who is None:
                return self.stranger(request)
            query = dict(request.query_params)
            return responses.file_response(
                await run_in_threadpool(build_download, download, who, query)
            )

        return _answering(endpoint)

    def does(self, action: Action) -> Endpoint:
        """Return the endpoint of an action."""

        async def endpoint(request: Request) -> Response:
            who = await self._doors.who(request)
            if who is None:
                return self.stranger(request)
            if not who.may_act:
                text = (
                    f"{who.name} may look at everything, but may not change anything (role reader)."
                )
                return responses.notice_response(request, 403, text, who)
            form = await csrf.read_form(request, who.name)
            done, entry = await run_in_threadpool(run_action, action, form, who)
            if responses.wants_json(request):
                dry = done.confirm is not None
                answer = {"message": done.message, "count": done.count, "dry_run": dry}
                return responses.json_response(answer)
            if done.confirm is not None:
                return responses.html_response(request, ask_to_confirm(request, action, done, who))
            back = responses.safe_path(done.back)
            sign = "&" if "?" in back else "?"
            return responses.redirect_to(request, f"{back}{sign}{urlencode({'done': entry})}")

        return _answering(endpoint)

    def stranger(self, request: Request) -> Response:
        """Answer an unauthenticated request: redirect to the login, or answer with 401."""
        if responses.wants_json(request) or request.method != "GET" or not self._doors.has_login:
            return responses.notice_response(request, 401, "You are not logged in.")
        path = request.url.path.removeprefix(responses.root_path(request)) or "/"
        wanted = f"{path}?{request.url.query}" if request.url.query else path
        return responses.redirect_to(request, "/login?" + urlencode({"next": wanted}))


def load_page(page: Page, request: Request, who: Who, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the data of a page and of the layout around it."""
    given = _given(query)
    with _asked(page, who, given) as ask:
        done = ask.number("done")
        given.pop("done", None)
        shown = dict(page.look(ask))
        entry = None if done is None else audit.get_entry(ask.conn, done)
    return {
        "shown": shown,
        "page": page,
        "query": given,
        "who": who,
        "now": ask.now,
        "said": None if entry is None else entry.summary,
        "root": responses.root_path(request),
        "csrf": csrf.csrf_token(request, who.name),
        "menu": build_menu(),
    }


def build_download(download: Download, who: Who, query: Mapping[str, str]) -> Downloaded:
    """Return the content of a download."""
    with _asked(download, who, _given(query)) as ask:
        return download.make(ask)


def fill_template(page: Page, about: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the template of a page, and its variables."""
    rest = {name: value for name, value in about.items() if name != "shown"}
    return page.template, {**about["shown"], **rest}


def run_action(action: Action, form: csrf.ActionForm, who: Who) -> tuple[ActionResult, int | None]:
    """Run an action and record it in the audit; return the id of the entry.

    The id is `None` if the action only asks for confirmation.
    """
    if not has_schema(action.needs):
        raise NotFoundError(NOT_HERE)
    if not action.is_one:
        with db.autocommit_statement() as conn:
            done = action.do(ActionRequest(conn, form, who))
            return done, _noted(conn, action, done, who)
    with db.transaction() as conn:
        conn.execute(LONGEST_DEED)
        done = action.do(ActionRequest(conn, form, who))
        return done, _noted(conn, action, done, who)


def ask_to_confirm(request: Request, action: Action, done: ActionResult, who: Who) -> str:
    """Return the page that asks the user to confirm an action."""
    about = {
        "action": action,
        "done": done,
        "who": who,
        "root": responses.root_path(request),
        "csrf": csrf.csrf_token(request, who.name),
    }
    return templates.full_page("confirm.html", about)


def _given(query: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if value and "\0" not in value}


@contextmanager
def _asked(what: Page | Download, who: Who, given: Mapping[str, str]) -> Generator[PageRequest]:
    """Yield a request in a read-only transaction."""
    if not is_there(what):
        raise NotFoundError(NOT_HERE)
    with db.transaction() as conn:
        conn.execute(LONGEST_LOOK)
        yield PageRequest(conn, who, given, database_now(conn))


def _noted(conn: db.Connection, action: Action, done: ActionResult, who: Who) -> int | None:
    if done.confirm is not None:
        return None
    return audit.record_entry(
        conn,
        performed_by=who.name,
        action=action.name,
        details=responses.to_json_types(done.details),
        count=done.count,
        summary=done.message,
    )


def _answering(endpoint: Endpoint) -> Endpoint:
    """Turn the errors of an endpoint into answers that explain them."""

    async def safe(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (WorkshedError, HTTPException, psycopg.Error) as err:
            status, text = error_status(err)
            return responses.notice_response(request, status, text)

    return safe


def error_status(err: WorkshedError | HTTPException | psycopg.Error) -> tuple[int, str]:
    """Return the status and text for an error; re-raises errors that are bugs of the console."""
    match err:
        case HTTPException():
            return err.status_code, err.detail
        case psycopg.errors.QueryCanceled():
            return (
                503,
                "PostgreSQL took too long. Narrow the filter, for example to a shorter time.",
            )
        case psycopg.errors.InsufficientPrivilege():
            return 403, REFUSED.format(_first_line(err))
        case psycopg.DataError():
            return 400, f"PostgreSQL cannot read a value: {_first_line(err)}"
        case psycopg.Error() if isinstance(err, PASSING_ERRORS):
            return 503, AWAY
        case WorkshedError():
            known = {BadQueryError: 400, NotFoundError: 404}
            return next((known[kind] for kind in type(err).__mro__ if kind in known), 409), str(err)
    raise err


def _first_line(err: psycopg.Error) -> str:
    return str(err).partition("\n")[0]
