"""The people of `WORKSHED_CONSOLE_USERS`, and their passwords."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from workshed.console.web.auth.who import ROLES, Role
from workshed.errors import SettingsError

AT_ONCE = threading.Semaphore(2)
"""A password takes 64 MiB and some 50 ms to check, and anybody may have one checked."""
PARTS = 3


@dataclass(frozen=True, slots=True)
class ConsoleUser:
    """One of them."""

    name: str
    role: Role
    password_hash: str


def parse_users(text: str) -> dict[str, ConsoleUser]:
    """Read `name:role:hash`, several separated by spaces; raises `SettingsError`."""
    found: dict[str, ConsoleUser] = {}
    for part in text.split():
        words = part.split(":", PARTS - 1)
        if len(words) != PARTS or not words[0]:
            raise _unreadable("each is name:role:hash")
        name, role, password_hash = words
        known: Mapping[str, Role] = {one: one for one in ROLES}
        if role not in known:
            raise _unreadable(f"the role of {name} is none of {', '.join(ROLES)}")
        if name in found:
            raise _unreadable(f"{name} is there twice")
        _check_hash(name, password_hash)
        found[name] = ConsoleUser(name, known[role], password_hash)
    return found


def format_entry(name: str, role: Role, password: str) -> str:
    """Write what `parse_users` reads."""
    return f"{name}:{role}:{_hasher().hash(password)}"


def authenticate_user(
    users: Mapping[str, ConsoleUser], name: str, password: str
) -> ConsoleUser | None:
    """Return the user whose password this is; it takes as long where there is no such user."""
    user = users.get(name)
    with AT_ONCE:
        try:
            _hasher().verify(_nobodys_hash() if user is None else user.password_hash, password)
        except VerificationError:
            return None
    return user


def _check_hash(name: str, password_hash: str) -> None:
    try:
        _hasher().check_needs_rehash(password_hash)
    except InvalidHashError:
        raise _unreadable(f"what {name} has is no hash of argon2") from None


def _unreadable(why: str) -> SettingsError:
    return SettingsError(
        f"WORKSHED_CONSOLE_USERS cannot be read: {why}; `workshed console user NAME` makes one"
    )


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _nobodys_hash() -> str:
    return _hasher().hash("nobody has this password")
