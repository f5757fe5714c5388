"""`manage.py test` deletes its database, whatever its tests have sent."""

import pytest

from tests.library.e2e.django_sites.project import Site

JOBS = """
import workshed
from workshed import Queue, Unique


@workshed.actor()
def note(number: int) -> None: ...


@workshed.actor(unique=Unique("until_executing"))
def greet(number: int) -> None: ...


@workshed.actor(queue=Queue("quick", kind="classic"))
def hurry(number: int) -> None: ...
"""
TESTS = """
import subprocess, sys

from django.db import transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from store.jobs import greet, hurry, note
from store.models import Order
from workshed import broker, db


class SendTest(TransactionTestCase):
    def test_each_way_to_send(self):
        for actor in (note, greet, hurry):
            actor.send(1)
        note.send_with_options(args=(2,), delay=60_000)
        with transaction.atomic():
            note.send(3)
        broker.enqueue_many([note.message(4), note.message(5)])
        with db.transaction() as conn:
            conn.execute("SELECT 1")


class RolledBackTest(TestCase):
    def test_each_way_to_send(self):
        greet.send(2)
        with transaction.atomic():
            note.send(2)
        with db.transaction() as conn:
            conn.execute("SELECT 1")


class ProgramTest(SimpleTestCase):
    def test_a_program_of_the_project_does_not_leave_the_database_of_the_tests(self):
        words = [sys.executable, "manage.py", "check"]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        self.assertIn("WORKSHED_DATABASE_URL leads to the database 'test_", ended.stderr)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory, site_database, site_broker):
    """A project whose tests send to RabbitMQ, without the kit."""
    files = {"store/jobs.py": JOBS, "store/tests.py": TESTS}
    site = Site(tmp_path_factory.mktemp("runner"), site_database, site_broker, files)
    site.manage("makemigrations", "store")
    return site


@pytest.mark.parametrize("words", [[], ["--parallel", "2"]])
def test_the_database_of_the_tests_can_be_deleted(site, words):
    """A connection of this process to it, for example of a thread, would make PostgreSQL refuse.

    `spawn` is the default on macOS; `forkserver`, that of Python 3.14, loads the project likewise.
    """
    said = site.manage("test", "store", "--noinput", "-v", "2", *words, TEST_START_METHOD="spawn")

    assert "OK" in said
    assert "Destroying test database" in said
    assert "being accessed" not in said
