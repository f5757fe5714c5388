"""Commands print the service's problems as shown in docs/runbooks.md."""

import pytest

from tests import pages
from tests.service.transcripts import typed
from tests.transcripts import follow

pytestmark = pytest.mark.one_in(3)  # each test starts its own programs

PAGE = "docs/runbooks.md"
STALE = pages.block(PAGE, "$ python -m shop sync", under="WorkshedSyncStale")
MAIL_SERVER = pages.block(PAGE, "$ workshed mail\nmail.ex", under="WorkshedMailServerFailing")
MAILS_HELD = pages.block(PAGE, "$ workshed mail\nmail  ", under="WorkshedMailsHeld")


def test_a_source_is_stale(database, env, workshed):
    env(SYNC_ORIGINS="https://crm.example.org")
    workshed("sync", "add", "crm", "https://crm.example.org/v1")

    follow(STALE, typed)


def test_a_mail_server_takes_no_mails(database, conn):
    said = (
        "the mail server mail.example.org:25 cannot be used (WORKSHED_SMTP_URL): it "
        "answered 421 4.7.0 Too many connections"
    )
    query = """
        INSERT INTO workshed_mail.mail_servers
               (name, failures, failing_since, last_error, circuit_opened_at,
                circuit_open_until)
        VALUES ('mail.example.org:25', 9, workshed.now() - interval '20 min', %s, workshed.now(),
                workshed.now() + interval '270 s')
    """
    conn.execute(query, (said,))

    follow(MAIL_SERVER)


def test_a_mail_is_held(database, conn):
    query = """
        INSERT INTO workshed_mail.emails
               (kind, recipient, recipient_name, subject, text_body, message_id, state,
                possible_duplicates,
                held_at, last_error, created_at)
        VALUES ('welcome', 'ada@example.org', 'Ada', 'Welcome', 'Welcome', '<1@example.org>',
                'unknown', 1, workshed.now(), 'it hung up', workshed.now() - interval '20 min')
    """
    conn.execute(query)

    follow(MAILS_HELD)
