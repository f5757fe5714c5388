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


def test_an_engine_of_the_application_leads_to_the_database_of_the_tests(project):
    for example in ENGINE.items():
        project.write(*example)
    project.write(
        "shop_database.py",
        """
        import os
        import sqlalchemy
        from sqlalchemy import orm

        url = sqlalchemy.make_url(os.environ["WORKSHED_DATABASE_URL"])
        Session = orm.sessionmaker(
            sqlalchemy.create_engine(url.set(drivername="postgresql+psycopg")))
        """,
    )
    project.write(
        "test_engine.py",
        """
        import dramatiq
        from workshed import broker, schedule
        from shop_database import Session

        @dramatiq.actor(broker=broker)
        def greet(number):
            pass

        def test_it(jobs):
            with Session.begin() as session:
                schedule.send(session, greet.message(7))
            jobs.assert_enqueued(greet, 7)
        """,
    )

    project.run().assert_outcomes(passed=1)


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
