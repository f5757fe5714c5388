"""The console as an ASGI application, standalone or mounted in another."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import psycopg
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, ExceptionHandler

from workshed import secret_keys
from workshed.console.operations.environment import open_database
from workshed.console.web import notices
from workshed.console.web.auth.authenticators import Authenticators, Authorize
from workshed.console.web.auth.login_journal import LoginJournal
from workshed.console.web.endpoints import EndpointFactory
from workshed.console.web.error_answers import BUG, explain_error
from workshed.console.web.live import EventStreams
from workshed.console.web.login import Login
from workshed.console.web.pages import list_actions, list_downloads, list_pages
from workshed.console.web.preferences_form import PreferencesForm
from workshed.console.web.probes import ConsoleProbes
from workshed.console.web.request_guard import RequestGuard
from workshed.console.web.view import responses, static_files
from workshed.console.web.view.compression import Compression
from workshed.console.web.view.safe_headers import SafeHeaders
from workshed.console.web.view.static_files import VersionedFiles
from workshed.errors import WorkshedError

COMPRESSED = [Middleware(Compression)]
FILES = VersionedFiles(static_files.FOLDER)


def create_app(authorize: Authorize | None = None) -> ASGIApp:
    """Create the application; you can mount it in another.

    `authorize`: returns the user of a request, a `Who`, or `None`; it may be async. Raises
    `SettingsError` if no user could log in, or if cookies cannot be signed.
    """
    secret_keys.require_secret()
    doors = Authenticators(authorize)
    gate, login, live = EndpointFactory(doors), Login(doors), EventStreams(doors, list_pages())
    probing = ConsoleProbes()
    routes = [
        Route("/livez", probing.live),
        Route("/readyz", probing.ready),
        Route("/login", login.show_form),
        Route("/login", login.submit, methods=["POST"]),
        Route("/logout", login.logout, methods=["POST"]),
        Route("/preferences", PreferencesForm(doors).submit, methods=["POST"]),
        Route("/live", live.events),
        # Not a `Mount`, whose path would be before the links of a page that reports an error.
        Route("/static/{path:path}", _serve_file, middleware=COMPRESSED),
    ]
    shown = [(page.path, gate.page(page)) for page in list_pages()]
    shown += [(f"{path.rstrip('/') or '/overview'}.json", endpoint) for path, endpoint in shown]
    shown += [(one.path, gate.download(one)) for one in list_downloads()]
    routes += [Route(path, endpoint, middleware=COMPRESSED) for path, endpoint in shown]
    routes += [Route(one.path, gate.action(one), methods=["POST"]) for one in list_actions()]
    lifespan = partial(_lifespan, journal=login.journal)
    inner = Starlette(routes=routes, exception_handlers=_error_handlers(doors), lifespan=lifespan)
    # It would lead to the host that the client names, and behind a proxy with TLS to `http://`.
    inner.router.redirect_slashes = False
    # With `no-referrer`, browsers would send no origin with forms, which CSRF protection needs.
    return SafeHeaders(RequestGuard(inner), Referrer_Policy="same-origin")


@asynccontextmanager
async def _lifespan(_app: Starlette, journal: LoginJournal) -> AsyncGenerator[None]:
    """Refuse to start if migrations are missing; at the end, write what the journal counted."""
    await run_in_threadpool(_check_database)
    yield
    await run_in_threadpool(journal.flush)


def _check_database() -> None:
    with open_database():
        pass


async def _serve_file(request: Request) -> Response:
    return await FILES.get_response(request.path_params["path"], request.scope)


async def _handle_bug(request: Request, _err: Exception) -> Response:
    """Answer an error that nothing explains; the server logs it."""
    return responses.notice_response(request, 500, BUG)


async def _handle_disconnect(_request: Request, _err: Exception) -> Response:
    """Answer a client that has gone before its form arrived, without an error in the log."""
    return Response(status_code=400)


def _error_handlers(doors: Authenticators) -> Mapping[type[Exception], ExceptionHandler]:
    async def handle_error(request: Request, err: Exception) -> Response:
        """Answer an error in words; raises one that is a bug again."""
        if isinstance(err, HTTPException) and not hasattr(request.state, "user"):
            return await notices.http_error_response(request, err, doors)
        status, text = explain_error(err)
        user = getattr(request.state, "user", None)
        response = await notices.notice_response(request, status, text, user)
        if isinstance(err, HTTPException):
            response.headers.update(err.headers or {})
        return response

    return {
        HTTPException: handle_error,
        WorkshedError: handle_error,
        psycopg.Error: handle_error,
        ClientDisconnect: _handle_disconnect,
        Exception: _handle_bug,
    }
