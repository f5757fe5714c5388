"""Signed tokens: who shows one is its user, until it expires."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer

from workshed.errors import SettingsError
from workshed.notifications.errors import TokenError
from workshed.settings import settings

SALT = "workshed.notifications.streams"
"""Keeps tokens of other purposes, signed with the same keys, from being taken for these."""

SIGNER = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
"""By default it would be SHA-1."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What a token says."""

    user_id: int
    expires_at: datetime


def token(user_id: int) -> str:
    """Return a token of this user, valid from now for `token_lifetime`; it can stand in a URL."""
    return str(_serializer().dumps(user_id))


def user_of(token: str) -> int:
    """Return whose a token is; raises `TokenError`."""
    return read(token).user_id


def read(token: str) -> Pass:
    """Return what a token says; raises `TokenError` for one that is forged or has expired."""
    lifetime = settings().token_lifetime
    try:
        user_id, signed_at = _serializer().loads(
            token, max_age=int(lifetime.total_seconds()), return_timestamp=True
        )
    except SignatureExpired:
        raise TokenError("has expired") from None
    except (BadData, ValueError):  # the error of a library may quote the token
        raise TokenError("is not one of ours, or not whole") from None
    if type(user_id) is not int:
        raise TokenError("says nobody's name")
    return Pass(user_id, signed_at + lifetime)


def require_keys() -> None:
    """Raise `SettingsError` where no token could be signed or read."""
    _keys()


def _serializer() -> URLSafeTimedSerializer:
    # It wants the newest last.
    return URLSafeTimedSerializer(_keys()[::-1], salt=SALT, signer_kwargs=SIGNER)


def _keys() -> list[str]:
    """Return the keys, newest first."""
    keys = [key.strip() for key in settings().secret_key.get_secret_value().split(",")]
    if keys == [""]:
        raise SettingsError(
            "WORKSHED_SECRET_KEY is not set, so no token can be signed; make one with "
            'python -c "import secrets; print(secrets.token_urlsafe(32))" and give it to every '
            "process that makes or reads tokens"
        )
    return keys
