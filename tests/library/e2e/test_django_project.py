"""docs/django.md: a Django project runs its files as printed, by its own commands alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests import pages
from tests.programs import started_programs

PAGE = pages.files("docs/django.md")
TESTS_OF_PAGE = pages.files("docs/django.md", "mixin")
COMMANDS = pages.block("docs/django.md", "$ python manage.py migrate")
MIGRATE, WORK = [line.removeprefix("$ python ").split() for line in COMMANDS.splitlines()]
MANAGE = """
import os, sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":  # a process of `test --parallel` imports this file
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    execute_from_command_line(sys.argv)
"""
SETTINGS = """
import json, os
from datetime import timedelta

database = json.loads(os.environ["TEST_DATABASE"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database["dbname"],
        "USER": database["user"],
        "PASSWORD": database["password"],
        "HOST": database["host"],
        "PORT": database["port"],
        "OPTIONS": {"application_name": "store", "isolation_level": 2},
    }
}
INSTALLED_APPS = ["store"]
TIME_ZONE = "Europe/Paris"
SECRET_KEY = "of the tests"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MORE = """
WORKSHED |= {"SHUTDOWN_GRACE": timedelta(seconds=20), "METRICS": False, "PROBES": False}
WORKSHED |= json.loads(os.environ.get("TEST_WORKSHED", "{}"))
"""
MODELS = """
from django.db import models


class Order(models.Model):
    total = models.IntegerField()


class Invoice(models.Model):
    order = models.ForeignKey(Order, models.CASCADE)
    total = models.IntegerField()
    printed = models.BooleanField(default=False)
"""
SEND_IN_MIGRATION = """
from django.db import migrations


def send(apps, editor):
    from store.jobs import send_invoice

    order = apps.get_model("store", "Order").objects.create(total=0)
    send_invoice.send(order.id)


class Migration(migrations.Migration):
    dependencies = [("store", "0001_initial")]
    operations = [migrations.RunPython(send)]
"""
COMMAND = """
from django.core.management.base import BaseCommand
from django.test import RequestFactory

from store.views import create_order


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("totals", nargs="+")

    def handle(self, totals, **_):
        for total in totals:
            create_order(RequestFactory().post("/", {"total": total}))
"""
FAIL = """
from django.db import transaction
from store.jobs import send_invoice

with transaction.atomic():
    send_invoice.send(1)
    send_invoice.send(2)
    raise RuntimeError("after the sends")
"""
APPS = """
from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "store"

    def ready(self):
        from store import jobs
"""
TESTS = """
import os

from django.db import connection
from django.test import TransactionTestCase
from store.jobs import print_invoice


class SendTest(TransactionTestCase):
    def test_more(self):
        self.test_a_delayed_job_is_in_the_database_of_the_tests()

    def test_a_delayed_job_is_in_the_database_of_the_tests(self):
        print_invoice.send_with_options(args=(1,), delay=60_000)

        with connection.cursor() as cursor:
            cursor.execute("SELECT current_database(), count(*) FROM workshed.schedule")
            name, count = cursor.fetchone()
        assert count >= 1  # Django empties only its own tables between tests
        assert name.startswith("test_")
"""
FILES = {
    "manage.py": MANAGE,
    "settings.py": f"{SETTINGS}{PAGE['shop_settings.py']}{MORE}",
    "store/__init__.py": "",
    "store/models.py": MODELS,
    "store/jobs.py": PAGE["store/jobs.py"],
    "store/views.py": PAGE["store/views.py"],
    "store/migrations/__init__.py": "",
    "store/management/__init__.py": "",
    "store/management/commands/__init__.py": "",
    "store/management/commands/order.py": COMMAND,
}


@pytest.fixture
def project(tmp_path):
    """The folder of the project."""
    for name, text in FILES.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text)
    return tmp_path / "site"


@pytest.fixture
def variables(empty_database_url, vhost):
    """The environment of its programs, without any variable of Workshed."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("WORKSHED_")}
    found = conninfo_to_dict(empty_database_url)
    return {**kept, "TEST_DATABASE": json.dumps(found), "AMQP_URL": vhost}


@pytest.fixture
def manage(project, variables, tmp_path):
    """`manage("migrate")`: run a command from another folder; returns its output."""

    def run(*words, code=0, **more):
        done = subprocess.run(
            [sys.executable, str(project / "manage.py"), *words],
            cwd=tmp_path,
            env={**variables, **more},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def start(project, variables, tmp_path):
    """`start("manage.py", "workshed", "worker")`: a program that runs until the test has ended."""
    with started_programs(tmp_path, variables) as start:
        yield lambda program, *words, **more: start(
            str(project / program) if program == "manage.py" else program, *words, **more
        )


@pytest.fixture
def invoices(empty_database_url):
    """`invoices()`: the totals of the stored invoices, and whether they are printed."""
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        query = "SELECT total, printed FROM store_invoice ORDER BY 1"
        yield lambda: conn.execute(query).fetchall()


@pytest.fixture
def migrated(manage):
    """The tables exist."""
    manage("makemigrations", "store")
    return manage("migrate")


def test_its_migrations_create_the_tables_and_may_send(
    manage, project, start, invoices, eventually
):
    manage("makemigrations", "store")
    (project / "store" / "migrations" / "0002_send.py").write_text(SEND_IN_MIGRATION)

    assert "Applied workshed/0001_baseline" in manage(*MIGRATE[1:])
    assert "Applied workshed" not in manage("migrate")

    start(*WORK, "-p", "1", "-t", "2")
    eventually(lambda: invoices() == [(0, True)])


@pytest.mark.parametrize("program", ["workshed", "dramatiq"])
def test_workers_run_its_jobs_and_sends_join_its_transactions(
    program, migrated, manage, start, invoices, project, eventually
):
    if program == "workshed":
        start("manage.py", "workshed", "worker", "-p", "1", "-t", "2")
    else:
        start(
            *("-m", "dramatiq", "workshed.contrib.django.setup", "-p", "1", "-t", "2"),
            DJANGO_SETTINGS_MODULE="settings",
            PYTHONPATH=str(project),
        )

    manage("order", "3", "4")
    assert "after the sends" in manage("shell", "-c", FAIL, code=1)
    manage("order", "5")

    eventually(lambda: invoices() == [(3, True), (4, True), (5, True)])


def children(pid):
    """Return the pids of the processes that a process has started."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_orders_have_one_invoice_each_while_workers_are_killed(
    migrated, start, invoices, eventually
):
    supervisor = start(*WORK, "-p", "2", "-t", "2")
    eventually(lambda: len(children(supervisor.pid)) == 3)
    totals = range(600)
    orders = start("manage.py", "order", *map(str, totals))

    for stored in (50, 200, 400):
        eventually(lambda stored=stored: len(invoices()) > stored)
        for pid in children(supervisor.pid):
            os.kill(int(pid), signal.SIGKILL)

    assert orders.wait(120) == 0
    eventually(lambda: invoices() == [(total, True) for total in totals])


def test_a_record_that_is_gone_discards_its_job(
    migrated, manage, start, empty_database_url, eventually
):
    start("manage.py", "workshed", "worker", "-p", "1", "-t", "2")

    manage("workshed", "enqueue", "send_invoice", "404")

    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        query = "SELECT outcome FROM workshed.attempts"
        eventually(lambda: conn.execute(query).fetchall() == [("discarded",)])


def test_sends_can_stay_out_of_its_transactions(migrated, manage, start, invoices, eventually):
    manage("order", "7")
    own = {"TEST_WORKSHED": json.dumps({"JOIN_TRANSACTIONS": False})}

    assert "after the sends" in manage("shell", "-c", FAIL, code=1, **own)
    start("manage.py", "workshed", "worker", "-p", "1", "-t", "2")

    eventually(lambda: invoices() == [(7, True), (7, True)])  # by the view, and by FAIL


def test_commands_know_the_project(migrated, manage):
    assert "up to date" in manage("workshed", "migrate")
    manage("workshed", "enqueue", "send_invoice", "5")
    assert "'send_invoices'" in manage("workshed", "enqueue", "send_invoices", "5", code=5)
    assert manage("workshed", "--version").startswith("workshed ")
    assert "Usage: workshed" in manage("workshed", "--help")
    assert "up to date" in manage("workshed", "migrate", "--settings=settings", "--pythonpath", ".")
    call = "from django.core.management import call_command as call; call('workshed', %s)"
    assert "up to date" in manage("shell", "-c", call % "'migrate'")
    assert "applied  workshed/0001" in manage("shell", "-c", call % "'migrate', '--status'")
    assert "No such command" in manage("workshed", "frobnicate", code=2)


def test_an_app_may_import_its_jobs_before_workshed_does(migrated, manage, project):
    (project / "store" / "apps.py").write_text(APPS)

    assert "up to date" in manage("workshed", "migrate")


def test_its_tests_use_the_database_that_they_create(migrated, manage, project, invoices):
    (project / "store" / "tests.py").write_text(TESTS)

    assert "OK" in manage("test", "store", "--noinput")
    assert "OK" in manage("test", "store", "--noinput", "--parallel", "2")

    assert invoices() == []


def test_the_tests_of_the_page_pass(manage, project):
    for name, text in TESTS_OF_PAGE.items():
        (project / name).write_text(text)
    manage("makemigrations", "store")

    assert "Ran 1 test" in manage("test", "store", "--noinput")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"BROKER": "amqp://"}, r"WORKSHED['BROKER'] is not a setting of Workshed"),
        ({"DATABASE": "other"}, r"WORKSHED['DATABASE'] is 'other', which DATABASES lacks"),
        ({"POOL_SIZE": "many"}, "WORKSHED_POOL_SIZE"),
    ],
)
def test_wrong_settings_are_named(given, message, manage):
    said = manage("workshed", "migrate", code=None, TEST_WORKSHED=json.dumps(given))

    assert message in said
