"""The list of failed rows over HTTP, only for the owner of the import."""

import http.client
from urllib.parse import urlsplit

import pytest

from shop import imports
from tests.service.integration.notifications.conftest import (
    _environment,
    ada,
    people,
    serve,
    served,
)
from workshed import db
from workshed.contrib import notifications
from workshed.contrib.storage import blobs, storage

__all__ = ["_environment", "ada", "people", "serve", "served"]

CONTENT = "name,email\nAda,ada1@example.org\n=1+1,\nBob,bob at example.org\n"


@pytest.fixture
def ended(ada):
    """The number of a finished import of Ada's."""
    with storage().draft() as draft:
        draft.write(CONTENT.encode())
        blob = blobs.keep(draft)
    with db.transaction() as conn:
        number = imports.create(conn, ada, "people.csv", blob.sha256)
    imports.read_file(number)
    with db.transaction() as conn:
        imports.count_results(
            conn, number, imports.create_users(conn, imports.RowRange(number, 1, 3))
        )
    return number


@pytest.fixture
def get(served):
    """`get(path, user_id)`: the answer with its body."""

    def ask(path, user_id=None):
        connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=60)
        token = {"Authorization": f"Bearer {notifications.token(user_id)}"} if user_id else {}
        connection.request("GET", path, headers=token)
        answer = connection.getresponse()
        answer.content = answer.read()
        connection.close()
        return answer

    return ask


def test_the_owner_gets_it_as_a_file_for_spreadsheets(get, ended, ada):
    answer = get(f"/imports/{ended}/failures.csv", ada)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert f"import-{ended}-failures.csv" in answer.headers["Content-Disposition"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.content.decode("utf-8-sig").split("\r\n") == [
        "line,reason,name,email",
        "3,the address is missing,'=1+1,",
        "4,column 'email': An email address must have an @-sign.,Bob,bob at example.org",
        "",
    ]


def test_other_users_do_not_get_it(get, ended, people):
    (other,) = people(1)

    assert get(f"/imports/{ended}/failures.csv", other).status == 404
    assert get(f"/imports/{ended + 1}/failures.csv", other).status == 404
    assert get(f"/imports/{'9' * 5_000}/failures.csv", other).status == 404
    assert get(f"/imports/{ended}/failures.csv").status == 401
