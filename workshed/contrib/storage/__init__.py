"""Contents named by their SHA-256, complete or absent, in a folder or in S3."""

from workshed.contrib.storage.errors import (
    ContentDamagedError,
    ContentMissingError,
    ContentNameError,
    StorageError,
)
from workshed.contrib.storage.factory import create_storage, storage
from workshed.contrib.storage.protocol import Storage

__all__ = [
    "ContentDamagedError",
    "ContentMissingError",
    "ContentNameError",
    "Storage",
    "StorageError",
    "create_storage",
    "storage",
]
