"""Files of people, and the results of importing them."""

import csv
import io

import pytest

import actors
from shop import imports, people
from tests.service.integration.images.conftest import killed, notifications
from workshed import db
from workshed.contrib.storage import blobs, storage

__all__ = ["killed", "notifications"]


@pytest.fixture
def owner(jobs):
    with db.transaction() as conn:
        return people.create(conn, name="Grace", email="grace@example.org")


@pytest.fixture
def hand_in(owner):
    """`hand_in("name,email\\n…")`: store an import, enqueue its job, and return its id."""

    def start(content, filename="people.csv", **options):
        with storage().draft() as draft:
            draft.write(content.encode() if isinstance(content, str) else content)
            blob = blobs.keep(draft)
        with db.transaction() as conn:
            return actors.start_import(conn, owner.id, filename, blob, **options)

    return start


@pytest.fixture
def rows_of(jobs):
    """`rows_of(import_id)`: (line, outcome, reason) of each row."""

    def read(import_id):
        query = """
            SELECT line, outcome, reason FROM shop.import_rows
             WHERE import_id = %s ORDER BY number
        """
        with db.transaction() as conn:
            return conn.execute(query, (import_id,)).fetchall()

    return read


@pytest.fixture
def found(jobs):
    """`found(import_id)`: the import."""

    def read(import_id):
        with db.transaction() as conn:
            return imports.get_import(conn, import_id)

    return read


@pytest.fixture
def users(jobs):
    """`users(import_id)`: (name, address) of each imported user."""

    def read(import_id):
        query = "SELECT name, email FROM shop.users WHERE imported_from = %s ORDER BY id"
        with db.transaction() as conn:
            return conn.execute(query, (import_id,)).fetchall()

    return read


@pytest.fixture
def failures(jobs):
    """`failures(import_id)`: the list of failed rows, as a list of lists."""

    def read(import_id):
        out = io.StringIO(newline="")
        with db.transaction() as conn:
            imports.write_failures(conn, import_id, out)
        return list(csv.reader(io.StringIO(out.getvalue(), newline="")))

    return read
