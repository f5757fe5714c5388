"""Contents named by their SHA-256, complete or absent, in a folder or in S3."""

from workshed.contrib.storage.contract import Storage
from workshed.contrib.storage.errors import (
    ContentDamagedError,
    ContentMissingError,
    ContentNameError,
    StorageError,
)
from workshed.contrib.storage.place import place, storage

__all__ = [
    "ContentDamagedError",
    "ContentMissingError",
    "ContentNameError",
    "Storage",
    "StorageError",
    "place",
    "storage",
]
