"""The storage that `WORKSHED_STORAGE_URL` names."""

import os
from functools import cache
from typing import Any

from workshed.contrib.storage.local import LocalStorage
from workshed.contrib.storage.protocol import Storage
from workshed.contrib.storage.s3_address import S3Address
from workshed.contrib.storage.timeouts import DEFAULT_TIMEOUTS, StorageTimeouts
from workshed.errors import SettingsError
from workshed.settings import settings

S3_MISSING = (
    "WORKSHED_STORAGE_URL: S3 needs its client, which is missing: pip install 'workshed[s3]'"
)


def storage() -> Storage:
    """Return the storage of the settings, always the same object; raises `SettingsError`."""
    return _cached_storage(settings().storage_url.get_secret_value())


def create_storage(url: str, patience: StorageTimeouts = DEFAULT_TIMEOUTS) -> Storage:
    """Return the storage of a URL, without connecting to it; raises `SettingsError`."""
    if not url.startswith("s3://"):
        return LocalStorage.from_url(url)
    address = S3Address.from_url(url)
    storage: Storage = _import_s3().S3Storage(address, patience)
    return storage


_cached_storage = cache(create_storage)


def _import_s3() -> Any:
    """Import the module that needs the client."""
    try:
        from workshed.contrib.storage import s3  # noqa: PLC0415 -- an extra
    except ImportError as err:
        raise SettingsError(S3_MISSING) from err
    return s3


os.register_at_fork(after_in_child=_cached_storage.cache_clear)
