"""A cookie by which the answer to an action is shown once, to the browser that sent the action.

The address of the next page names the entry of the audit, and may be reloaded or sent to others.
"""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from workshed.console.web.auth import cookies

FIELD = "done"
"""In the address: the ID of an entry in the audit."""
LIFETIME = timedelta(minutes=5)


def expect_message(request: Request, response: Response, entry: int) -> None:
    """Let the next page of this browser show the message of an entry."""
    cookies.set_cookie(request, response, _cookie_name(str(entry)), "1", LIFETIME)


def expected_message(request: Request) -> str | None:
    """Return the ID of the entry whose message this browser has not seen yet, if any."""
    entry = request.query_params.get(FIELD, "")
    is_number = entry.isascii() and entry.isdigit()
    is_expected = is_number and cookies.read_cookie(request, _cookie_name(entry)) is not None
    return entry if is_expected else None


def forget_message(request: Request, response: Response, entry: str) -> None:
    """Show the message no more."""
    cookies.delete_cookie(request, response, _cookie_name(entry))


def _cookie_name(entry: str) -> str:
    return f"workshed_console_{FIELD}_{entry}"
