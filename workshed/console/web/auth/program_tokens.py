"""The tokens of `WORKSHED_CONSOLE_TOKENS`, with which programs use the console."""

import hashlib
import re
import secrets
from collections.abc import Mapping

from starlette.requests import Request

from workshed.console.web.auth.roles import ROLES, Role, Who
from workshed.errors import SettingsError

PREFIX = "wsc_"
"""By which scanners of source code recognize a token."""
PARTS = 3
HASH = re.compile(r"[0-9a-f]{64}")

ProgramTokens = Mapping[str, Who]
"""Programs by the hash of their token."""


def parse_tokens(text: str) -> dict[str, Who]:
    """Parse `name:role:hash`, separated by spaces; raises `SettingsError`."""
    found: dict[str, Who] = {}
    for part in text.split():
        words = part.split(":")
        if len(words) != PARTS or not words[0]:
            raise _settings_error("each entry must be name:role:hash")
        name, role, token_hash = words
        known: Mapping[str, Role] = {one: one for one in ROLES}
        if role not in known:
            raise _settings_error(f"the role of {name} must be one of {', '.join(ROLES)}")
        if not HASH.fullmatch(token_hash):
            raise _settings_error(f"the hash of {name} must have 64 hexadecimal digits")
        if token_hash in found:
            raise _settings_error(f"the token of {name} appears twice")
        found[token_hash] = Who(name, known[role], is_program=True)
    return found


def create_token() -> str:
    """Return a new token."""
    return PREFIX + secrets.token_urlsafe(32)


def format_token_entry(name: str, role: Role, token: str) -> str:
    """Format an entry for `parse_tokens`, from which the token cannot be found."""
    return f"{name}:{role}:{_hash(token)}"


def read_token(request: Request) -> str | None:
    """Return the token of `Authorization: Bearer TOKEN`, or `None`; also if it is there twice."""
    given = request.headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" else None


def find_program(request: Request, tokens: ProgramTokens) -> Who | None:
    """Return the program whose token a request has, or `None`."""
    token = read_token(request)
    return None if token is None else tokens.get(_hash(token))


def _hash(token: str) -> str:
    """Return the hash of a token, which is too long to be guessed and needs no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def _settings_error(why: str) -> SettingsError:
    return SettingsError(
        f"WORKSHED_CONSOLE_TOKENS cannot be read: {why}; "
        "`workshed console token NAME` creates a token with its entry"
    )
