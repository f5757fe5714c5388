"""The keys that sign values which browsers send back."""

import hashlib
from typing import Any

from workshed.extras import needed

with needed("server"):
    from itsdangerous import URLSafeSerializer, URLSafeTimedSerializer

from workshed.errors import SettingsError
from workshed.settings import settings

SIGNER: dict[str, Any] = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
"""itsdangerous would use SHA-1 by default."""


def signer(purpose: str) -> URLSafeSerializer:
    """Return a signer for one purpose; it does not accept values signed for another."""
    return URLSafeSerializer(_newest_last(), salt=purpose, signer_kwargs=SIGNER)


def timed_signer(purpose: str) -> URLSafeTimedSerializer:
    """Return a signer for one purpose that also records when each value was signed."""
    return URLSafeTimedSerializer(_newest_last(), salt=purpose, signer_kwargs=SIGNER)


def require_secret() -> None:
    """Raise `SettingsError` if no key is set, so that nothing could be signed or read."""
    _newest_last()


def _newest_last() -> list[str]:
    keys = [key.strip() for key in settings().secret_key.get_secret_value().split(",")]
    if keys == [""]:
        raise SettingsError(
            "WORKSHED_SECRET_KEY is not set, so no token can be signed; make one with "
            'python -c "import secrets; print(secrets.token_urlsafe(32))" and give it to every '
            "process that makes or reads tokens"
        )
    return keys[::-1]
