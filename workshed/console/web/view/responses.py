"""What the console answers: pages, JSON, refusals."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from workshed.console.web.auth import csrf
from workshed.console.web.auth.who import Who
from workshed.console.web.view import templates
from workshed.console.web.view.page import Downloaded
from workshed.console.web.view.safe_headers import UNSHARED

JSON = "application/json"


def html_response(request: Request, text: str, status: int = 200) -> Response:
    """Send a page, and the secret of its forms where the browser has none."""
    response = HTMLResponse(text, status, headers=UNSHARED)
    csrf.set_browser_secret(request, response)
    return response


def json_response(value: Any, status: int = 200) -> Response:
    """Send JSON."""
    return Response(templates.as_json(value) + "\n", status, headers=UNSHARED, media_type=JSON)


def file_response(made: Downloaded) -> Response:
    """Send what is no page: to be saved where it has a name for that."""
    headers = {
        **UNSHARED,
        "Content-Security-Policy": made.policy,
        # Nothing is asked of hosts that its links name, before anybody follows one.
        "X-DNS-Prefetch-Control": "off",
    }
    if made.filename is not None:
        headers["Content-Disposition"] = f'attachment; filename="{made.filename}"'
    if isinstance(made.body, bytes):
        return Response(made.body, headers=headers, media_type=made.media_type)
    return StreamingResponse(made.body, headers=headers, media_type=made.media_type)


def wants_json(request: Request) -> bool:
    """Tell whether a program asks."""
    path, accept = request.url.path, request.headers.get("accept", "")
    return path.endswith(".json") or (JSON in accept and "text/html" not in accept)


def notice_response(request: Request, status: int, text: str, who: Who | None = None) -> Response:
    """Say why something is not shown, or was not done."""
    title = HTTPStatus(status).phrase
    if wants_json(request):
        return json_response({"error": text, "status": status}, status)
    about = {"title": title, "text": text, "root": root_path(request), "who": who, "status": status}
    return html_response(request, templates.full_page("notice.html", about), status)


def redirect_to(request: Request, path: str) -> Response:
    """Lead to another page of the console by GET."""
    return RedirectResponse(root_path(request) + path, HTTPStatus.SEE_OTHER, headers=UNSHARED)


def root_path(request: Request) -> str:
    """Return under which path the console is mounted, without a slash at its end."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def safe_path(path: str, default: str = "/") -> str:
    """Return a path of this site as it is; one that leads elsewhere becomes the default."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_local and path.isprintable() and "\\" not in path else default


def to_json_types(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON has of it; raises `TypeError` for what it has no form for."""
    found: dict[str, Any] = json.loads(templates.as_json(about))
    return found
