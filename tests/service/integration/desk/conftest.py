"""Fixtures for the service's pages of the console, without a browser."""

from tests.library.integration.desk.conftest import (
    _ask_again,
    browsers,
    conn,
    operator,
    people,
    reader,
)

__all__ = ["_ask_again", "browsers", "conn", "operator", "people", "reader"]
