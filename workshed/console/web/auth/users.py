"""The users of `WORKSHED_CONSOLE_USERS`, and their passwords."""

from collections.abc import Mapping
from functools import cache, lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from workshed.console.web.auth.roles import ROLES, Role
from workshed.errors import SettingsError
from workshed.settings import settings
from workshed.value_class import value_class

PARTS = 3


@value_class
class ConsoleUser:
    """A user with a password."""

    name: str
    role: Role
    password_hash: str


def parse_users(text: str) -> dict[str, ConsoleUser]:
    """Parse `name:role:hash`, separated by spaces; raises `SettingsError`."""
    found: dict[str, ConsoleUser] = {}
    for part in text.split():
        words = part.split(":", PARTS - 1)
        if len(words) != PARTS or not words[0]:
            raise _settings_error("each entry must be name:role:hash")
        name, role, password_hash = words
        known: Mapping[str, Role] = {one: one for one in ROLES}
        if role not in known:
            raise _settings_error(f"the role of {name} must be one of {', '.join(ROLES)}")
        if name in found:
            raise _settings_error(f"{name} appears twice")
        _check_hash(name, password_hash)
        found[name] = ConsoleUser(name, known[role], password_hash)
    return found


def configured_users() -> Mapping[str, ConsoleUser]:
    """Return the users of the settings, by name; raises `SettingsError`."""
    return _parse_once(settings().console_users.get_secret_value())


def format_entry(name: str, role: Role, password: str) -> str:
    """Format an entry for `parse_users`."""
    return f"{name}:{role}:{_hasher().hash(password)}"


def authenticate_user(
    users: Mapping[str, ConsoleUser], name: str, password: str
) -> ConsoleUser | None:
    """Return the user if the password is right; takes the same time for an unknown user.

    It takes 64 MiB and some 50 ms, so callers limit how many run at once.
    """
    user = users.get(name)
    try:
        _hasher().verify(_dummy_hash() if user is None else user.password_hash, password)
    except VerificationError:
        return None
    return user


def _check_hash(name: str, password_hash: str) -> None:
    try:
        _hasher().check_needs_rehash(password_hash)
    except InvalidHashError:
        raise _settings_error(f"the hash of {name} is not an argon2 hash") from None


def _settings_error(why: str) -> SettingsError:
    return SettingsError(
        f"WORKSHED_CONSOLE_USERS cannot be read: {why}; "
        "`workshed console user NAME` creates an entry"
    )


_parse_once = lru_cache(1)(parse_users)


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _dummy_hash() -> str:
    return _hasher().hash("not the password of any user")
