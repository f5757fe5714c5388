"""The shop as an ASGI application."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, ExceptionHandler

from shop.demo.shop import importing, ordering, page, reporting, signing
from shop.web import answers
from shop.web.access_log import hide_tokens
from shop.web.import_failures import failures
from shop.web.static_files import static_files
from workshed.console.web.view.safe_headers import SafeHeaders
from workshed.contrib.notifications import TokenError
from workshed.contrib.storage import StorageError
from workshed.db import PASSING_ERRORS


def create_app() -> ASGIApp:
    """Make the application; the pictures page has to be mounted next to it, at `pictures/`.

    Serve it on loopback only, because it has no passwords.
    """
    hide_tokens()
    routes = [
        Route("/", page.front),
        Route("/sign-up", signing.sign_up, methods=["POST"]),
        Route("/sign-out", signing.sign_out, methods=["POST"]),
        Route("/orders", ordering.order, methods=["POST"]),
        Route("/imports", importing.hand_in, methods=["POST"]),
        Route("/imports/{number}/failures.csv", failures),
        Route("/reports", reporting.run, methods=["POST"]),
        static_files(),
    ]
    return SafeHeaders(Starlette(routes=routes, exception_handlers=FAILURES))


def unknown(request: Request, err: Exception) -> Response:
    """Answer a form whose sender has no valid token."""
    reason = err.reason if isinstance(err, TokenError) else "cannot be read"
    text = f"Your token {reason}, so nothing was done. Open the shop again."
    return answers.notice(request, 401, "We do not know who you are.", text)


def away(request: Request, _err: Exception) -> Response:
    """Answer while PostgreSQL or the storage is unavailable."""
    text = "What you have stored is safe. Try again in a minute."
    answer = answers.notice(request, 503, "The shop cannot be reached just now.", text)
    answer.headers["Retry-After"] = "10"
    return answer


FAILURES: Mapping[type[Exception], ExceptionHandler] = {
    TokenError: unknown,
    HTTPException: answers.refused,
    ClientDisconnect: answers.refused,  # the client does not read it
    StorageError: away,
    **dict.fromkeys(PASSING_ERRORS, away),
}
