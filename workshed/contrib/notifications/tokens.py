"""Signed tokens: a browser that presents one acts as its user until it expires."""

from dataclasses import dataclass
from datetime import datetime

from workshed.extras import require_extra

with require_extra("server"):
    from itsdangerous import BadData, SignatureExpired

from workshed import secret_keys
from workshed.contrib.notifications.errors import TokenError
from workshed.settings import settings

PURPOSE = "workshed.notifications.streams"
"""What tokens are signed for; not a module's name, because tokens outlive a release."""


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The contents of a token."""

    user_id: str
    expires_at: datetime


def token(user_id: str) -> str:
    """Return a token for this user, valid from now for `token_lifetime`; it is safe in a URL."""
    return str(secret_keys.create_timed_signer(PURPOSE).dumps(user_id))


def get_token_user(token: str) -> str:
    """Return the user of a token; raises `TokenError`."""
    return read_token(token).user_id


def read_token(token: str) -> TokenClaims:
    """Return the contents of a token; raises `TokenError` if it is forged or expired."""
    lifetime = settings().token_lifetime
    try:
        user_id, signed_at = secret_keys.create_timed_signer(PURPOSE).loads(
            token, max_age=int(lifetime.total_seconds()), return_timestamp=True
        )
    except SignatureExpired:
        raise TokenError("has expired") from None
    except (BadData, ValueError):  # `from None`, because a library's error may quote the token
        raise TokenError("is invalid or incomplete") from None
    if not isinstance(user_id, str):
        raise TokenError("names no user")
    return TokenClaims(user_id, signed_at + lifetime)
