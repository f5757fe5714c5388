"""The keys that sign values which browsers send back."""

import hashlib
from typing import Any

from workshed.extras import require_extra

with require_extra("server"):
    from itsdangerous import Signer, URLSafeSerializer, URLSafeTimedSerializer

from workshed.errors import SettingsError
from workshed.settings import settings

SIGNER_OPTIONS: dict[str, Any] = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
"""itsdangerous would use SHA-1 by default."""


def create_signer(purpose: str) -> URLSafeSerializer:
    """Return a signer for one purpose; it does not accept values signed for another."""
    return URLSafeSerializer(_read_keys(), salt=purpose, signer_kwargs=SIGNER_OPTIONS)


def create_timed_signer(purpose: str) -> URLSafeTimedSerializer:
    """Return a signer for one purpose that also records when each value was signed."""
    return URLSafeTimedSerializer(_read_keys(), salt=purpose, signer_kwargs=SIGNER_OPTIONS)


def create_proof_signer(purpose: str) -> Signer:
    """Return a signer whose signatures are kept apart from what they sign."""
    return Signer(_read_keys(), salt=purpose, **SIGNER_OPTIONS)


def require_secret() -> None:
    """Raise `SettingsError` if no key is set, so that nothing could be signed or read."""
    _read_keys()


def _read_keys() -> list[str]:
    keys = [key.strip() for key in settings().secret_key.get_secret_value().split(",")]
    if keys == [""]:
        raise SettingsError(
            "WORKSHED_SECRET_KEY is not set, so no token can be signed; make one with "
            'python -c "import secrets; print(secrets.token_urlsafe(32))" and give it to every '
            "process that makes or reads tokens"
        )
    return keys[::-1]
