"""Endpoints for pages and actions: authentication, authorization, transactions, errors."""

import functools
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from workshed import db
from workshed.console.errors import NotFoundError
from workshed.console.web import notices
from workshed.console.web.auth import csrf, program_tokens
from workshed.console.web.auth.authenticators import Authenticators
from workshed.console.web.auth.roles import Who
from workshed.console.web.menu import build_menu, has_schema, is_available
from workshed.console.web.view import message_cookie, preferences, responses, templates
from workshed.console.web.view.page import (
    Action,
    ActionRequest,
    ActionResult,
    BadQueryError,
    Download,
    DownloadContent,
    Page,
    PageRequest,
)
from workshed.database.postgres import database_now
from workshed.jobs.control import audit

Endpoint = Callable[[Request], Awaitable[Response]]
SET_PAGE_LIMITS = "SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = '5s'"
SET_ACTION_LIMITS = "SET LOCAL statement_timeout = '60s'"
ACTION_S = 65.0
"""How long an action waits for each statement once it has a connection. It is longer than the limit
that PostgreSQL has, whose error says more."""
DOWNLOAD_S = 8.0
"""How long a download waits for each statement, for example for its next rows."""
NOT_ENABLED = "This feature is not enabled in this installation."


class EndpointFactory:
    """Creates the endpoints of pages and actions."""

    def __init__(self, doors: Authenticators) -> None:
        self._authenticators = doors

    def page(self, page: Page) -> Endpoint:
        """Return the endpoint of a page, for people and for programs."""

        async def endpoint(request: Request) -> Response:
            user = await self._find_user(request)
            if user is None:
                return self.unauthenticated(request)
            entry = message_cookie.expected_message(request)
            load = functools.partial(
                load_page,
                page,
                user,
                {**request.query_params, message_cookie.FIELD: entry or ""},
                root=responses.root_path(request),
                csrf=csrf.csrf_token(request, user.name),
            )
            try:
                about = await run_in_threadpool(load)
            except BadQueryError as err:
                return await run_in_threadpool(_show_wrong_filter, request, load, page, err)
            if responses.wants_json(request):
                return responses.json_response(about["shown"])
            about["preferences"] = preferences.read_preferences(request)
            response = responses.html_response(
                request, await run_in_threadpool(templates.full_page, *fill_template(page, about))
            )
            if entry is not None:
                message_cookie.forget_message(request, response, entry)
            return response

        return endpoint

    def download(self, download: Download) -> Endpoint:
        """Return the endpoint of a download, for every authenticated user."""

        async def endpoint(request: Request) -> Response:
            user = await self._find_user(request)
            if user is None:
                return self.unauthenticated(request)
            query = dict(request.query_params)
            return responses.file_response(
                await run_in_threadpool(build_download, download, user, query)
            )

        return endpoint

    def action(self, action: Action) -> Endpoint:
        """Return the endpoint of an action."""

        async def endpoint(request: Request) -> Response:
            user = await self._find_user(request)
            if user is None:
                return self.unauthenticated(request)
            if not (user.may_act or action.is_personal):
                text = (
                    f"{user.name} may look at everything, "
                    "but may not change anything (role reader)."
                )
                return await notices.notice_response(request, 403, text, user)
            form = await csrf.read_form(request, user.name, is_program=user.is_program)
            done, entry = await run_in_threadpool(run_action, action, form, user)
            if responses.wants_json(request):
                dry = done.confirm is not None
                answer = {"message": done.message, "count": done.count, "dry_run": dry}
                return responses.json_response(answer)
            if done.confirm is not None:
                return responses.html_response(
                    request, render_confirmation(request, action, done, user)
                )
            back = responses.safe_path(done.back)
            sign = "&" if "?" in back else "?"
            field = urlencode({message_cookie.FIELD: entry})
            response = responses.redirect_to(request, f"{back}{sign}{field}")
            if entry is not None:
                message_cookie.expect_message(request, response, entry)
            return response

        return endpoint

    async def _find_user(self, request: Request) -> Who | None:
        """Return the user of a request, whom a notice about an error shows, too."""
        user = await self._authenticators.find_user(request)
        request.state.user = user
        return user

    def unauthenticated(self, request: Request) -> Response:
        """Answer an unauthenticated request: redirect to the login, or answer with 401."""
        if program_tokens.read_token(request) is not None:
            response = responses.notice_response(request, 401, "This token is not known here.")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        if (
            responses.wants_json(request)
            or request.method != "GET"
            or not self._authenticators.has_login
        ):
            return responses.notice_response(request, 401, "You are not logged in.")
        path = request.url.path.removeprefix(responses.root_path(request)) or "/"
        wanted = f"{path}?{request.url.query}" if request.url.query else path
        return responses.redirect_to(request, "/login?" + urlencode({"next": wanted}))


def load_page(
    page: Page,
    user: Who,
    query: Mapping[str, str],
    *,
    root: str,
    csrf: str,
    problem: BadQueryError | None = None,
) -> dict[str, Any]:
    """Return the data of a page and of the layout around it; with a `problem`, only of its form."""
    given = _clean_query(query)
    with _open_request(page, user, given) as ask:
        done = None if problem else ask.number(message_cookie.FIELD)
        given.pop(message_cookie.FIELD, None)
        form = {"field_notes": {}, **page.load_form(ask)}
        shown = {} if problem else dict(page.load(ask))
        entry = None if done is None else audit.get_entry(ask.conn, done)
    return {
        "shown": shown,
        "form": form,
        "filter_problem": problem,
        "page": page,
        "query": given,
        "user": user,
        "now": ask.now,
        "said": None if entry is None else entry.summary,
        "root": root,
        "csrf": csrf,
        "is_feed": False,
        "menu": build_menu(),
    }


def build_download(download: Download, user: Who, query: Mapping[str, str]) -> DownloadContent:
    """Return the content of a download."""
    with db.WaitDeadline() as deadline, _open_request(download, user, _clean_query(query)) as ask:
        deadline.replace_by_statement_limit(DOWNLOAD_S)
        return download.build(ask)


def fill_template(page: Page, about: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the template of a page, and its variables."""
    rest = {name: value for name, value in about.items() if name not in ("shown", "form")}
    return page.template, {**about["shown"], **about["form"], **rest}


def _show_wrong_filter(
    request: Request, load: Callable[..., dict[str, Any]], page: Page, problem: BadQueryError
) -> Response:
    """Return a page with its form and no data; the field with the problem is marked."""
    if responses.wants_json(request):
        error = {"error": str(problem), "status": 400, "field": problem.field}
        return responses.json_response(error, 400)
    template, variables = fill_template(page, load(problem=problem))
    variables["page"] = replace(page, is_live=False)
    variables["preferences"] = preferences.read_preferences(request)
    filters = templates.filters_fragment(template, variables)
    text = templates.full_page("wrong_filter.html", {**variables, "filters": filters})
    return responses.html_response(request, text, 400)


def run_action(action: Action, form: csrf.ActionForm, user: Who) -> tuple[ActionResult, int | None]:
    """Run an action and record it in the audit; return the id of the entry.

    The id is `None` if the action only asks for confirmation.
    """
    if not has_schema(action.required_schema):
        raise NotFoundError(NOT_ENABLED)
    if not action.is_transactional:
        with db.WaitDeadline() as deadline, db.autocommit_statement() as conn:
            deadline.replace_by_statement_limit(ACTION_S)
            done = action.run(ActionRequest(conn, form, user))
            return done, _record_action(conn, action, done, user)
    with db.WaitDeadline() as deadline, db.transaction() as conn:
        conn.execute(SET_ACTION_LIMITS)
        deadline.replace_by_statement_limit(ACTION_S)
        done = action.run(ActionRequest(conn, form, user))
        return done, _record_action(conn, action, done, user)


def render_confirmation(request: Request, action: Action, result: ActionResult, user: Who) -> str:
    """Return the page that asks the user to confirm an action."""
    about = {
        "action": action,
        "done": result,
        "user": user,
        "root": responses.root_path(request),
        "csrf": csrf.csrf_token(request, user.name),
        "preferences": preferences.read_preferences(request),
    }
    return templates.full_page("confirm.html", about)


def _clean_query(query: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if value and "\0" not in value}


@contextmanager
def _open_request(
    what: Page | Download, user: Who, given: Mapping[str, str]
) -> Generator[PageRequest]:
    """Yield a request in a read-only transaction."""
    if not is_available(what):
        raise NotFoundError(NOT_ENABLED)
    with db.transaction() as conn:
        conn.execute(SET_PAGE_LIMITS)
        yield PageRequest(conn, user, given, database_now(conn))


def _record_action(
    conn: db.Connection, action: Action, result: ActionResult, user: Who
) -> int | None:
    if result.confirm is not None:
        return None
    record = audit.record_login if action.is_personal else audit.record_entry
    return record(
        conn,
        performed_by=user.name,
        action=action.name,
        details=responses.to_json_types(result.details),
        count=result.count,
        summary=result.message,
    )
