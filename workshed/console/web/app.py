"""The console as an ASGI application, standalone or mounted in another."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, ExceptionHandler

from workshed import db, secret_keys
from workshed.console.operations.environment import open_database
from workshed.console.web import notices
from workshed.console.web.auth.authenticators import Authenticators, Authorize
from workshed.console.web.auth.login_journal import LoginJournal
from workshed.console.web.endpoints import DATABASE_UNREACHABLE, EndpointFactory
from workshed.console.web.live import EventStreams
from workshed.console.web.login import Login
from workshed.console.web.pages import list_actions, list_downloads, list_pages
from workshed.console.web.preferences_form import PreferencesForm
from workshed.console.web.probes import ConsoleProbes
from workshed.console.web.view import responses
from workshed.console.web.view.safe_headers import SafeHeaders

STATIC = Path(__file__).parent / "static"


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
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    for page in list_pages():
        endpoint = gate.page(page)
        routes.append(Route(page.path, endpoint))
        routes.append(Route(f"{page.path.rstrip('/') or '/overview'}.json", endpoint))
    routes += [Route(one.path, gate.download(one)) for one in list_downloads()]
    routes += [Route(one.path, gate.action(one), methods=["POST"]) for one in list_actions()]
    lifespan = partial(_lifespan, journal=login.journal)
    inner = Starlette(routes=routes, exception_handlers=_error_handlers(doors), lifespan=lifespan)
    # With `no-referrer`, browsers would send no origin with forms, which CSRF protection needs.
    return SafeHeaders(inner, Referrer_Policy="same-origin")


@asynccontextmanager
async def _lifespan(_app: Starlette, journal: LoginJournal) -> AsyncGenerator[None]:
    """Refuse to start if migrations are missing; at the end, write what the journal counted."""
    await run_in_threadpool(_check_database)
    yield
    await run_in_threadpool(journal.flush)


def _check_database() -> None:
    with open_database():
        pass


def _handle_outage(request: Request, _err: Exception) -> Response:
    return responses.notice_response(request, 503, DATABASE_UNREACHABLE)


def _error_handlers(doors: Authenticators) -> Mapping[type[Exception], ExceptionHandler]:
    async def handle_http_error(request: Request, err: Exception) -> Response:
        found = err if isinstance(err, HTTPException) else HTTPException(400)
        return await notices.http_error_response(request, found, doors)

    return {
        HTTPException: handle_http_error,
        **dict.fromkeys(db.TRANSIENT_ERRORS, _handle_outage),
    }
