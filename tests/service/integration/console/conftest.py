"""The `workshed` command and the shop's, run in this process on the servers of the test."""

from tests.library.integration.console.conftest import (
    bury,
    called,
    conn,
    dies,
    env,
    made,
    make_batch,
    management,
    ran,
    something,
    store,
    tarpit,
    workshed,
)

__all__ = [
    "bury",
    "called",
    "conn",
    "dies",
    "env",
    "made",
    "make_batch",
    "management",
    "ran",
    "something",
    "store",
    "tarpit",
    "workshed",
]
