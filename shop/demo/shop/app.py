"""The shop as an ASGI application."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, ExceptionHandler

from shop.demo.shop import accounts, imports, orders, page, reports
from shop.web import responses
from shop.web.access_log import hide_tokens
from shop.web.import_failures import download_failures
from shop.web.static_files import static_files
from workshed.console.web.view.safe_headers import SafeHeaders
from workshed.contrib.notifications import TokenError
from workshed.contrib.storage import StorageError
from workshed.db import TRANSIENT_ERRORS


def create_app() -> ASGIApp:
    """Make the application; the pictures page has to be mounted next to it, at `pictures/`.

    Serve it on loopback only, because it has no passwords.
    """
    hide_tokens()
    routes = [
        Route("/", page.show_front_page),
        Route("/sign-up", accounts.sign_up, methods=["POST"]),
        Route("/sign-out", accounts.sign_out, methods=["POST"]),
        Route("/orders", orders.submit_order, methods=["POST"]),
        Route("/imports", imports.submit_import, methods=["POST"]),
        Route("/imports/{number}/failures.csv", download_failures),
        Route("/reports", reports.request_report, methods=["POST"]),
        static_files(),
    ]
    return SafeHeaders(Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS))


def respond_unauthorized(request: Request, err: Exception) -> Response:
    """Answer a form whose sender has no valid token."""
    reason = err.reason if isinstance(err, TokenError) else "cannot be read"
    text = f"Your token {reason}, so nothing was done. Open the shop again."
    return responses.respond_notice(request, 401, "We do not know who you are.", text)


def respond_unavailable(request: Request, _err: Exception) -> Response:
    """Answer while PostgreSQL or the storage is unavailable."""
    text = "What you have stored is safe. Try again in a minute."
    answer = responses.respond_notice(request, 503, "The shop cannot be reached just now.", text)
    answer.headers["Retry-After"] = "10"
    return answer


EXCEPTION_HANDLERS: Mapping[type[Exception], ExceptionHandler] = {
    TokenError: respond_unauthorized,
    HTTPException: responses.respond_bad_request,
    ClientDisconnect: responses.respond_bad_request,  # the client does not read it
    StorageError: respond_unavailable,
    **dict.fromkeys(TRANSIENT_ERRORS, respond_unavailable),
}
