"""The page on which people unsubscribe from campaigns, by the link in each campaign email."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, ExceptionHandler

import actors
from shop import people
from shop.people import UnsubscribeTokenError, unsubscribe_links
from shop.web import responses
from shop.web.access_log import hide_tokens
from shop.web.static_files import static_files
from workshed import db
from workshed.console.web.view.safe_headers import SafeHeaders
from workshed.db import TRANSIENT_ERRORS
from workshed.jobs import RecordMissing


def create_app() -> ASGIApp:
    """Make the application; mount it at `SHOP_SITE_URL`/unsubscribe, where links in emails lead."""
    hide_tokens()
    routes = [
        Route("/{token}", confirm),
        Route("/{token}", submit, methods=["POST"]),
        static_files(),
    ]
    return SafeHeaders(Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS))


async def confirm(request: Request) -> Response:
    """Show a button, because programs that check the links in emails press no buttons."""
    user = await run_in_threadpool(_get_user, _read_user_id(request))
    return responses.render_page(
        "unsubscribe.html", {"email": user.email, "is_out": _is_unsubscribed(user)}
    )


async def submit(request: Request) -> Response:
    """Unsubscribe the user of the link, by the page's button or a mail program's (RFC 8058).

    The link alone is enough: it is signed, and only in emails to that user.
    """
    user = await run_in_threadpool(_unsubscribe, _read_user_id(request))
    return responses.render_page("unsubscribe.html", {"email": user.email, "is_out": True})


def respond_not_found(request: Request, _err: Exception) -> Response:
    """Answer an invalid link, or one of a deleted user, without revealing which."""
    text = "It may be cut off: copy all of it from the email. Deleted users get no more emails."
    return responses.respond_notice(request, 404, "This link does not work.", text)


def respond_unavailable(request: Request, _err: Exception) -> Response:
    """Answer while PostgreSQL is unavailable; mail programs retry."""
    text = "Nothing has changed. Try again in a minute."
    answer = responses.respond_notice(request, 503, "You cannot be unsubscribed just now.", text)
    answer.headers["Retry-After"] = "10"
    return answer


EXCEPTION_HANDLERS: Mapping[type[Exception], ExceptionHandler] = {
    UnsubscribeTokenError: respond_not_found,
    RecordMissing: respond_not_found,
    HTTPException: responses.respond_bad_request,
    **dict.fromkeys(TRANSIENT_ERRORS, respond_unavailable),
}


def _read_user_id(request: Request) -> int:
    return unsubscribe_links.read_token(request.path_params["token"])


def _get_user(user_id: int) -> people.User:
    with db.transaction() as conn:
        return people.get_user(conn, user_id)


def _unsubscribe(user_id: int) -> people.User:
    with db.transaction() as conn:
        actors.unsubscribe_user(conn, user_id)
        return people.get_user(conn, user_id)


def _is_unsubscribed(user: people.User) -> bool:
    return user.unsubscribed_at is not None
