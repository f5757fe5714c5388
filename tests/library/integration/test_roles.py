"""`workshed roles`: each role may do to each table what it needs, and nothing else."""

import contextlib
import json
import secrets
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import dramatiq
import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from tests import pages
from tests.forbidden import attempts, columns_of
from tests.library.e2e.parts import MAKE, PAGE, drop, run
from workshed import db, schedule
from workshed.jobs.control import queues
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.history import runs
from workshed.jobs.history.copy_format import encode_row
from workshed.jobs.maintenance import retention
from workshed.middleware import Unique
from workshed.migrate import list_streams
from workshed.roles import ROLES, grant_script, list_grants
from workshed.settings import settings
from workshed.transport.relay.pruner import EVERY_S, Pruner
from workshed.transport.relay.run_counts import RunCountMover

TABLES, COLUMNS, FUNCTIONS, SEQUENCES = (
    {name: value for grants in list_grants() for name, value in getattr(grants, what).items()}
    for what in ("tables", "columns", "functions", "sequences")
)
BY_ADMINISTRATOR = pages.block(PAGE, "administrator")
SNAPSHOTS = pages.block(PAGE, "snapshots")

EVERY_TABLE = """
    SELECT n.nspname || '.' || c.relname
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname ~ '^(workshed|shop|workshed_[a-z]+)$' AND c.relkind IN ('r', 'p', 'v', 'm')
       AND NOT c.relispartition
"""
EVERY_SEQUENCE = """
    SELECT n.nspname || '.' || c.relname
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname ~ '^(workshed|shop|workshed_[a-z]+)$' AND c.relkind = 'S'
       AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'i')
"""
TAKEN_FROM_EVERYBODY = """
    SELECT n.nspname || '.' || p.proname
      FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
     WHERE n.nspname ~ '^(workshed|shop|workshed_[a-z]+)$'
       AND NOT has_function_privilege('public', p.oid, 'EXECUTE')
"""


@pytest.fixture
def database_url(owned_database_url):
    """A database whose schemas belong to an owner without superuser rights, who runs everything."""
    return owned_database_url


@pytest.fixture
def granted(conn):
    """The prefix of roles with the printed grants, for this database."""
    prefix = f"part_{secrets.token_hex(6)}"
    conn.autocommit = True
    conn.execute("\n".join(grant_script(prefix, list_grants())))
    yield prefix
    conn.rollback()
    for role in ROLES:
        drop(conn, f"{prefix}_{role}")


@pytest.fixture
def login(conn, granted, database_url):
    """`login("worker")`: a connection of a member of that role, and of no other."""
    with contextlib.ExitStack() as stack:

        def connect(role, **options):
            name = f"{granted}_{role}_{secrets.token_hex(3)}"
            conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw' IN ROLE {granted}_{role}")
            stack.callback(drop, conn, name)
            parts = urlsplit(database_url)
            netloc = f"{name}:pw@{parts.netloc.rpartition('@')[2]}"
            url = urlunsplit(parts._replace(netloc=netloc))
            return stack.enter_context(db.Connection.connect(url, autocommit=True, **options))

        yield connect


@pytest.mark.sample(14)
@pytest.mark.parametrize("table", TABLES)
def test_each_role_may_do_to_a_table_what_stands_there_and_is_refused_the_rest(conn, login, table):
    """Statements are tried instead of reading the catalog, so that rights of PUBLIC count."""
    tried = attempts(table, columns_of(conn, table))
    found = {}
    for role in ROLES:
        theirs = login(role)
        for right, statement in tried.items():
            try:
                with theirs.transaction(force_rollback=True):
                    theirs.execute(statement)
            except InsufficientPrivilege:
                continue
            found[role] = found.get(role, "") + right

    assert found == TABLES[table]


def test_every_table_is_decided(conn):
    """A new table is not granted to any role: list its users in `workshed/roles.py`."""
    assert {name for (name,) in conn.execute(EVERY_TABLE)} == TABLES.keys()


def test_every_function_without_public_rights_is_listed(conn):
    assert {name for (name,) in conn.execute(TAKEN_FROM_EVERYBODY)} == FUNCTIONS.keys()


def test_every_sequence_is_listed(conn):
    assert {name for (name,) in conn.execute(EVERY_SEQUENCE)} == SEQUENCES.keys()


CALLS = {
    "workshed.send": "SELECT workshed.send('greet')",
    "workshed.insert_with_key": (
        "SELECT workshed.insert_with_key('a', 0, 'low', 'greet', '{}', "
        "'transactional', now(), 'greet:1', NULL, "
        "false, NULL, '5 s')"
    ),
    "workshed.create_periodic_run": "SELECT workshed.create_periodic_run('none', now(), 'manual')",
    "workshed.audit_login": "SELECT workshed.audit_login('Ada', 'console.login', '{}', 1, 'x')",
    "workshed.count_login": "SELECT workshed.count_login('as Ada', 1, '5 min')",
    "workshed.count_runs": """
        CREATE TEMP TABLE theirs (id bigint);
        CREATE TRIGGER count_runs AFTER INSERT ON theirs
            FOR EACH STATEMENT EXECUTE FUNCTION workshed.count_runs()
    """,
    "workshed.count_unrecorded_runs": "SELECT workshed.count_unrecorded_runs('r1', '[]')",
    "workshed.drop_runs_partitions": "SELECT workshed.drop_runs_partitions('2000-01-01')",
    "shop.forget_user": """
        CREATE TEMP TABLE theirs (id bigint);
        CREATE TRIGGER forget AFTER DELETE ON theirs
            FOR EACH ROW EXECUTE FUNCTION shop.forget_user()
    """,
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_with_their_owners_rights_are_executable_by_the_listed_roles(login, function):
    found = set()
    for role in ROLES:
        theirs = login(role)
        try:
            with theirs.transaction(force_rollback=True):
                theirs.execute(CALLS[function])
        except InsufficientPrivilege:
            continue
        except (psycopg.errors.UndefinedObject, psycopg.errors.NoDataFound):
            pass  # it ran, but found nothing to do
        found.add(role)

    assert found == set(FUNCTIONS[function])


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_sequences_are_advanced_by_the_listed_roles(login, sequence, role):
    expected = pytest.raises(InsufficientPrivilege)
    if role in SEQUENCES[sequence]:
        expected = contextlib.nullcontext()

    with expected:
        login(role).execute("SELECT nextval(%s)", (sequence,))


@pytest.mark.parametrize("role", ROLES)
def test_no_role_can_create_or_drop_objects_in_the_schemas(login, role):
    theirs = login(role)
    for schema in list_streams():
        for made in (
            f"CREATE TABLE {schema}.mine (id int)",
            f"CREATE FUNCTION {schema}.mine() RETURNS int LANGUAGE sql RETURN 1",
            f"DROP SCHEMA {schema} CASCADE",
        ):
            with pytest.raises(InsufficientPrivilege):
                theirs.execute(made)


@pytest.mark.parametrize(
    ("table", "role", "letter"),
    [(t, r, letter) for t, some in COLUMNS.items() for r, by in some.items() for letter in by],
)
def test_a_role_may_use_exactly_the_listed_columns(conn, login, table, role, letter):
    theirs, found = login(role), []
    for column in columns_of(conn, table):
        with contextlib.suppress(InsufficientPrivilege):
            theirs.execute(attempts(table, [column])[letter])
            found.append(column)

    assert sorted(found) == sorted(COLUMNS[table][role][letter].split(", "))


def test_partitions_of_the_history_are_made_and_dropped_without_owning_tables(conn, login):
    """A partition is made and dropped with the rights of the owner, who is no superuser."""
    worker = login("worker")
    conn.execute("SELECT workshed.drop_runs_partitions(workshed.now() + interval '10 days')")
    assert partitions(conn) == 0

    worker.execute("SELECT workshed.add_runs_partitions()")

    assert partitions(conn) == 3
    drop = "SELECT workshed.drop_runs_partitions(workshed.now() + interval '10 days')"
    with pytest.raises(InsufficientPrivilege):
        worker.execute(drop)
    dropped = login("relay").execute(drop)
    assert dropped.fetchone() == (3,)
    assert partitions(conn) == 0


def partitions(conn):
    query = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'workshed.runs'::regclass"
    return conn.execute(query).fetchone()[0]


def test_a_relay_may_delete_all_expired_records(conn, login):
    """There is an expired record of each kind."""
    conn.execute("""
        INSERT INTO workshed.dead (message_id, generation, attempt, queue, body, reason, died_at)
        VALUES ('a', 0, 1, 'low', '', 'no', workshed.now() - interval '1 year');
        INSERT INTO workshed.attempts (message_id, generation, attempt, queue, actor, outcome,
                                       reason,
                                   ended_at)
        VALUES ('b', 0, 1, 'low', 'greet', 'retry', 'no', workshed.now() - interval '1 year');
        INSERT INTO workshed.batches (id, description, completed_at)
        VALUES (gen_random_uuid(), 'old', workshed.now() - interval '1 year');
        INSERT INTO workshed.batch_callbacks (batch_id, event, message_id, actor, sent_at)
        SELECT id, 'success', 'c', 'greet', workshed.now() FROM workshed.batches;
        INSERT INTO workshed.batch_jobs SELECT 'd', id, 'succeeded', workshed.now()
          FROM workshed.batches;
        INSERT INTO workshed.periodic_jobs (name, queue, kind, spec, zone, misfire_policy,
                                         misfire_window, description,
                                    options, next_at, seen_at)
        VALUES ('nightly', 'low', 'cron', '0 3 * * *', 'UTC', 'once', '1 day', '', '{}',
                workshed.now(), workshed.now() - interval '1 year');
        INSERT INTO workshed.periodic_runs (job, scheduled_for, message_id, created_by)
        VALUES ('nightly', workshed.now() - interval '1 year', 'e', 'clock');
        INSERT INTO workshed.run_minutes
        VALUES (workshed.now() - interval '1 year', 'greet', 'low', '', 'dead', 1, '{1}', '{1}');
        INSERT INTO workshed.run_totals
        VALUES (workshed.now() - interval '1 year', 'dead', 1, '{1}', '{1}');
        INSERT INTO workshed.runs_dropped VALUES (workshed.now() - interval '1 year', 'old', 1);
        CREATE TABLE workshed.runs_2026_01_31 PARTITION OF workshed.runs
            FOR VALUES FROM ('2026-01-31 00:00Z') TO ('2026-02-01 00:00Z');
    """)
    relay, prune = login("relay"), Pruner(retention.retention_rules(settings()))

    while prune(relay) != EVERY_S:
        pass

    tables = ("dead", "attempts", "batches", "batch_callbacks", "batch_jobs", "periodic_jobs")
    for table in (*tables, "periodic_runs", "run_minutes", "run_totals", "runs_dropped"):
        count = sql.SQL("SELECT count(*) FROM workshed.{}").format(sql.Identifier(table))
        assert conn.execute(count).fetchone() == (0,), table
    assert conn.execute("SELECT to_regclass('workshed.runs_2026_01_31')").fetchone() == (None,)


def test_records_that_a_relay_may_not_delete_keep_no_others(conn, login, granted, caplog):
    """`workshed roles` has not been run since an upgrade."""
    conn.execute(f"REVOKE DELETE ON workshed.run_minutes FROM {granted}_relay")
    rules = {rule.name: rule for rule in retention.retention_rules(settings())}
    prune = Pruner([rules["run minutes"], rules["history"]])
    conn.execute("""
        CREATE TABLE workshed.runs_2026_01_31 PARTITION OF workshed.runs
            FOR VALUES FROM ('2026-01-31 00:00Z') TO ('2026-02-01 00:00Z');
    """)
    relay = login("relay")

    while prune(relay) != EVERY_S:
        pass

    assert (
        "expired run minutes cannot be deleted: permission "
        "denied for table run_minutes" in caplog.text
    )
    assert conn.execute("SELECT to_regclass('workshed.runs_2026_01_31')").fetchone() == (None,)


def test_a_worker_records_runs_and_a_relay_moves_their_counts(conn, login):
    """The counts are written with the rights of the owner, and a worker may not change them."""
    worker, relay = login("worker"), login("relay")

    for message_id in ("a", "b"):
        runs.write_runs(worker, [run_row(message_id)])
        RunCountMover()(relay)

    assert conn.execute("SELECT sum(count) FROM workshed.run_minutes").fetchone() == (2,)
    with pytest.raises(InsufficientPrivilege):
        worker.execute("DELETE FROM workshed.run_counts")


def run_row(message_id):
    return encode_row(
        message_id=message_id,
        generation=0,
        attempt=1,
        queue="low",
        actor="greet",
        outcome="succeeded",
        sent=0.0,
        published=None,
        started=None,
        ended=0.0,
        queue_wait_s=None,
        duration_s=1.0,
        worker="web-1:77",
        origin="send",
        release="",
    )


def test_an_owner_who_makes_no_roles_gives_them_their_rights(
    conn, superuser, database_url, programs, servers
):
    """An administrator creates them with the same command."""
    prefix, owner = f"part_{secrets.token_hex(6)}", conn.info.user
    superuser.execute(f"ALTER ROLE {owner} NOCREATEROLE")
    try:
        with pytest.raises(AssertionError, match="permission denied to create role"):
            run(MAKE, prefix, database_url, programs)
        run(BY_ADMINISTRATOR, prefix, servers.database_url, programs)
        run(MAKE, prefix, database_url, programs)
        may = "SELECT has_table_privilege(%s, 'workshed.runs', 'INSERT')"
        assert conn.execute(may, (f"{prefix}_worker",)).fetchone() == (True,)
    finally:
        superuser.execute(f"ALTER ROLE {owner} CREATEROLE")
        for role in ROLES:
            superuser.execute(f"DROP OWNED BY {prefix}_{role}; DROP ROLE {prefix}_{role}")


def test_a_role_gets_members_only_from_its_creator(conn, superuser):
    """Until PostgreSQL 15 `CREATEROLE` covered all roles except superusers."""
    role = f"part_{secrets.token_hex(6)}"
    superuser.execute(f"CREATE ROLE {role}")
    expected = contextlib.nullcontext()
    if conn.info.server_version >= 16_00_00:
        expected = pytest.raises(InsufficientPrivilege)
    try:
        with expected:
            conn.execute(f"CREATE ROLE {role}_one IN ROLE {role}")
    finally:
        superuser.execute(f"DROP ROLE IF EXISTS {role}_one; DROP ROLE {role}")


def test_run_again_it_revokes_rights_that_are_no_longer_listed(conn, login, granted):
    conn.execute(f"GRANT SELECT (body) ON workshed.schedule TO {granted}_monitor")
    conn.execute(f"GRANT ALL ON workshed.audit TO {granted}_reader")

    conn.execute("\n".join(grant_script(granted, list_grants())))

    for role, statement in (
        ("monitor", "SELECT body FROM workshed.schedule"),
        ("reader", "DELETE FROM workshed.audit"),
    ):
        with pytest.raises(InsufficientPrivilege):
            login(role).execute(statement)


# Senders that are limited to some actors


@pytest.fixture
def known(conn, granted):
    """Workers have declared two actors; members of the role `sender` may send one of them."""
    queues.declare_queues(conn, {"low": "quorum", "bulk": "quorum"})
    queues.declare_actors(conn, [KnownActor("greet", "low"), KnownActor("pay", "low")])
    conn.execute(
        "INSERT INTO workshed.sender_grants VALUES (%s, '{greet}')", (f"{granted}_sender",)
    )


@pytest.fixture
def sender(known, login):
    return login("sender")


def row(actor="greet", **changes):
    """Return a row of the schedule, whose message may differ from it."""
    message = dramatiq.Message("low", actor, (), {}, changes.pop("options", {}))
    fields = json.loads(message.encode()) | changes.pop("body", {})
    return {
        "message_id": message.message_id,
        "generation": 0,
        "queue": "low",
        "actor": actor,
        "body": json.dumps(fields),
        "reason": "transactional",
        "possible_duplicate": False,
        **changes,
    }


def insert(conn, values):
    columns = ", ".join(values)
    places = ", ".join(f"%({name})s" for name in values)
    query = f"INSERT INTO workshed.schedule ({columns}, due_at) VALUES ({places}, workshed.now())"  # noqa: S608
    conn.execute(query, values)


def stored(conn):
    return [
        actor for (actor,) in conn.execute("SELECT actor FROM workshed.schedule ORDER BY actor")
    ]


def test_a_sender_sends_its_allowed_actors(sender, conn):
    sender.execute("SELECT workshed.send('greet')")
    insert(sender, row())

    assert stored(conn) == ["greet", "greet"]


def test_a_sender_sends_no_other_actor_with_the_function(sender, conn):
    """The function has its owner's rights, and the trigger checks who has logged in."""
    with pytest.raises(
        InsufficientPrivilege, match=r"may not send pay; workshed\.sender_grants has what"
    ):
        sender.execute("SELECT workshed.send('pay')")

    assert stored(conn) == []


PIPED = {"pipe_target": json.loads(dramatiq.Message("low", "pay", (), {}, {}).encode())}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (row("pay"), "may not send pay"),
        (row(body={"actor_name": "pay"}), "a message that is not that of its row"),
        (row(body={"queue_name": "bulk"}), "a message that is not that of its row"),
        (row(body={"message_id": "other"}), "a message that is not that of its row"),
        (row(options=PIPED), "with the option pipe_target"),
        (row(options={"group_completion_callbacks": []}), "the option group_completion_callbacks"),
        (row(options={"batch": "0"}), "with the option batch"),
        (row(options={"attempt": 7}), "with the option attempt"),
        (row(options={"unique_key": "pay:7"}), "takes only keys that begin with greet:"),
        (row(generation=1), "stores what is no new message"),
        (row(possible_duplicate=True), "stores what is no new message"),
        (row(reason="broker_down"), "stores what is no new message"),
    ],
)
def test_what_it_stores_by_itself_is_judged_by_what_travels(sender, conn, values, said):
    """If the column counted, the body could name another actor, which would then run."""
    with pytest.raises(InsufficientPrivilege, match=said):
        insert(sender, values)

    assert stored(conn) == []


def test_of_two_actor_names_in_a_body_the_last_counts_as_for_a_worker(sender):
    body = row()["body"].replace('"actor_name"', '"actor_name": "greet", "actor_name"')
    body = body.replace(
        '"actor_name": "greet", "actor_name": "greet"', '"actor_name": "greet", "actor_name": "pay"'
    )
    assert json.loads(body)["actor_name"] == "pay"

    with pytest.raises(InsufficientPrivilege, match="not that of its row"):
        insert(sender, {**row(), "body": body, "message_id": json.loads(body)["message_id"]})


def test_a_body_that_is_no_message_is_refused_too(sender, conn):
    for body in ("[]", "7", "no JSON", '{"options": 7}'):
        with pytest.raises(psycopg.Error):
            insert(sender, row() | {"body": body})

    assert stored(conn) == []


def test_a_forbidden_row_makes_the_whole_statement_fail(sender, conn):
    good, bad = row(), row("pay")
    query = """
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason,
                                       possible_duplicate, due_at)
        SELECT r.message_id, r.generation, r.queue, r.actor, r.body, r.reason,
               r.possible_duplicate, workshed.now()
          FROM json_to_recordset(%s::json) AS r (message_id text, generation int, queue text,
                                                 actor text,
                                           body text, reason text, possible_duplicate bool)
    """
    with pytest.raises(InsufficientPrivilege):
        sender.execute(query, (json.dumps([good, bad]),))

    assert stored(conn) == []


def test_a_sender_cannot_take_the_key_of_another_actor_or_replace_its_job(sender, login, conn):
    key = '{"unique_key": "pay:7", "on_conflict": "replace"}'
    login("worker").execute("SELECT workshed.send('pay', options => %s)", (key,))

    with pytest.raises(InsufficientPrivilege, match="keys that begin with greet:"):
        sender.execute("SELECT workshed.send('greet', options => %s)", (key,))
    with pytest.raises(InsufficientPrivilege, match="keys that begin with greet:"):
        sender.execute(
            CALLS["workshed.insert_with_key"].replace("greet:1", "pay:7").replace("false", "true")
        )

    assert stored(conn) == ["pay"]


def test_a_new_role_does_not_help(sender, conn):
    """SET ROLE changes the current user, but not the one who has logged in."""
    member = sender.info.user
    conn.execute(f"CREATE ROLE {member}_other; GRANT {member}_other TO {member}")
    sender.execute(f"SET ROLE {member}_other")
    try:
        with pytest.raises(InsufficientPrivilege):
            sender.execute("SELECT workshed.send('pay')")
    finally:
        sender.execute("RESET ROLE")
        conn.execute(f"DROP ROLE {member}_other")


def test_a_sender_without_allowed_actors_sends_nothing(sender, conn):
    conn.execute("UPDATE workshed.sender_grants SET allowed_actors = '{}'")

    with pytest.raises(InsufficientPrivilege):
        sender.execute("SELECT workshed.send('greet')")


def test_the_allowed_actors_of_several_roles_add_up(sender, conn):
    conn.execute("INSERT INTO workshed.sender_grants VALUES (%s, '{pay}')", (sender.info.user,))

    sender.execute("SELECT workshed.send('pay'), workshed.send('greet')")

    assert stored(conn) == ["greet", "pay"]


def test_other_roles_are_not_limited(known, login, conn, superuser):
    login("worker").execute("SELECT workshed.send('pay')")
    conn.execute("SELECT workshed.send('pay')")  # the owner is in no role
    superuser.execute("SELECT workshed.send('pay')")  # a member of every role
    conn.execute("INSERT INTO workshed.sender_grants VALUES ('no such role', '{}')")
    login("application").execute("SELECT workshed.send('pay')")

    assert stored(conn) == ["pay"] * 4


def test_a_sender_cannot_see_or_change_what_it_has_sent(sender):
    sender.execute("SELECT workshed.send('greet')")

    for statement in (
        "SELECT message_id FROM workshed.schedule",
        "UPDATE workshed.schedule SET actor = 'pay'",
        "DELETE FROM workshed.schedule",
        "UPDATE workshed.sender_grants SET allowed_actors = '{pay}'",
        "DELETE FROM workshed.sender_grants",
        "SELECT * FROM workshed.sender_grants",
        "ALTER TABLE workshed.schedule DISABLE TRIGGER assert_sender",
        "SET session_replication_role = replica",
    ):
        with pytest.raises(InsufficientPrivilege):
            sender.execute(statement)


def test_python_sends_under_the_same_limits_as_sql(sender, broker, conn):
    """`schedule.send` inserts rows itself, but uses the function for unique jobs."""

    @dramatiq.actor(broker=broker, queue_name="low")
    def greet(name):
        pass

    @dramatiq.actor(broker=broker, queue_name="low", unique=Unique())
    def greet_once(name):
        pass

    @dramatiq.actor(broker=broker, queue_name="low")
    def pay(name):
        pass

    conn.execute("UPDATE workshed.sender_grants SET allowed_actors = '{greet,greet_once}'")
    try:
        for actor in (greet, greet_once, greet_once):
            with sender.transaction():
                schedule.send(sender, actor.message("Ada"))
        with pytest.raises(InsufficientPrivilege), sender.transaction():
            schedule.send(sender, pay.message("Ada"))
    finally:
        for name in ("greet", "greet_once", "pay"):
            del broker.actors[name]

    assert stored(conn) == ["greet", "greet_once"]


def test_a_snapshot_that_is_held_open_is_found_by_the_query_of_the_page(conn, connect):
    conn.autocommit = True
    forgotten = connect()
    forgotten.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    forgotten.execute("SELECT FROM workshed.schedule")
    for _ in range(3):  # by which the snapshot gets older
        conn.execute("SELECT pg_current_xact_id()")

    def found():
        rows = [row for row in conn.execute(SNAPSHOTS) if row[0] == forgotten.info.backend_pid]
        return [(state, age >= 3, lasts > timedelta()) for _, _, state, age, lasts in rows]

    assert found() == [("idle in transaction", True, True)]
    forgotten.rollback()
    assert found() == []
