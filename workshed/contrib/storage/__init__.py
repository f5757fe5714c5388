"""Contents, named by their SHA-256: whole or not there, in a folder or in S3."""

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
