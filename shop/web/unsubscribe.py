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
from shop.people import UnsubscribeTokenError, unsubscribing
from shop.web import answers
from shop.web.access_log import hide_tokens
from shop.web.static_files import static_files
from workshed import db
from workshed.console.web.view.safe_headers import SafeHeaders
from workshed.db import PASSING_ERRORS
from workshed.jobs import RecordMissing


def create_app() -> ASGIApp:
    """Make the application; mount it at `SHOP_SITE_URL`/unsubscribe, where links in emails lead."""
    hide_tokens()
    routes = [
        Route("/{token}", ask),
        Route("/{token}", leave, methods=["POST"]),
        static_files(),
    ]
    return SafeHeaders(Starlette(routes=routes, exception_handlers=FAILURES))


async def ask(request: Request) -> Response:
    """Show a button, because programs that check the links in emails press no buttons."""
    who = await run_in_threadpool(_find, _user_id(request))
    return answers.page("unsubscribe.html", {"email": who.email, "is_out": _is_out(who)})


async def leave(request: Request) -> Response:
    """Unsubscribe the user of the link, by the page's button or a mail program's (RFC 8058).

    The link alone is enough: it is signed, and only in emails to that user.
    """
    who = await run_in_threadpool(_unsubscribe, _user_id(request))
    return answers.page("unsubscribe.html", {"email": who.email, "is_out": True})


def unknown(request: Request, _err: Exception) -> Response:
    """Answer an invalid link, or one of a deleted user, without revealing which."""
    text = "It may be cut off: copy all of it from the email. Deleted users get no more emails."
    return answers.notice(request, 404, "This link does not work.", text)


def away(request: Request, _err: Exception) -> Response:
    """Answer while PostgreSQL is unavailable; mail programs retry."""
    text = "Nothing has changed. Try again in a minute."
    answer = answers.notice(request, 503, "You cannot be unsubscribed just now.", text)
    answer.headers["Retry-After"] = "10"
    return answer


FAILURES: Mapping[type[Exception], ExceptionHandler] = {
    UnsubscribeTokenError: unknown,
    RecordMissing: unknown,
    HTTPException: answers.refused,
    **dict.fromkeys(PASSING_ERRORS, away),
}


def _user_id(request: Request) -> int:
    return unsubscribing.user_of(request.path_params["token"])


def _find(user_id: int) -> people.User:
    with db.transaction() as conn:
        return people.find(conn, user_id)


def _unsubscribe(user_id: int) -> people.User:
    with db.transaction() as conn:
        actors.unsubscribe(conn, user_id)
        return people.find(conn, user_id)


def _is_out(who: people.User) -> bool:
    return who.unsubscribed_at is not None
