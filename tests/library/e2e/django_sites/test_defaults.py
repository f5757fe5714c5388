"""`WORKSHED["DEFAULTS"]`: what all actors of a Django project have in common."""

import json

import psycopg
import pytest

from tests import pages
from tests.library.e2e.django_sites.project import SETTINGS, Site
from tests.programs import started_programs

[DEFAULTS] = pages.files("docs/django.md", "defaults").values()
MORE = """
WORKSHED["DEFAULTS"] |= eval(os.environ.get("TEST_DEFAULTS", "{}"))
"""
JOBS = """
import workshed
from store.models import Order


@workshed.actor()
def bill(order_id: int) -> None:
    Order.objects.get(id=order_id)


@workshed.actor(discard_on=LookupError)
def find(order_id: int) -> None:
    Order.objects.get(id=order_id)
"""
OPTIONS = """
import json
from store import jobs

options = jobs.bill.options
print(json.dumps([options["time_limit"], options["retry_on"].group.attempts]))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory, site_database, site_broker):
    """A project with defaults, and its tables."""
    files = {"settings.py": SETTINGS + DEFAULTS + MORE, "store/jobs.py": JOBS}
    site = Site(tmp_path_factory.mktemp("defaults"), site_database, site_broker, files)
    site.manage("makemigrations", "store")
    site.manage("migrate")
    return site


def test_actors_have_the_defaults(site):
    assert json.loads(site.manage("shell", "-v", "0", "-c", OPTIONS)) == [120_000, 5]


def test_a_record_that_does_not_exist_discards_its_job(site, site_database, eventually):
    """An actor's own `discard_on` replaces the default, so that its job is retried."""
    site.manage("workshed", "enqueue", "bill", "404")
    site.manage("workshed", "enqueue", "find", "404")

    query = "SELECT actor, outcome FROM workshed.attempts ORDER BY 1"
    with (
        started_programs(site.folder, site.environment) as start,
        psycopg.connect(site_database, autocommit=True) as conn,
    ):
        start("manage.py", "workshed", "worker", "-p", "1", "-t", "1")
        expected = [("bill", "discarded"), ("find", "retry")]
        eventually(lambda: conn.execute(query).fetchall() == expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{'time_limt': 1}", "WORKSHED['DEFAULTS']['time_limt']: broker.defaults: there is no"),
        ("{'time_limit': 90}", "WORKSHED['DEFAULTS']['time_limit']: "),
        ("{'queue': 7}", "WORKSHED['DEFAULTS']['queue']: queue=7 is neither a name nor a Queue"),
        ("{'discard_on': 'store.Gone'}", "['discard_on']: 'store.Gone' cannot be imported"),
        ("{'throws': ['json.dumps']}", "['throws']: 'json.dumps' is not an exception class"),
        (
            "{'discard_on': 'store.models.Order.DoesNotExist'}",
            "'django.core.exceptions.ObjectDoesNotExist' for all of them",
        ),
    ],
)
def test_a_wrong_default_is_named(given, message, site):
    said = site.manage("check", code=1, TEST_DEFAULTS=given)

    assert "ImproperlyConfigured" in said
    assert message in said


def test_defaults_are_a_dict(site):
    site.write("listing.py", "from settings import *\nWORKSHED['DEFAULTS'] = ['queue']")

    said = site.manage("check", code=1, DJANGO_SETTINGS_MODULE="listing")

    assert "WORKSHED['DEFAULTS'] is of type list: write a dict of options" in said
