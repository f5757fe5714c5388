"""Pages of the service on the console, as a browser has them without one."""

from tests.library.integration.desk.conftest import (
    _ask_again,
    browsers,
    conn,
    cookies,
    operator,
    people,
    reader,
)

__all__ = ["_ask_again", "browsers", "conn", "cookies", "operator", "people", "reader"]
