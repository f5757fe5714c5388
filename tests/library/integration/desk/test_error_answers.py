"""What users read when something fails: the true cause."""

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from workshed import db
from workshed.console.errors import NotFoundError
from workshed.console.web import endpoints
from workshed.console.web.error_answers import explain_error
from workshed.console.web.view.page import BadQueryError
from workshed.errors import WorkshedError


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (psycopg.errors.QueryCanceled("canceling statement"), 503, "PostgreSQL took too long"),
        (
            psycopg.errors.InsufficientPrivilege("permission denied for table audit"),
            403,
            "PostgreSQL refuses this to the console: permission denied for table audit.",
        ),
        (
            psycopg.errors.ProgramLimitExceeded("index row size 9000 exceeds maximum\nHINT: x"),
            400,
            "A value is too large for PostgreSQL: index row size 9000 exceeds maximum.",
        ),
        (psycopg.errors.StatementTooComplex("stack depth"), 400, "A value is too large for"),
        (
            psycopg.errors.DatetimeFieldOverflow("timestamp out of range"),
            400,
            "PostgreSQL cannot use a value: timestamp out of range.",
        ),
        (
            psycopg.errors.DiskFull("could not extend file"),
            503,
            "PostgreSQL reports: could not extend file. Try again.",
        ),
        (psycopg.errors.AdminShutdown("terminating"), 503, "PostgreSQL reports: terminating."),
        (
            psycopg.errors.ReadOnlySqlTransaction("cannot execute"),
            503,
            "PostgreSQL reports: cannot",
        ),
        (db.NoAnswerError("no answer within 8 s"), 503, "PostgreSQL does not answer."),
        (PoolTimeout("couldn't get a connection"), 503, "The console got no connection to Postg"),
        (psycopg.OperationalError("connection refused"), 503, "PostgreSQL cannot be reached"),
        (BadQueryError("since: no"), 400, "since: no"),
        (NotFoundError("no job"), 404, "no job"),
        (WorkshedError("too late"), 409, "too late"),
        (HTTPException(413, "The form is too large."), 413, "The form is too large."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_is_explained_by_its_true_cause(error, status, said):
    found, text = explain_error(error)

    assert found == status
    assert text.startswith(said)


@pytest.mark.parametrize("error", [psycopg.errors.UndefinedTable("x"), KeyError("x")])
def test_a_bug_has_no_explanation(error):
    with pytest.raises(type(error)):
        explain_error(error)


def test_an_id_that_no_index_can_hold_is_too_large(operator):
    answer = operator.post("/job/cancel", {"id": "x" * 900_000, "sure": "yes"})

    assert answer.status_code == 400
    assert "A value is too large for PostgreSQL: index row" in answer.text


def test_a_statement_that_takes_too_long_is_no_outage(operator, connect, monkeypatch):
    monkeypatch.setattr(
        endpoints,
        "SET_PAGE_LIMITS",
        "SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = '200ms'",
    )
    holder = connect()
    holder.execute("LOCK TABLE workshed.audit IN ACCESS EXCLUSIVE MODE")

    answer = operator.get("/audit")
    holder.rollback()

    assert answer.status_code == 503
    assert "PostgreSQL took too long" in answer.text


def test_a_bug_is_answered_with_a_page_and_logged(browsers, monkeypatch):
    """The test client raises what the server would log."""
    monkeypatch.setattr(endpoints, "load_page", lambda *_, **__: {}["missing"])
    someone = browsers("olga")

    with pytest.raises(KeyError):
        someone.get("/")
    someone.client._transport.raise_server_exceptions = False
    answer = someone.get("/")

    assert answer.status_code == 500
    assert "The console failed. Its log has the reason." in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_a_method_that_an_address_does_not_have_is_named(operator):
    answer = operator.client.put("/jobs")

    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
