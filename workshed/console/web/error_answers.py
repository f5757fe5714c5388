"""Which status and which sentence answer an error."""

from http import HTTPStatus

import psycopg
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from workshed import db
from workshed.console.errors import NotFoundError
from workshed.console.web.view.page import BadQueryError
from workshed.errors import WorkshedError

MISSING_PRIVILEGE = (
    "PostgreSQL refuses this to the console: {}. Its role needs the rights of a reader to show "
    "pages, and those of an operator to change anything; `workshed roles` grants them."
)
TOO_SLOW = "PostgreSQL took too long. Narrow the filter, for example to a shorter time."
TOO_LARGE = "A value is too large for PostgreSQL: {}."
UNUSABLE = "PostgreSQL cannot use a value: {}."
REPORTED = "PostgreSQL reports: {}. Try again."
NO_ANSWER = "PostgreSQL does not answer. Try again in a minute."
NO_CONNECTION = (
    "The console got no connection to PostgreSQL: it does not answer, or too many pages are being "
    "loaded. Try again in a minute."
)
UNREACHABLE = "PostgreSQL cannot be reached right now. Try again."
BUG = "The console failed. Its log has the reason."
LONGEST_TEXT = 2_000
LIMIT_EXCEEDED = "54"
"""The class of PostgreSQL's errors for statements and values that are too large."""


def explain_error(err: Exception) -> tuple[int, str]:
    """Return the status and text for an error; raises errors that are bugs of the console again."""
    match err:
        case HTTPException():
            return err.status_code, err.detail
        case psycopg.Error():
            return _explain_database_error(err)
        case BadQueryError():
            return HTTPStatus.BAD_REQUEST, _shorten(str(err))
        case NotFoundError():
            return HTTPStatus.NOT_FOUND, _shorten(str(err))
        case WorkshedError():
            return HTTPStatus.CONFLICT, _shorten(str(err))
    raise err


def _shorten(text: str) -> str:
    """Cut a text that quotes a long value of the request."""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def _explain_database_error(err: psycopg.Error) -> tuple[int, str]:
    """Explain an error of PostgreSQL; one without a code says that it was not reached."""
    status, line = HTTPStatus.SERVICE_UNAVAILABLE, str(err).partition("\n")[0].rstrip(".")
    match err:
        case psycopg.errors.QueryCanceled():
            text = TOO_SLOW
        case psycopg.errors.InsufficientPrivilege():
            status, text = HTTPStatus.FORBIDDEN, MISSING_PRIVILEGE.format(line)
        case psycopg.DataError():
            status, text = HTTPStatus.BAD_REQUEST, UNUSABLE.format(line)
        case psycopg.Error(sqlstate=str(code)) if code.startswith(LIMIT_EXCEEDED):
            status, text = HTTPStatus.BAD_REQUEST, TOO_LARGE.format(line)
        case db.NoAnswerError():
            text = NO_ANSWER
        case PoolTimeout():
            text = NO_CONNECTION
        case _ if isinstance(err, db.TRANSIENT_ERRORS):
            text = REPORTED.format(line) if err.sqlstate else UNREACHABLE
        case _:
            raise err
    return status, text
