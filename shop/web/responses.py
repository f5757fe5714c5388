"""Notices and errors, as a page for browsers and as text for programs."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from workshed.console.web.view.safe_headers import NO_STORE
from workshed.contrib.notifications import TokenError


def render_page(template: str, about: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """Render a template in `templates/`; a missing variable is an error."""
    text = _templates().get_template(template).render(about)
    return HTMLResponse(text, status, headers=NO_STORE)


def respond_notice(request: Request, status: int, title: str, text: str) -> Response:
    """Return a notice: a page if the client accepts HTML, else a line of text."""
    if "text/html" in request.headers.get("accept", ""):
        return render_page("notice.html", {"title": title, "text": text}, status)
    return PlainTextResponse(f"{title} {text}\n", status, headers=NO_STORE)


def respond_unauthorized(request: Request, err: Exception) -> Response:
    """Answer a request without a valid token."""
    reason = err.reason if isinstance(err, TokenError) else "cannot be read"
    text = f"Your token {reason}. Open the page by a new link, from where you got the last one."
    answer = respond_notice(request, 401, "We do not know who you are.", text)
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def respond_unavailable(request: Request, _err: Exception) -> Response:
    """Answer while PostgreSQL or the storage is unavailable."""
    text = "What you have stored is safe. Try again in a minute."
    answer = respond_notice(request, 503, "Your pictures cannot be reached just now.", text)
    answer.headers["Retry-After"] = "10"
    return answer


def respond_not_found(request: Request, _err: Exception | None = None) -> Response:
    """Answer for a picture that is missing or another user's, without revealing which."""
    return respond_notice(request, 404, "There is no such picture.", "It may have been replaced.")


def respond_bad_request(request: Request, err: Exception) -> Response:
    """Answer an invalid request."""
    status, detail = (err.status_code, err.detail) if isinstance(err, HTTPException) else (400, "")
    return respond_notice(request, status, "That cannot be done.", detail)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("shop.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
