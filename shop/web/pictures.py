"""The page of a user's pictures: upload some, and see the results as soon as they are ready."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, ExceptionHandler

from actors import attach_image
from shop.settings import settings
from shop.web import picture_rows, responses
from shop.web.access_log import hide_tokens
from shop.web.contents import ContentResponse
from shop.web.events.hub import Hub
from shop.web.events.pool import ReadPool
from shop.web.events.stream import EventStream
from shop.web.import_failures import download_failures
from shop.web.static_files import static_files
from shop.web.token_auth import authenticate, is_same_site_intent
from shop.web.token_cookie import set_from_url
from shop.web.uploads import Attach, format_mb, store_upload
from workshed import secret_keys
from workshed.console.web.view.safe_headers import SafeHeaders
from workshed.contrib.notifications import TokenError, async_reads
from workshed.contrib.storage import ContentMissingError, StorageError
from workshed.db import TRANSIENT_ERRORS

SWEEP_S = 15.0
"""How long a stream may be behind if a notification was lost, and how often it sends a ping, so
that no proxy takes it for dead."""
SEND_S = 60.0
"""How long a browser may read nothing before its stream is closed; it reconnects for the rest."""
MAX_DIGITS = 18

EXCEPTION_HANDLERS: Mapping[type[Exception], ExceptionHandler] = {
    TokenError: responses.respond_unauthorized,
    ContentMissingError: responses.respond_not_found,
    HTTPException: responses.respond_bad_request,
    ClientDisconnect: responses.respond_bad_request,  # the client does not read it
    StorageError: responses.respond_unavailable,
    **dict.fromkeys(TRANSIENT_ERRORS, responses.respond_unavailable),
}


class PictureEndpoints:
    """The request handlers, and the state that they share."""

    def __init__(
        self, attach: Attach, sweep_s: float, send_s: float, cookie_path: str | None
    ) -> None:
        """Prepare the handlers; the first request connects."""
        self._attach = attach
        self._cookie_path = cookie_path
        self._sweep_s = sweep_s
        self._send_s = send_s
        self._hub = Hub(sweep_s)
        self._pool = ReadPool()

    async def show_page(self, request: Request) -> Response:
        """Show a user's pictures, the newest first."""
        user = authenticate(request)
        if not user.is_from_cookie and "authorization" not in request.headers:
            return set_from_url(request, user, self._cookie_path)
        before = _parse_number(request.query_params.get("before"))
        async with self._pool.connection() as conn:
            # This comes first, so that the stream includes events that happen during the next read.
            number = await async_reads.last_number(conn, user.claims.user_id)
            found = await picture_rows.list_pictures(conn, user.user_id, before)
        about = {
            "pictures": found,
            "number": number,
            "older": found[-1].id if len(found) == picture_rows.PAGE_SIZE else None,
            "is_newest": before is None,
            "max_bytes": settings().image_max_bytes,
            "max_size": format_mb(settings().image_max_bytes),
        }
        return responses.render_page("pictures.html", about)

    async def stream_events(self, request: Request) -> Response:
        """Send a user's events after `Last-Event-ID` or `after`, or from now on."""
        user = authenticate(request)
        start = request.headers.get("last-event-id") or request.query_params.get("after")
        return EventStream(
            self._hub,
            self._pool,
            user.claims,
            _parse_number(start),
            ping_s=self._sweep_s,
            send_s=self._send_s,
        )

    async def send_content(self, request: Request) -> Response:
        """Send a variant of one of the user's pictures."""
        user = authenticate(request)
        sha256 = request.path_params["sha256"]
        async with self._pool.connection() as conn:
            media_type = await picture_rows.find_media_type(conn, user.user_id, sha256)
        if media_type is None:
            return responses.respond_not_found(request)
        return ContentResponse(sha256, media_type)

    async def upload(self, request: Request) -> Response:
        """Store the body as an attachment, and send the job that makes a picture of it."""
        user = authenticate(request)
        if not is_same_site_intent(request, user):
            raise HTTPException(403, "Another site has sent this; upload from the page itself.")
        attachment_id = await store_upload(request, user.user_id, self._attach)
        return JSONResponse({"attachment_id": attachment_id}, 201)

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        """Refuse to start without a secret key for tokens; close connections at the end."""
        secret_keys.require_secret()
        yield
        await self._hub.close()
        await self._pool.close()


def create_app(
    *,
    attach: Attach = attach_image,
    sweep_s: float = SWEEP_S,
    send_s: float = SEND_S,
    cookie_path: str | None = None,
) -> ASGIApp:
    """Make the application; it can be mounted in another, under a path that ends in a slash.

    `cookie_path` is the path of the token cookie; by default, it is that of this application.
    Requests open the connections, so the application works even if its lifespan is not run.
    """
    hide_tokens()
    pictures = PictureEndpoints(attach, sweep_s, send_s, cookie_path)
    routes = [
        Route("/", pictures.show_page),
        Route("/events", pictures.stream_events),
        Route("/contents/{sha256}", pictures.send_content),
        Route("/attachments", pictures.upload, methods=["POST"]),
        Route("/imports/{number}/failures.csv", download_failures),
        static_files(),
    ]
    inner = Starlette(
        routes=routes, exception_handlers=EXCEPTION_HANDLERS, lifespan=pictures.lifespan
    )
    return SafeHeaders(inner)


def _parse_number(given: str | None) -> int | None:
    """Parse the number of a row in a URL or header, which only this service creates."""
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= MAX_DIGITS):
        raise HTTPException(400, "A number in this address is not valid.")
    return int(given)


app = create_app()
