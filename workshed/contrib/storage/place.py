"""The storage that `WORKSHED_STORAGE_URL` names."""

import os
from functools import cache
from typing import Any

from workshed.contrib.storage.contract import Storage
from workshed.contrib.storage.local import LocalStorage
from workshed.contrib.storage.patience import USUAL, StorageTimeouts
from workshed.contrib.storage.s3_address import S3Address
from workshed.errors import SettingsError
from workshed.settings import settings

INSTALL = "WORKSHED_STORAGE_URL: S3 needs its client, which is missing: pip install 'workshed[s3]'"


def storage() -> Storage:
    """Return the storage of the settings, always the same object; raises `SettingsError`."""
    return _known(settings().storage_url.get_secret_value())


def place(url: str, patience: StorageTimeouts = USUAL) -> Storage:
    """Return the storage of a URL, without connecting to it; raises `SettingsError`."""
    if not url.startswith("s3://"):
        return LocalStorage.at(url)
    address = S3Address.at(url)
    storage: Storage = _s3().S3Storage(address, patience)
    return storage


_known = cache(place)


def _s3() -> Any:
    """Import the module that needs the client."""
    try:
        from workshed.contrib.storage import s3  # noqa: PLC0415 -- an extra
    except ImportError as err:
        raise SettingsError(INSTALL) from err
    return s3


os.register_at_fork(after_in_child=_known.cache_clear)
