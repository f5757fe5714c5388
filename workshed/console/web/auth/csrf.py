"""Read forms, and check that they come from a page of the console (CSRF protection)."""

import hmac
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from itsdangerous import BadData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from workshed import secret_keys
from workshed.console.web.auth import cookies
from workshed.value_class import value_class

COOKIE = "workshed_console_form"
FIELD = "csrf"
PURPOSE = "console form"
LIFETIME_S = 12 * 3600
MOST_BYTES = 1_000_000
MOST_BYTES_OF_STRANGERS = 10_000
"""The size of a form without a login: many at once must not use up the memory."""
MOST_FIELDS = 10_000
FORM_TYPE = "application/x-www-form-urlencoded"


@value_class
class ActionForm:
    """The fields of a form."""

    fields: Mapping[str, Sequence[str]]

    def one(self, name: str, default: str = "") -> str:
        """Return the last value of a field."""
        values = self.fields.get(name)
        return values[-1] if values else default

    def all(self, name: str) -> list[str]:
        """Return the distinct values of a field, in order."""
        return list(dict.fromkeys(self.fields.get(name, ())))

    def has(self, name: str) -> bool:
        """Return whether a field has a value."""
        return bool(self.one(name))


def csrf_token(request: Request, name: str) -> str:
    """Return the token that forms of a page must send back; `name`: the user of the page."""
    return str(secret_keys.create_timed_signer(PURPOSE).dumps([browser_secret(request), name]))


def browser_secret(request: Request) -> str:
    """Return the secret of this browser; it is created at the first request."""
    found: str | None = getattr(request.state, "nonce", None)
    if found is None:
        found = cookies.read_cookie(request, COOKIE) or secrets.token_urlsafe(24)
        request.state.nonce = found
    return found


def set_browser_secret(request: Request, response: Response) -> None:
    """Set the cookie with the browser's secret, if it has none yet."""
    if not cookies.read_cookie(request, COOKIE) and getattr(request.state, "nonce", None):
        cookies.set_cookie(request, response, COOKIE, request.state.nonce, None)


async def read_form(request: Request, name: str, *, is_program: bool = False) -> ActionForm:
    """Return a form that a page of the console sent for user `name`; raises `HTTPException`.

    `is_program`: the request has the token of a program. Then it needs no page, unless a browser
    sent it: a proxy may add a token to the requests of all browsers.
    """
    needs_page = not is_program or _is_of_browser(request)
    if needs_page and not _is_same_origin(request):
        raise HTTPException(403, "This request came from another site. Use the page itself.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise HTTPException(415, f"Send the form as {FORM_TYPE}.")
    body, most_bytes = bytearray(), MOST_BYTES if name else MOST_BYTES_OF_STRANGERS
    async for piece in request.stream():
        body += piece
        if len(body) > most_bytes:
            raise HTTPException(413, f"The form is too large: at most {most_bytes} bytes are read.")
    fields: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None
    for key, value in pairs:
        fields.setdefault(key, []).append(value.replace("\0", ""))
    form = ActionForm(fields)
    if not needs_page:
        return form
    if not _is_valid_token(request, name, form.one(FIELD)):
        raise HTTPException(403, "This page has expired, or belongs to another user. Reload it.")
    return form


def _is_of_browser(request: Request) -> bool:
    """Return whether a browser sent a form; a program sends neither of these headers."""
    return "origin" in request.headers or "sec-fetch-site" in request.headers


def _is_same_origin(request: Request) -> bool:
    """Return whether a page of this origin sent the request; browsers send one of two headers."""
    fetched_from = request.headers.get("sec-fetch-site")
    if fetched_from is not None and fetched_from != "same-origin":
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return fetched_from == "same-origin"
    # Not parsed, because a proxy may have hidden the scheme, and a client may send anything.
    host = request.headers.get("host")
    return bool(host) and origin.partition("://")[2] == host


def _is_valid_token(request: Request, name: str, said: str) -> bool:
    try:
        nonce, whose = secret_keys.create_timed_signer(PURPOSE).loads(said, max_age=LIFETIME_S)
    except (BadData, TypeError, ValueError):
        return False
    mine = cookies.read_cookie(request, COOKIE) or ""
    return bool(mine) and hmac.compare_digest(str(nonce).encode(), mine.encode()) and whose == name
