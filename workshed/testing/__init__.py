"""The test kit: the fixture `jobs` of a pytest plugin, for tests of jobs and of their senders."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workshed.testing.jobs import Jobs

__all__ = ["Jobs"]


def __getattr__(name: str) -> object:
    if name == "Jobs":
        return importlib.import_module("workshed.testing.jobs").Jobs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
