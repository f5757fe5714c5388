"""The S3 client, with time limits."""

import os
from dataclasses import field
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from workshed.extras import require_extra
from workshed.value_class import value_class

with require_extra("s3"):
    from obstore.store import S3Store

from workshed.contrib.storage.s3_address import S3Address
from workshed.contrib.storage.timeouts import StorageTimeouts

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential  # they exist only in its stubs

MAX_RETRIES = 100
"""More than fit into the retry time, which is the actual limit."""
LONGEST_PAUSE = timedelta(seconds=2)
"""Between two attempts; added to the retry time."""


def create_client(address: S3Address, patience: StorageTimeouts) -> S3Store:
    """Return a client; `AWS_*` variables supply what the address lacks."""
    return S3Store(
        address.bucket,
        config=_build_config(address),
        client_options={
            "connect_timeout": patience.connect,
            "read_timeout": patience.answer,
            "timeout": patience.whole,
            "allow_http": address.is_plain,
        },
        retry_config={
            "max_retries": MAX_RETRIES,
            "retry_timeout": patience.retries,
            "backoff": {"max_backoff": LONGEST_PAUSE},
        },
        credential_provider=_read_credentials(address),
    )


def is_forked() -> bool:
    """Return whether a parent of this process used the client, which would hang here for ever.

    A fork does not copy the client's threads, and the client does not notice.
    """
    return _first_process() != os.getpid()


@cache
def _first_process() -> int:
    """Return the first process that called this; a fork inherits the cached answer."""
    return os.getpid()


@value_class
class _UrlCredentials:
    """The credentials from the URL.

    Given as configuration, they would be sent together with `AWS_SESSION_TOKEN` from the
    environment, which belongs to other credentials.
    """

    key_id: str = field(repr=False)
    secret: str = field(repr=False)

    def __call__(self) -> "S3Credential":
        return {
            "access_key_id": self.key_id,
            "secret_access_key": self.secret,
            "token": None,
            "expires_at": None,
        }


def _read_credentials(address: S3Address) -> _UrlCredentials | None:
    if address.key_id is None or address.secret is None:
        return None
    return _UrlCredentials(address.key_id, address.secret)


def _build_config(address: S3Address) -> "S3Config":
    found: S3Config = {}
    if address.region:
        found["region"] = address.region
    if address.endpoint:
        found["endpoint"] = address.endpoint
    return found
