"""Signed tokens: who shows one is its user, until it expires."""

from dataclasses import dataclass
from datetime import datetime

from workshed.extras import needed

with needed("server"):
    from itsdangerous import BadData, SignatureExpired

from workshed import secret_keys
from workshed.contrib.notifications.errors import TokenError
from workshed.settings import settings

PURPOSE = "workshed.notifications.streams"
"""What tokens are signed for. It is no name of a module: tokens outlive a release."""


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token says."""

    user_id: str
    expires_at: datetime


def token(user_id: str) -> str:
    """Return a token of this user, valid from now for `token_lifetime`; it can stand in a URL."""
    return str(secret_keys.timed_signer(PURPOSE).dumps(user_id))


def user_of(token: str) -> str:
    """Return whose a token is; raises `TokenError`."""
    return read(token).user_id


def read(token: str) -> TokenClaims:
    """Return what a token says; raises `TokenError` for one that is forged or has expired."""
    lifetime = settings().token_lifetime
    try:
        user_id, signed_at = secret_keys.timed_signer(PURPOSE).loads(
            token, max_age=int(lifetime.total_seconds()), return_timestamp=True
        )
    except SignatureExpired:
        raise TokenError("has expired") from None
    except (BadData, ValueError):  # the error of a library may quote the token
        raise TokenError("is not one of ours, or not whole") from None
    if not isinstance(user_id, str):
        raise TokenError("names no user")
    return TokenClaims(user_id, signed_at + lifetime)
