"""`workshed migrate` on a fresh database."""

import dataclasses
import os
import re
import subprocess
import sys
import threading
from datetime import timedelta

import psycopg
import pytest

from workshed import db
from workshed import migrate as migrations
from workshed.console.cli.setup.migrate import migrate as command
from workshed.errors import DatabaseUnreachableError, MigrationError, SettingsError
from workshed.settings import settings

JOBS = [f"workshed/{each.name}" for each in migrations.list_migrations(("workshed",))]
ALL = [
    f"{each.stream}/{each.name}" for each in migrations.list_migrations(migrations.list_streams())
]


@pytest.fixture
def empty(empty_database_url, monkeypatch):
    """A database that was never migrated, named by the environment."""
    monkeypatch.setenv("WORKSHED_DATABASE_URL", empty_database_url)
    settings.cache_clear()
    with db.connect() as conn:
        yield conn


@pytest.fixture
def its_app(no_app, tmp_path, monkeypatch):
    """`its_app("migrations=…")`: an application with that App, and a package with a migration."""
    folder = tmp_path / "its_package" / "sql"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "0001_notes.sql").write_text(
        "CREATE SCHEMA notes; CREATE TABLE notes.notes (number int);"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})

    def write(words):
        (tmp_path / "its_app.py").write_text(f"from workshed.app import App\napp = App({words})\n")
        monkeypatch.setenv("WORKSHED_APP", "its_app:app")

    return write


def test_a_read_only_server_is_named(empty):
    empty.execute("SET default_transaction_read_only = on")

    with pytest.raises(MigrationError, match="connect to the primary"):
        migrations.apply_pending(empty, ("workshed",))


def tables(conn):
    query = "SELECT schemaname FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'"
    return [schema for (schema,) in conn.execute(query)]


def objects_in_public(conn):
    query = """
        SELECT count(*) FROM pg_depend
         WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'public'::regnamespace
    """
    return conn.execute(query).fetchone()[0]


def test_it_applies_each_file_once(empty, capsys):
    command()
    command()

    expected = [f"applied {name}" for name in ALL]
    assert capsys.readouterr().out.splitlines() == [*expected, "up to date"]


def test_without_an_app_only_the_tables_of_workshed_exist(no_app, empty, capsys):
    command()

    assert capsys.readouterr().out.splitlines() == [f"applied {name}" for name in JOBS]
    assert set(tables(empty)) == {"workshed"}
    assert objects_in_public(empty) == 0


def test_an_app_adds_its_own_streams(its_app, empty, capsys):
    its_app('migrations={"notes": "its_package"}')
    command()

    out = capsys.readouterr().out.splitlines()
    assert out == [*(f"applied {name}" for name in JOBS), "applied notes/0001_notes"]
    assert empty.execute("SELECT count(*) FROM notes.notes").fetchone() == (0,)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('{"notes": "nowhere"}', "your App's migrations, 'notes': there is no module 'nowhere'"),
        ('{"notes": "json"}', "your App's migrations, 'notes': there is no folder "),
        (
            '{"workshed": "its_package"}',
            "your App names a stream of migrations 'workshed': Workshed has",
        ),
    ],
)
def test_invalid_streams_are_refused(its_app, empty, given, said):
    its_app(f"migrations={given}")

    with pytest.raises(SettingsError, match=re.escape(said)):
        command()
    assert tables(empty) == []


def test_two_migrations_at_once_apply_each_file_once(empty):
    barrier = threading.Barrier(2)
    done = []

    def run():
        with db.connect() as conn:
            barrier.wait()
            done.extend(migrations.apply_pending(conn, migrations.list_streams()))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(f"{each.stream}/{each.name}" for each in done) == sorted(ALL)


def test_a_file_that_was_edited_after_it_was_applied_is_refused(empty, monkeypatch):
    command()
    edited = [
        dataclasses.replace(each, sql=each.sql + "-- edited")
        for each in migrations.list_migrations(("workshed",))
    ]
    monkeypatch.setattr(migrations, "list_migrations", lambda _: iter(edited))

    with pytest.raises(MigrationError, match=f"{JOBS[0]}.sql was edited"):
        command()


def test_a_database_made_before_the_first_release_is_refused(empty):
    """Its stream began with other files, so the tables of the first file already exist."""
    command()
    empty.execute(
        "UPDATE workshed.migrations SET name = '0001_schedule' WHERE name = '0001_baseline'"
    )

    with pytest.raises(MigrationError, match="but not its first, '0001_baseline'"):
        command()


def test_a_failing_file_leaves_nothing_behind(empty, monkeypatch):
    broken = migrations.Migration("workshed", "9999_broken", "CREATE SCHEMA half; SELECT 1/0")
    everything = [*migrations.list_migrations(("workshed",)), broken]
    monkeypatch.setattr(migrations, "list_migrations", lambda _: iter(everything))

    with pytest.raises(psycopg.errors.DivisionByZero):
        command()

    assert [row.name for row in migrations.list_applied(empty)] == [
        name.removeprefix("workshed/") for name in JOBS
    ]
    assert empty.execute("SELECT to_regnamespace('half')").fetchone() == (None,)


def test_sql_applies_nothing_and_does_the_same_by_hand(empty, capsys):
    command(sql=True)
    script = capsys.readouterr().out
    assert tables(empty) == []

    empty.execute(script)
    command()

    assert capsys.readouterr().out == "up to date\n"


def test_status_shows_what_is_applied_and_what_is_pending(empty, capsys):
    with db.connect() as conn:
        migrations.apply_pending(conn, ("workshed",))

    command(status=True)

    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    expected = [["applied" if name in JOBS else "pending", name] for name in ALL]
    assert lines == expected


def test_a_waiting_command_continues_once_the_database_is_migrated(empty, monkeypatch, eventually):
    said = []
    module = sys.modules[command.__module__]
    monkeypatch.setattr(module, "print_message", said.append)
    monkeypatch.setattr(module, "POLL_S", 0.02)
    waiting = threading.Thread(target=command, kwargs={"wait": timedelta(minutes=4)})
    waiting.start()
    eventually(lambda: "the database lacks" in "".join(said))
    assert tables(empty) == []

    command()
    waiting.join(60)

    assert not waiting.is_alive()


def test_a_wait_in_vain_ends_with_the_error_of_a_worker(empty):
    with pytest.raises(MigrationError, match="the database lacks"):
        command(wait=timedelta())
    with db.connect() as conn:
        migrations.apply_pending(conn, ("workshed",))
    with pytest.raises(MigrationError, match="migrations of stream 'workshed_storage'"):
        command(wait=timedelta())
    command()
    command(wait=timedelta())


def test_it_waits_for_a_server_that_is_away(monkeypatch, capsys):
    monkeypatch.setenv("WORKSHED_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    settings.cache_clear()
    monkeypatch.setattr(sys.modules[command.__module__], "POLL_S", 0.02)

    with pytest.raises(DatabaseUnreachableError):
        command(wait=timedelta(seconds=0.1))

    assert "Waiting: PostgreSQL does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environ", "code", "message"),
    [
        ({"WORKSHED_DATABASE_URL": "postgresql://127.0.0.1:1/none"}, 4, "does not answer"),
        ({"WORKSHED_DATABASE": "x"}, 2, "did you mean WORKSHED_DATABASE_URL?"),
    ],
)
def test_an_error_is_a_single_message_and_an_exit_code(environ, code, message):
    done = subprocess.run(
        [sys.executable, "-m", "workshed", "migrate"],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
