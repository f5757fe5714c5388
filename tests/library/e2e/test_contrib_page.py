"""docs/contrib.md: its application runs as printed, without anything from this repository."""

import contextlib
import json
import os
import subprocess
import sys
from email import message_from_bytes, policy

import psycopg
import pytest

from tests import pages
from tests.transcripts import check, steps
from workshed.app import APP_VARIABLE

DOCS = "docs/contrib.md"
FILES = pages.files(DOCS)
[(MIGRATE, APPLIED)] = steps(pages.block(DOCS, "$ workshed migrate"))
SEND = """
from club.jobs import send_statement
for _ in range(2):
    send_statement.send("m-ada", "2026-10")
"""
LEAVE = """
from club.leaving import leave
leave("m-ada")
"""
TIDY = """
from club.jobs import tidy
tidy()
"""

BY_SQLALCHEMY = """
import os

import sqlalchemy
from sqlalchemy.orm import Session

from club.with_sqlalchemy import Member, join

url = sqlalchemy.make_url(os.environ["WORKSHED_DATABASE_URL"])
engine = sqlalchemy.create_engine(url.set(drivername="postgresql+psycopg"))
with Session(engine) as session:
    join(session, Member(id="m-eve", name="Eve", email="eve@example.org"))
    session.rollback()
    join(session, Member(id="m-bob", name="Bob", email="bob@example.org"))
    session.commit()
"""
BY_DJANGO = """
import os

import django
import psycopg
from django.conf import settings

params = psycopg.conninfo.conninfo_to_dict(os.environ["WORKSHED_DATABASE_URL"])
here = {"NAME": params.pop("dbname"), "OPTIONS": params}
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **here}})
django.setup()

from django.db import transaction

from club.with_django import join

with transaction.atomic():
    join("m-eve", "Eve", "eve@example.org")
    transaction.set_rollback(True)
join("m-bob", "Bob", "bob@example.org")
"""


@pytest.fixture
def environment(environment, tmp_path):
    """Programs find modules in the folder of the application, and none of this repository."""
    mails, files = tmp_path / "mail", tmp_path / "files"
    ours = {name: value for name, value in environment.items() if not name.startswith("SHOP_")}
    return {
        **ours,
        "PYTHONPATH": str(tmp_path),
        APP_VARIABLE: "club.app:app",
        "WORKSHED_SMTP_URL": f"maildir:{mails}",
        "WORKSHED_STORAGE_URL": f"file:{files}",
    }


@pytest.fixture
def club(broker, environment, empty_database_url, tmp_path):
    """`club("-m", "workshed", …)`: run a program, return its output; the tables exist."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "club" / "__init__.py").touch()
    environment["WORKSHED_DATABASE_URL"] = empty_database_url

    def run(*words):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    check(APPLIED, run("-m", *MIGRATE.split()))
    return run


@pytest.fixture
def connect(club, empty_database_url):
    """`connect()`: a connection to the database of the application."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(psycopg.connect(empty_database_url, autocommit=True))


@pytest.fixture
def rows(connect):
    """`rows("SELECT …")`: the rows of a query, with one member in the club."""
    conn = connect()
    conn.execute("INSERT INTO club.members VALUES ('m-ada', 'Ada', 'ada@example.org')")
    return lambda query: conn.execute(query).fetchall()


@pytest.fixture
def worker(club, rows, environment, tmp_path):
    """A worker and a relay of the application, started by `workshed worker`."""
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workshed", "worker", "-p", "1", "-t", "2"],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    yield process
    process.terminate()
    assert process.wait(90) == 0, (tmp_path / "worker.log").read_text()


def mails(tmp_path):
    files = (tmp_path / "mail/new").glob("*")
    return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]


def test_a_member_is_mailed_a_statement_once_and_notified_once(
    club, worker, rows, tmp_path, eventually
):
    club("-c", SEND)

    eventually(lambda: rows("SELECT FROM workshed.runs WHERE actor = 'send_statement'")[1:])
    eventually(lambda: rows("SELECT FROM workshed.runs WHERE actor = 'deliver_email'")[1:])
    eventually(lambda: rows("SELECT FROM workshed_mail.emails WHERE state = 'sent'"))
    [mail] = mails(tmp_path)
    assert (mail["To"], mail["Subject"]) == ("Ada <ada@example.org>", "Your statement of 2026-10")
    [file] = mail.iter_attachments()
    assert file.get_filename() == "2026-10.txt"
    assert file.get_content() == "2026-10: nothing is due.\n"
    notification_rows = "SELECT user_id, number, event FROM workshed_notifications.notifications"
    assert rows(notification_rows) == [("m-ada", 1, "statement_ready")]


@pytest.mark.parametrize("join", [BY_SQLALCHEMY, BY_DJANGO], ids=["sqlalchemy", "django"])
def test_a_mail_is_stored_in_the_transaction_of_an_orm(
    join, club, worker, rows, tmp_path, eventually
):
    club("-c", join)

    eventually(lambda: rows("SELECT FROM workshed_mail.emails WHERE state = 'sent'"))
    assert rows("SELECT user_id FROM workshed_mail.emails") == [("m-bob",)]
    assert [mail["To"] for mail in mails(tmp_path)] == ["Bob <bob@example.org>"]
    notifications = rows("SELECT user_id, event FROM workshed_notifications.notifications")
    assert notifications == [("m-bob", "joined")]
    assert rows("SELECT id FROM club.members ORDER BY id") == [("m-ada",), ("m-bob",)]


def test_a_file_stays_as_long_as_a_row_refers_to_it(club, worker, rows, tmp_path, eventually):
    club("-c", SEND)
    eventually(lambda: rows("SELECT FROM workshed_mail.emails WHERE state = 'sent'"))
    kept = "SELECT size_bytes FROM workshed_storage.blobs"

    rows("UPDATE workshed_storage.blobs SET stored_at = '2020-01-01' RETURNING 1")
    club("-c", TIDY)
    assert rows(kept) == [(25,)]

    rows("DELETE FROM workshed_mail.emails RETURNING 1")
    rows("UPDATE workshed_storage.blobs SET stored_at = '2020-01-01' RETURNING 1")
    club("-c", TIDY)
    assert rows(kept) == [(25,)]

    rows("DELETE FROM club.statements RETURNING 1")
    club("-c", TIDY)
    assert rows(kept) == []


def test_nothing_is_left_of_a_member_who_leaves(club, worker, rows, eventually):
    club("-c", SEND)
    eventually(lambda: rows("SELECT FROM workshed_mail.emails WHERE state = 'sent'"))

    club("-c", LEAVE)

    notification_rows = ("workshed_notifications.notifications", "workshed_notifications.inboxes")
    for table in ("workshed_mail.emails", *notification_rows):
        assert rows(f"SELECT user_id FROM {table}") == []  # noqa: S608 -- ours


def test_its_commands_and_checks_know_it(club, rows):
    assert json.loads(club("-m", "workshed", "mail", "--json")) == {"servers": [], "held": []}
    assert "0 contents without a row" in club(
        "-m", "workshed", "storage", "import-existing", "--dry-run"
    )
    said = club("-m", "workshed", "roles")
    assert "GRANT SELECT (held_at) ON TABLE workshed_mail.emails TO workshed_relay;" in said


def test_a_held_mail_is_sent_once_more(club, worker, rows, tmp_path, eventually):
    club("-c", SEND)
    eventually(lambda: rows("SELECT FROM workshed_mail.emails WHERE state = 'sent'"))
    [(email_id,)] = rows("""
        UPDATE workshed_mail.emails
           SET state = 'unknown', sent_at = NULL, held_at = workshed.now(), possible_duplicates = 1
        RETURNING id
    """)

    said = club("-m", "workshed", "mail", "release", str(email_id), "--yes")

    assert said == f"{email_id}  is sent once more\n"
    eventually(lambda: len(mails(tmp_path)) == 2)
    assert len({mail["Message-ID"] for mail in mails(tmp_path)}) == 1
