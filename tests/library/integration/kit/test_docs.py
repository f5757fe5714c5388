"""The tests that docs/testing.md shows, run as printed, with the actor of the README."""

import os

import pytest

from tests import pages
from tests.companions import installed

DOCS = "docs/testing.md"
README = pages.files("README.md")
THEIR_TESTS = pages.files(DOCS, "test")
SHOP = pages.files(DOCS, "orders")
TWICE = pages.files(DOCS, "twice")
ENGINE = pages.files(DOCS, "engine")
DJANGO = pages.files(DOCS, "django")
OTHERS = pages.files(DOCS, "others")
MODULES = pages.files(DOCS, "worker")
DJANGO_WORKER = pages.files("docs/transactions.md", "worker")
NOT_IDEMPOTENT = pages.block(DOCS, "reorder(1) is not idempotent")


def test_the_tests_of_the_first_actor_pass(project):
    for example in (README | THEIR_TESTS | SHOP | TWICE).items():
        project.write(*example)

    project.run().assert_outcomes(passed=4)


def test_a_job_that_is_not_idempotent_fails_as_the_page_shows(project):
    [(name, example)] = TWICE.items()
    for one in [*SHOP.items(), (name, example.replace("once=True", ""))]:
        project.write(*one)

    done = project.run("-q")

    done.assert_outcomes(failed=1)
    said = [line.removeprefix("E").strip() for line in done.said.splitlines()]
    for line in NOT_IDEMPOTENT.splitlines():
        assert line.strip() in [*said, *(line.partition(": ")[2] for line in said)]


SHOP_DATABASE = """
import sqlalchemy
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

class Base(orm.DeclarativeBase):
    pass

class Order(Base):
    __tablename__ = "orders"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

# A database that does not exist
engine = sqlalchemy.create_engine(
    "postgresql+psycopg2://127.0.0.1:9/shop", connect_args={"application_name": "shop"})
SessionLocal = orm.sessionmaker(engine)
AsyncSessionLocal = async_sessionmaker(
    create_async_engine("postgresql+asyncpg://ada:secret@127.0.0.1:9/shop"))
"""
TEST_ENGINE = """
import asyncio

import pytest
import sqlalchemy

from workshed import actor, schedule
from workshed.contrib.sqlalchemy import async_job_session
from shop_database import AsyncSessionLocal, Order, SessionLocal, engine

@actor()
def greet(number):
    with SessionLocal() as session:
        assert session.get(Order, number)

@actor(once=True)
async def reorder():
    async with async_job_session(AsyncSessionLocal) as session:
        session.add(Order(id=2))

def test_a_session_sends_in_its_transaction(jobs):
    with SessionLocal.begin() as session:
        session.add(Order(id=1))
        schedule.send(session, greet.message(1))
    assert jobs.drain() == 1

@pytest.mark.parametrize("number", [1, 2])
def test_each_test_begins_with_empty_tables_and_a_loop_of_its_own(jobs, number):
    async def place():
        async with AsyncSessionLocal.begin() as session:
            session.add(Order(id=1))
            await schedule.send(session, greet.message(1))
    asyncio.run(place())
    jobs.assert_enqueued(greet, 1)

def test_an_async_job_is_idempotent(jobs):
    jobs.assert_idempotent(reorder)

def test_the_arguments_of_the_application_stay(jobs):
    with engine.connect() as conn:
        assert conn.scalar(sqlalchemy.text("SHOW application_name")) == "shop"
"""


def test_engines_of_the_application_lead_to_the_database_of_the_tests(project):
    for example in ENGINE.items():
        project.write(*example)
    project.write("shop_database.py", SHOP_DATABASE)
    project.write("test_engine.py", TEST_ENGINE)

    project.run().assert_outcomes(passed=5)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("'postgresql:'", "neither an engine nor a sessionmaker"),
        ("orm.sessionmaker()", "has no engine yet"),
    ],
)
def test_what_leads_nowhere_is_refused(project, target, text):
    project.write(
        "conftest.py",
        f"""
        import pytest
        from sqlalchemy import orm

        @pytest.fixture(scope="session")
        def jobs_engines():
            return [{target}]
        """,
    )
    project.write("test_it.py", "def test_it(jobs): pass")

    done = project.run()

    done.assert_outcomes(error=1)
    assert text in done.said


SETTINGS = """
    import os
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(os.environ["WORKSHED_DATABASE_URL"])
    DATABASES = {"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": parts["dbname"],
        "USER": parts["user"], "PASSWORD": parts["password"],
        "HOST": parts["host"], "PORT": parts["port"]}}
    INSTALLED_APPS = ["django.contrib.contenttypes", "shop"]
"""


@pytest.fixture
def django_project(project):
    """A Django project whose settings name the database that Workshed uses."""
    project.write("shop_settings.py", SETTINGS)
    (project.folder / "shop").mkdir()
    project.write("shop/__init__.py", "")
    project.environment["DJANGO_SETTINGS_MODULE"] = "shop_settings"
    paths = [str(installed("pytest-django==4.14.0")), str(project.folder)]
    paths += filter(None, [project.environment["PYTHONPATH"]])
    project.environment["PYTHONPATH"] = os.pathsep.join(paths)
    return project


def test_the_test_database_of_pytest_django_is_that_of_the_tests(django_project):
    for example in DJANGO.items():
        django_project.write(*example)
    django_project.write(
        "test_django.py",
        """
        import dramatiq
        import pytest
        from workshed import broker, schedule
        from django.contrib.contenttypes.models import ContentType
        from django.db import connection, transaction

        @dramatiq.actor(broker=broker)
        def note(name):
            ContentType.objects.create(app_label="shop", model=name)

        @pytest.mark.django_db(transaction=True)
        def test_it(jobs):
            with transaction.atomic():
                schedule.send(connection, note.message("order"))
            jobs.drain()
            assert ContentType.objects.filter(model="order").count() == 1
        """,
    )

    django_project.run().assert_outcomes(passed=1)


def test_a_worker_of_mode_real_sets_up_django_first(django_project):
    """Otherwise importing its models would fail, and the worker with it."""
    django_project.write("conftest.py", DJANGO["conftest.py"] + MODULES["conftest.py"])
    for example in DJANGO_WORKER.items():
        django_project.write(*example)
    django_project.write(
        "shop/models.py",
        """
        from django.contrib.contenttypes.models import ContentType
        """,
    )
    django_project.write(
        "shop/jobs.py",
        """
        import dramatiq
        from workshed import broker
        from shop.models import ContentType

        @dramatiq.actor(broker=broker)
        def note(name):
            ContentType.objects.create(app_label="shop", model=name)
        """,
    )
    django_project.write(
        "test_django.py",
        """
        import pytest
        from workshed import schedule
        from django.db import connection, transaction
        from shop.jobs import ContentType, note

        @pytest.mark.django_db(transaction=True)
        @pytest.mark.jobs(mode="real")
        def test_it(jobs):
            with transaction.atomic():
                schedule.send(connection, note.message("order"))
            note.send("invoice")
            jobs.drain()
            names = ContentType.objects.filter(app_label="shop").values_list("model", flat=True)
            assert sorted(names) == ["invoice", "order"]
        """,
    )

    django_project.run().assert_outcomes(passed=1)


def test_a_second_database_is_named_as_the_page_shows(project):
    for example in OTHERS.items():
        project.write(*example)
    project.write(
        "test_others.py",
        """
        from workshed.testing.guard import guard

        def test_it(jobs):
            assert guard.others == ["analytics_test_*"]
        """,
    )

    project.run().assert_outcomes(passed=1)
