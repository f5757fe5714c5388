"""Irreversible commands ask for confirmation and have a dry run."""

import pytest
from psycopg import sql

from tests.service.commands import FINAL, meant

# Calls that have something to do, and the count that each of them shows.
CALLS = {
    "batches cancel BATCH": "with 1 job that have not ended",
    "batches retry BATCH": "Retry 1 job",
    "campaigns cancel CAMPAIGN": "which 1 people have yet to get",
    "campaigns resume CAMPAIGN --again rejected": "to 1 people once more",
    "campaigns start DRAFT": "to 2 people",
    "dead discard ID": "Discard 1 job",
    "dead discard --all": "Discard 1 job",
    "dead requeue QUEUE": "Requeue 1 of 1 in emails.dead",
    "dead retry --all": "Retry 1 job",
    "dev --reset --state FOLDER": "Wipe 1 file of 7 bytes",
    "erase --argument user_id=7": "Erase the data in 1 runs and 0 attempts, and discard 0 dead",
    "job ID cancel": "Cancel waits",
    "mail arrived MAIL": "Mark 'Hello' to grace@example.org as sent",
    "mail release MAIL": "Send 'Hello' to grace@example.org once more",
    "queues purge QUEUE": "Discard 1 job of emails",
    "scheduled cancel ID": "Cancel 1 job",
    "scheduled cancel --all": "Cancel 3 jobs",
    "storage import-existing": "Let 1 contents",
    "sync remove SOURCE": "Remove crm with 0 records",
    "unique release KEY": "Release 1 key",
}


@pytest.fixture
def everything(conn, rabbitmq, open_folder):
    """All rows, queue depths and files, for comparison."""
    query = """
        SELECT table_schema, table_name FROM information_schema.tables
         WHERE table_schema ~ '^(workshed|shop|workshed_[a-z]+)$' AND table_type = 'BASE TABLE'
    """
    tables = [sql.Identifier(*row) for row in conn.execute(query)]

    def look():
        depths = {name: one.get("messages", 0) for name, one in rabbitmq.queues().items()}
        files = sorted(path for path in open_folder.rglob("*") if path.name != "lock")
        rows = [conn.execute(sql.SQL("TABLE {}").format(table)).fetchall() for table in tables]
        return rows, depths, files

    return look


def test_each_that_is_final_is_called_here():
    assert {meant(line) for line in CALLS} == FINAL


@pytest.mark.sample(6)
@pytest.mark.parametrize("line", CALLS)
def test_tried_or_without_a_yes_it_says_how_much_and_changes_nothing(
    workshed, called, everything, line
):
    """A script with a mistake is stopped before it has done anything."""
    before = everything()

    tried = workshed(*called(line), "--dry-run")
    asked = workshed(*called(line))

    assert tried.code == 0, tried.err
    assert tried.out
    assert (asked.code, asked.out) == (2, "")
    assert CALLS[line] in asked.err
    assert "use --yes, or check first with --dry-run" in asked.err
    assert everything() == before
