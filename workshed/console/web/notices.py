"""Notices that say why something is not shown or was not done, and where to go instead."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from workshed.console.web.auth import csrf
from workshed.console.web.auth.authenticators import Authenticators
from workshed.console.web.auth.roles import Who
from workshed.console.web.menu import build_menu
from workshed.console.web.pages import list_actions, list_pages
from workshed.console.web.view import preferences, responses, templates
from workshed.console.web.view.page import Page, load_nothing
from workshed.errors import WorkshedError
from workshed.transport.errors import did_you_mean

OVERVIEW = {"path": "/", "title": "Overview"}
NO_PAGE, NO_FORM = "Page not found", "Not a page"
logger = logging.getLogger(__name__)


async def notice_response(request: Request, status: int, text: str, user: Who | None) -> Response:
    """Return a notice in the layout of the pages; without it for a browser without a user."""
    title = HTTPStatus(status).phrase
    return await _respond(request, status, title, text, user, link_pages(_local_path(request)))


async def http_error_response(
    request: Request, err: HTTPException, authenticators: Authenticators
) -> Response:
    """Return a notice about a request that no endpoint has answered."""
    try:
        # A live page asks for an address without a page before it connects again.
        user = await authenticators.find_user(request, is_use=False)
    except (WorkshedError, psycopg.Error):  # PostgreSQL may be the problem that is explained
        user = None
    title, text, links = explain_error(err, request.method, _local_path(request))
    response = await _respond(request, err.status_code, title, text, user, links)
    response.headers.update(err.headers or {})
    return response


def explain_error(
    err: HTTPException, method: str, path: str
) -> tuple[str, str, Sequence[Mapping[str, str]]]:
    """Return the title and text of a notice, and the pages that it links to."""
    phrase = HTTPStatus(err.status_code).phrase
    if err.detail != phrase:  # written for this case
        return phrase, err.detail, link_pages(path)
    if err.status_code == HTTPStatus.NOT_FOUND:
        near = did_you_mean(path, [page.path for page in _menu_pages()])
        return NO_PAGE, f"There is no page at {path}{near}.", link_pages(path)
    if err.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        is_action = any(action.path == path for action in list_actions())
        text = (
            f"{path} is the address of a button, and not of a page. Press the button on its page."
            if is_action
            else f"{path} does not answer {method} requests."
        )
        return NO_FORM, text, link_pages(path)
    return phrase, phrase, link_pages(path)


def link_pages(path: str) -> list[Mapping[str, str]]:
    """Return the page that an address below it belongs to, and the overview."""
    found = [
        {"path": page.path, "title": page.title}
        for page in _menu_pages()
        if page.path != "/" and path.startswith(f"{page.path}/")
    ]
    return [*found, OVERVIEW]


def _menu_pages() -> list[Page]:
    return [page for page in list_pages() if page.group is not None]


def _local_path(request: Request) -> str:
    return request.url.path.removeprefix(responses.root_path(request)) or "/"


async def _respond(
    request: Request,
    status: int,
    title: str,
    text: str,
    user: Who | None,
    links: Sequence[Mapping[str, str]],
) -> Response:
    is_outage = status == HTTPStatus.SERVICE_UNAVAILABLE  # the menu would wait for PostgreSQL, too
    if user is None or is_outage or responses.wants_json(request):
        return responses.notice_response(request, status, text, title=title)
    about = {"title": title, "text": text, "links": links}
    found = await run_in_threadpool(_render_in_layout, request, about, user)
    if found is None:
        return responses.notice_response(request, status, text, title=title)
    return responses.html_response(request, found, status)


def _render_in_layout(request: Request, about: Mapping[str, Any], user: Who) -> str | None:
    """Return the notice as a page, or `None` if its menu cannot be made."""
    try:
        menu = build_menu()
    except (WorkshedError, psycopg.Error):
        logger.warning("the menu cannot be made", exc_info=True)
        return None
    layout = {
        "layout": "desk/layout.html",
        "page": Page("", about["title"], "notice.html", load_nothing),
        "query": {},
        "user": user,
        "now": datetime.now(UTC),
        "said": None,
        "root": responses.root_path(request),
        "csrf": csrf.csrf_token(request, user.name),
        "preferences": preferences.read_preferences(request),
        "is_feed": False,
        "menu": menu,
    }
    return templates.full_page("notice.html", {**layout, **about})
