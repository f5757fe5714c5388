"""Each change by a command has exactly one audit entry, and nothing else has one."""

import getpass
import os
import socket

import pytest

from tests.promises import promised
from tests.service.commands import NOTED, READING, meant
from workshed.contrib.storage import blobs, storage
from workshed.jobs.control import audit
from workshed.jobs.dead import dead_jobs
from workshed.transport.amqp import topology

CAMPAIGN = "campaigns add News --subject Hello --text FILE"
FIRST = {
    "campaigns resume CAMPAIGN": "campaigns pause CAMPAIGN",
    "queues resume QUEUE": "queues pause QUEUE",
    "periodic resume NAME": "periodic pause NAME",
    "workers resume WORKER": "workers quiet WORKER",
}
"""Commands to run first, so that there is something to do."""
CALLS = {
    "batches cancel BATCH --yes": 1,
    "batches retry BATCH --yes": 1,
    "campaigns cancel CAMPAIGN --yes": 1,
    "campaigns resume CAMPAIGN": 1,
    "campaigns start DRAFT --yes": 1,
    "dead discard ID --yes": 1,
    "dead requeue QUEUE --yes": 1,
    "dead retry --all --yes": 1,
    "erase --argument user_id=7 --yes": 1,
    "job ID cancel --yes": 1,
    "mail arrived MAIL --yes": 1,
    "mail release MAIL --yes": 1,
    "queues purge QUEUE --yes": 1,
    "scheduled cancel --all --yes": 3,
    "scheduled cancel ID --yes": 1,
    "storage import-existing --yes": 1,
    "sync remove SOURCE --yes": 1,
    "unique release KEY --yes": 1,
    "broker drain": 2,
    CAMPAIGN: 1,
    "campaigns pause CAMPAIGN": 1,
    "console logout USER": 1,
    "campaigns send-test DRAFT ada@example.org": 1,
    "enqueue ACTOR": 1,
    "enqueue ACTOR --in 1h": 1,
    "import CSV --owner ADDRESS --no-wait": 1,
    "mail try SERVER": 1,
    "queues pause QUEUE bulk": 2,
    "queues resume QUEUE": 1,
    "periodic pause NAME": 1,
    "periodic resume NAME": 1,
    "periodic run NAME": 1,
    "scheduled move ID --in 2h": 1,
    "scheduled rules delete RULE": 1,
    "scheduled run ID": 1,
    "sync add SOURCE URL": 1,
    "sync release SOURCE": 1,
    "workers quiet WORKER": 1,
    "workers resume WORKER": 1,
}
"""The call of each command, and how many things it changes."""
TWICE = [
    "console logout USER",
    "mail try SERVER",
    "queues pause QUEUE",
    "periodic pause NAME",
    "sync add SOURCE URL",
    "sync release SOURCE",
    "workers quiet WORKER",
]
"""Commands that have nothing to do the second time."""
READ = [words for words, _, _ in promised() if meant(words) in READING - {"migrate"}]


@pytest.fixture
def called(called, conn):
    """`called`, in addition with a held source."""
    conn.execute("""
        UPDATE shop.sync_sources
           SET circuit_opened_at = workshed.now(),
               circuit_open_until = workshed.now() + interval '1 hour'
    """)
    return called


@pytest.fixture
def breaking(conn):
    """`breaking("INSERT", "workshed.dead")`: the second such row ends the connection."""

    def breaking(event, table):
        conn.execute("""
            CREATE FUNCTION lost() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('seen') > 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
                RETURN COALESCE(NEW, OLD);
            END $$
        """)
        conn.execute("CREATE SEQUENCE seen")
        trigger = f"CREATE TRIGGER lost BEFORE {event} ON {table} FOR EACH ROW EXECUTE "
        conn.execute(trigger + "FUNCTION lost()")

    return breaking


def test_each_that_changes_something_is_called_here():
    """`adopt` needs the queues of another program: its own tests look at its entry."""
    assert {meant(line) for line in CALLS} == NOTED - {"adopt"}


@pytest.mark.sample(10)
@pytest.mark.parametrize("line", CALLS)
def test_each_is_noted_once_with_how_many_it_has_changed(workshed, called, conn, line):
    if line in FIRST:
        workshed(*called(FIRST[line]))
    before = audit.list_entries(conn)

    done = workshed(*called(line))

    assert done.code == 0, done.err
    [entry, *rest] = audit.list_entries(conn)
    assert rest == before
    assert (entry.action, entry.count) == (meant(line).replace(" ", "."), CALLS[line])
    assert entry.performed_by == f"{getpass.getuser()}@{socket.gethostname()} (command)"
    assert entry.details
    assert entry.summary.endswith(".")


@pytest.mark.sample(5)
@pytest.mark.parametrize("line", [line for line in CALLS if "--yes" in line])
def test_dry_runs_are_not_noted(workshed, called, conn, line):
    tried = workshed(*called(line.replace("--yes", "--dry-run")))

    assert tried.code == 0, tried.err
    assert audit.list_entries(conn) == []


@pytest.mark.sample(6)
@pytest.mark.parametrize("line", READ)
def test_reading_commands_are_not_noted(workshed, called, conn, line):
    workshed(*called(line))

    assert audit.list_entries(conn) == []


@pytest.mark.parametrize("line", TWICE)
def test_commands_without_a_change_are_not_noted_again(workshed, called, conn, line):
    workshed(*called(line))

    again = workshed(*called(line))

    assert again.code == 0, again.err
    assert len(audit.list_entries(conn)) == 1


def test_named_jobs_are_noted_with_the_result_of_each(workshed, something, conn, bury):
    bury("other")

    done = workshed(*something("dead retry ID stranger other"))

    assert done.code == 5
    [entry] = audit.list_entries(conn)
    assert (entry.details, entry.count) == ({"ids": ["died", "other"]}, 2)
    assert entry.summary == "died: retried; stranger: unknown; other: retried."


def test_a_bulk_command_is_noted_with_its_filter_and_count(workshed, broker, conn, bury):
    for number in range(5):
        bury(f"{number}", queue="bulk")

    done = workshed("dead", "discard", "--all", "--queue", "bulk", "--since", "1h", "--yes")

    assert done.code == 0, done.err
    [entry] = audit.list_entries(conn)
    assert entry.details == {"all": True, "queue": "bulk", "since": 3600.0}
    assert (entry.count, entry.summary) == (5, "Jobs: 5 discarded.")


@pytest.mark.usefixtures("database")
def test_more_ids_than_an_entry_holds_are_counted(workshed, conn):
    ids = [f"{number:04}" for number in range(1_002)]

    done = workshed("scheduled", "cancel", *ids, "--sent", "--yes")

    assert done.code == 0, done.err
    [entry] = audit.list_entries(conn)
    assert (entry.count, entry.details) == (1_002, {"ids": ids[:1_000], "more": 2})


def test_a_rule_that_is_left_has_an_entry_of_its_own(workshed, something, conn):
    done = workshed(*something("scheduled cancel --all --sent --queue default --yes"))

    assert done.code == 0, done.err
    jobs, rule = audit.list_entries(conn)
    assert (jobs.action, jobs.count) == ("scheduled.cancel", 1)
    assert (rule.action, rule.count) == ("scheduled.rules.make", 1)
    assert rule.details == {"rule": 2, "all": True, "queue": "default"}


def test_an_interrupted_command_is_noted_with_its_progress(workshed, broker, conn, bury, breaking):
    for message_id in "abc":
        bury(message_id)
    breaking("DELETE", "workshed.dead")

    done = workshed("dead", "discard", "a", "b", "c", "--yes")

    assert (done.code, done.out) == (4, "a  discarded\n")
    [entry] = audit.list_entries(conn)
    assert (entry.details, entry.count) == ({"ids": ["a"]}, 1)
    assert entry.summary == "a: discarded. Interrupted; 3 were requested."


def test_messages_put_back_until_the_queue_is_full_are_noted(
    workshed, broker, conn, rabbitmq, eventually
):
    broker.ensure_queues({"emails"})
    rules = {"max-length": 1, "overflow": "reject-publish"}
    policy = {"pattern": "^emails$", "definition": rules, "apply-to": "queues"}
    rabbitmq.ask("PUT", f"policies/{rabbitmq.vhost}/full", policy)
    with topology.open_connection(broker.urls) as connection:
        for body in (b"x", b"y", b"z"):
            connection.channel().basic_publish("", "emails.dead", body)
    eventually(lambda: rabbitmq.depth("emails.dead") == 3)
    eventually(lambda: rabbitmq.queues()["emails"].get("policy") == "full")

    done = workshed("dead", "requeue", "emails", "--yes")

    assert (done.code, done.out) == (1, "")
    [entry] = audit.list_entries(conn)
    assert (entry.action, entry.count) == ("dead.requeue", 1)
    assert entry.summary == "1 requeued into emails."


def test_contents_that_are_adopted_until_postgresql_is_lost_are_noted(
    workshed, database, conn, env, tmp_path, breaking, monkeypatch
):
    monkeypatch.setattr(blobs, "IMPORTED_AT_ONCE", 1)
    env(STORAGE_URL=f"file:{tmp_path}/contents")
    for text in (b"one", b"two", b"three"):
        with storage().draft() as draft:
            draft.write(text)
            blobs.keep(draft)
    conn.execute("DELETE FROM workshed_storage.blobs")
    breaking("INSERT", "workshed_storage.blobs")

    done = workshed("storage", "import-existing", "--yes")

    assert (done.code, done.out) == (4, "")
    [entry] = audit.list_entries(conn)
    assert (entry.action, entry.count) == ("storage.import-existing", 1)


def test_a_purge_that_is_broken_off_is_noted_with_how_far_it_came(
    workshed, broker, conn, rabbitmq, breaking, eventually
):
    broker.ensure_queues({"emails"})
    with topology.open_connection(broker.urls) as connection:
        for body in (b"x", b"y", b"z"):
            connection.channel().basic_publish("", "emails", body)
    eventually(lambda: rabbitmq.depth("emails") == 3)
    breaking("INSERT", "workshed.dead")

    done = workshed("queues", "purge", "emails", "--yes")

    assert done.code == 4, done.err
    [entry] = audit.list_entries(conn)
    assert (entry.action, entry.count) == ("queues.purge", 1)
    assert entry.summary == "0 jobs of emails discarded. 1 could not be read and are dead."


def test_erased_data_is_not_in_the_audit(workshed, something, conn, bury):
    bury("about Ada", error=ValueError("no ada@example.org"), reason="no ada@example.org")

    done = workshed("erase", "ada@example.org", "--tag", "ada", "--yes")

    assert done.code == 0, done.err
    assert dead_jobs.get_dead_job(conn, "about Ada") is None
    [entry] = audit.list_entries(conn)
    assert (entry.details, entry.count) == ({"by": ["text", "tag"], "actor": None}, 1)
    assert "ada" not in str(entry).lower().replace(getpass.getuser(), "")


def test_a_user_without_a_name_is_noted_by_number(workshed, broker, conn, monkeypatch):
    """For example in a container, whose users may have only a number."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)

    workshed("queues", "pause", "emails")

    [entry] = audit.list_entries(conn)
    assert entry.performed_by == f"{os.getuid()}@{socket.gethostname()} (command)"
