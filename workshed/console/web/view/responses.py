"""The responses of the console: pages, JSON, downloads, notices, redirects."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from workshed.console.web.auth import csrf
from workshed.console.web.view import preferences, templates
from workshed.console.web.view.page import DownloadContent
from workshed.console.web.view.safe_headers import NO_STORE

JSON = "application/json"

LONGEST_PATH = 9_000
"""Characters, with the query, which has at most 8 000."""


def html_response(request: Request, text: str, status: int = 200) -> Response:
    """Return a page, with a cookie for its forms if the browser has none."""
    response = HTMLResponse(text, status, headers=NO_STORE)
    csrf.set_browser_secret(request, response)
    return response


def json_response(value: Any, status: int = 200) -> Response:
    """Return JSON."""
    return Response(templates.as_json(value) + "\n", status, headers=NO_STORE, media_type=JSON)


def file_response(download: DownloadContent) -> Response:
    """Return a download; with a file name, browsers save it."""
    headers = {
        **NO_STORE,
        "Content-Security-Policy": download.policy,
        # No DNS lookups for the hosts of its links before a user follows one.
        "X-DNS-Prefetch-Control": "off",
    }
    if download.filename is not None:
        headers["Content-Disposition"] = f'attachment; filename="{download.filename}"'
    if isinstance(download.body, bytes):
        return Response(download.body, headers=headers, media_type=download.media_type)
    return StreamingResponse(download.body, headers=headers, media_type=download.media_type)


def wants_json(request: Request) -> bool:
    """Return whether a program sent the request, and not a browser."""
    path, accept = request.scope["path"], request.headers.get("accept", "")
    return path.endswith(".json") or (JSON in accept and "text/html" not in accept)


def notice_response(request: Request, status: int, text: str, title: str = "") -> Response:
    """Return a notice that says why something is not shown, or was not done, without the menu."""
    if wants_json(request):
        return json_response({"error": text, "status": status}, status)
    about = {
        "layout": "desk/plain.html",
        "title": title or HTTPStatus(status).phrase,
        "text": text,
        "root": root_path(request),
        "links": [{"path": "/", "title": "Overview"}],
        "preferences": preferences.read_preferences(request),
    }
    return html_response(request, templates.full_page("notice.html", about), status)


def redirect_to(request: Request, path: str) -> Response:
    """Redirect to another page of the console, by GET."""
    return RedirectResponse(root_path(request) + path, HTTPStatus.SEE_OTHER, headers=NO_STORE)


def root_path(request: Request) -> str:
    """Return the path where the console is mounted, without a trailing slash."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def safe_path(path: str, default: str = "/") -> str:
    """Return a path of this site unchanged, and the default for any other.

    No page has a longer one than `LONGEST_PATH`, and no proxy passes it on in an answer.
    """
    is_local = path.startswith("/") and not path.startswith(("//", "/\\"))
    is_local = is_local and len(path) <= LONGEST_PATH
    return path if is_local and path.isprintable() and "\\" not in path else default


def to_json_types(about: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values to JSON types; raises `TypeError` for a value without a JSON form."""
    found: dict[str, Any] = json.loads(templates.as_json(about))
    return found
