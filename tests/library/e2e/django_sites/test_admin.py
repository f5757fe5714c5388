"""Django's admin shows jobs, read-only."""

import json
import re

import psycopg
import pytest

from tests.databases import fresh_database, sibling
from tests.library.e2e.django_sites.project import SETTINGS, Site, as_variable

ADMIN = """
INSTALLED_APPS += [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["*"]
STATIC_URL = "static/"
DEBUG_PROPAGATE_EXCEPTIONS = True
if "TEST_CONSOLE" in os.environ:
    WORKSHED["CONSOLE"] = os.environ["TEST_CONSOLE"]
"""
APART = """
from settings import *

DATABASES["jobs"] = DATABASES["default"]
DATABASES["default"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}
WORKSHED["DATABASE"] = "jobs"
DATABASE_ROUTERS = ["routers.JobsRouter"]
"""
ROUTERS = """
class JobsRouter:
    def db_for_read(self, model, **_):
        return "default"

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **_):
        return db == "default"
"""
URLS = """
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
"""
JOBS = """
import workshed


@workshed.actor(redact=["card"])
def pay(order_id: int, card: str) -> None: ...


@workshed.actor()
def note(text: str) -> None: ...
"""
# Prints the status and the text of each page, for a staff member with these permissions, or for a
# superuser.
VISIT = """
import json, sys
from django.contrib.auth.models import Permission, User
from django.test import Client

permissions, visits = json.loads(sys.argv[1])
name, is_root = f"user{User.objects.count()}", permissions == []
user = User.objects.create_user(name, is_staff=True, is_superuser=is_root)
names = Permission.objects.filter(codename__in=permissions)
user.user_permissions.set(names)
assert len(names) == len(permissions)
client = Client()
client.force_login(user)
pages = []
for method, path in visits:
    answer = getattr(client, method)(path)
    pages.append((answer.status_code, answer.content.decode()))
print("PAGES", json.dumps(pages))
"""
VIEW = ["view_jobrun", "view_deadjobrow", "view_scheduledjobrow"]
RUNS, DEAD, SCHEDULED = (
    f"/admin/workshed/{name}/" for name in ("jobrun", "deadjobrow", "scheduledjobrow")
)
STORE = """
import json
from datetime import timedelta
from django.db import connections
from store.jobs import note, pay
from workshed import broker, db
from workshed.jobs.control import queues
from workshed.jobs.dead.dead_jobs import add_dead_job
from workshed.transport.base import describe_actors
from workshed.transport.messages.envelope import encode_message

pay.send_with_options(args=(7, "4111-secret"), delay=3_600_000)
with db.transaction() as conn:
    queues.declare_queues(conn, {"default": "quorum"})
    queues.declare_actors(conn, [one for one in describe_actors(broker) if one.name == "pay"])
    common = {"generation": 0, "attempt": 3, "queue": "default", "reason": "<b>no</b>"}
    for number, message in enumerate([pay.message(8, card="4111-secret"), note.message("é" * 900)]):
        add_dead_job(
            conn,
            message_id=f"dead/{number}",
            actor=message.actor_name,
            body=encode_message(message),
            error_class="KeyError",
            **common,
        )
    add_dead_job(conn, message_id="?", actor=None, body=b"\\xff", error_class=None, **common)
"""
HISTORY = """
    INSERT INTO workshed.runs (recorded_at, message_id, generation, attempt, queue, actor, outcome,
        reason, error_class, sent_at, ended_at, worker, origin, release, arguments)
    SELECT workshed.now() + make_interval(mins => 1, secs => -n / 1000.0), 'job-' || n / 2, 0,
           1 + n % 2, 'default',
           CASE WHEN n % 100 = 0 THEN 'pay' ELSE 'note' END,
           CASE WHEN n % 2 = 0 THEN 'succeeded' ELSE 'retry' END, 'why',
           CASE WHEN n % 2 = 1 THEN 'OSError' END,
           workshed.now(), workshed.now(), 'host:1', 'send', 'v7', '{"text": "Grüße"}'
      FROM generate_series(1, 10100) AS n
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory, site_database):
    """A project with the admin. Workshed's tables are in a database of their own."""
    files = {
        "settings.py": SETTINGS + ADMIN,
        "apart.py": APART,
        "routers.py": ROUTERS,
        "urls.py": URLS,
        "store/jobs.py": JOBS,
        "visit.py": VISIT,
    }
    site = Site(tmp_path_factory.mktemp("admin"), site_database, "amqp://127.0.0.1:9", files)
    site.environment["DJANGO_SETTINGS_MODULE"] = "apart"
    site.manage("makemigrations", "store")
    site.manage("migrate")
    return site


@pytest.fixture(scope="module")
def visit(site):
    """`visit([permission], "/admin/…")`: the status and the text of each page, by address."""

    def visit(permissions, *paths, **variables):
        visits = [path if isinstance(path, list) else ["get", path] for path in paths]
        words = json.dumps([permissions, visits])
        code = f"import sys; sys.argv[1:] = [{words!r}]; exec(open('visit.py').read(), {{}})"
        said = site.manage("shell", "-c", code, **variables)
        found = json.loads(re.search("^PAGES (.*)$", said, re.MULTILINE)[1])
        return dict(zip([path for _, path in visits], found, strict=True))

    return visit


@pytest.fixture(scope="module")
def stored(site, visit, site_database):
    """There are jobs, and there were none before: the pages as they were without tables."""
    before = visit(VIEW, RUNS, DEAD, SCHEDULED, f"{DEAD}x/change/")
    site.manage("migrate", "--database", "jobs")
    site.manage("shell", "-c", STORE)
    add_history(site_database)
    return before


def add_history(url):
    """Store more runs than a list shows."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("SELECT workshed.add_runs_partitions()")
        conn.execute(HISTORY)


@pytest.fixture(scope="module")
def lists(visit, stored):
    """The lists, as a staff member with the permissions sees them."""
    return visit(VIEW, "/admin/", RUNS, DEAD, SCHEDULED, TEST_CONSOLE="https://jobs.example/c/")


def links(text, start):
    """Return the addresses of the rows of a list."""
    return re.findall(f'<a href="({start}[^"]*/change/[^"]*)"', text)


def test_without_tables_the_pages_say_so(stored):
    for status, text in stored.values():
        assert status == 200
        assert "run `manage.py migrate`" in text


def test_each_list_shows_its_jobs(lists):
    assert all(status == 200 for status, _ in lists.values())

    assert "note(text=&quot;Grüße&quot;)" in lists[RUNS][1]
    assert "KeyError" in lists[DEAD][1]
    assert "pay(7, " in lists[SCHEDULED][1]
    assert "&lt;b&gt;no&lt;/b&gt;" in lists[DEAD][1]


def test_secret_arguments_are_hidden(lists):
    texts = "".join(text for _, text in lists.values())

    assert "4111" not in texts
    assert "pay(7, &quot;[redacted]&quot;)" in lists[SCHEDULED][1]
    assert "pay(8, card=&quot;[redacted]&quot;)" in lists[DEAD][1]


def test_long_values_are_cut(lists):
    assert "é" * 200 in lists[DEAD][1]
    assert "é" * 300 not in lists[DEAD][1]


def test_jobs_link_to_the_console(lists, visit):
    assert 'href="https://jobs.example/c/job?id=dead%2F0"' in lists[DEAD][1]
    assert "jobs.example" in lists[RUNS][1]

    without = visit(VIEW, DEAD)
    assert "/job?id=" not in without[DEAD][1]
    assert "console" not in without[DEAD][1]


def test_a_list_counts_no_more_than_it_may_read(lists):
    assert "10000 runs" in lists[RUNS][1]
    assert "_facets" not in lists[RUNS][1]


def test_searches_and_filters_find_jobs(visit, stored):
    found = visit(
        VIEW,
        f"{RUNS}?q=job-5049",
        f"{RUNS}?q=pay",
        f"{RUNS}?q=gone%00",
        f"{RUNS}?outcome__exact=retry",
        f"{RUNS}?actor=pay",
        f"{RUNS}?outcome=retry&actor=pay",
        f"{RUNS}?p=3",
        f"{DEAD}?q=dead/1",
        f"{DEAD}?q=KeyError",
        f"{DEAD}?actor=pay&queue=default",
        f"{SCHEDULED}?q=nothing",
    )
    counts = [re.search(r"(\d+) (runs?|(dead|scheduled) jobs?)\s", t) for _, t in found.values()]

    assert {status for status, _ in found.values()} == {200}
    assert [count and int(count[1]) for count in counts] == [
        2,
        101,
        10_000,
        5_000,
        101,
        0,
        10_000,
        1,
        2,
        1,
        0,
    ]


def test_a_filter_cannot_guess_a_secret_argument(visit, stored):
    """Django lets an address filter by any field, with `contains` and `regex`."""
    found = visit(VIEW, f"{SCHEDULED}?body__contains=4111", f"{DEAD}?body__contains=4111")

    assert {status for status, _ in found.values()} == {400}


def test_each_job_has_a_page(visit, lists):
    rows = [links(lists[page][1], "")[0] for page in (RUNS, DEAD, SCHEDULED)]
    paths = [f"{page}{row}" for page, row in zip((RUNS, DEAD, SCHEDULED), rows, strict=True)]
    found = visit(VIEW, *paths, f"{RUNS}x/change/", f"{DEAD}gone/change/")

    *shown, no_number, gone = found.values()
    assert [status for status, _ in shown] == [200, 200, 200]
    assert no_number[0] == gone[0] == 302
    assert "why" in shown[0][1]
    for _, text in shown:
        assert "4111" not in text
        assert 'name="_save"' not in text


def test_a_superuser_cannot_change_jobs_either(visit, stored):
    paths = [
        [method, f"{page}{rest}"]
        for page in (RUNS, DEAD, SCHEDULED)
        for method, rest in (("get", "add/"), ("post", "1/delete/"))
    ]
    paths.append(["post", f"{DEAD}dead_2F0/change/"])

    found = visit([], *paths, "/admin/", DEAD)

    index, dead = found.pop("/admin/"), found.pop(DEAD)
    assert {status for status, _ in found.values()} == {403}
    assert "delete_selected" not in dead[1]
    assert "/workshed/deadjobrow/" in index[1]
    assert "/workshed/deadjobrow/add/" not in index[1]


def test_staff_need_the_permission(visit, stored):
    found = visit(["view_jobrun"], "/admin/", RUNS, DEAD, SCHEDULED)

    assert [status for status, _ in found.values()] == [200, 200, 403, 403]
    assert "deadjobrow" not in found["/admin/"][1]


def test_the_default_database_may_have_the_tables(site, visit, servers):
    with fresh_database(servers.database_url) as name:
        url = sibling(servers.database_url, name)
        own = {"DJANGO_SETTINGS_MODULE": "settings", "TEST_DATABASE": as_variable(url)}
        site.manage("migrate", **own)
        add_history(url)

        found = visit(VIEW, RUNS, DEAD, SCHEDULED, **own)

    assert [status for status, _ in found.values()] == [200, 200, 200]
    assert "10000 runs" in found[RUNS][1]


def test_django_manages_none_of_the_tables(site, stored):
    assert "No changes detected" in site.manage("makemigrations", "--check")
    code = "from django.db import connection as c; print('TABLES', c.introspection.table_names())"
    assert "runs" not in site.manage("shell", "-c", code).partition("TABLES")[2]


def test_dumpdata_leaves_jobs_out(site, stored):
    """The default database has no such table, and the other one more rows than fit into a file."""
    for words in (["default"], ["jobs"], ["jobs", "--all"]):
        assert site.manage("dumpdata", "workshed", "--database", *words).strip().endswith("[]")


def test_a_console_without_a_scheme_is_reported(site):
    assert "workshed.E002" in site.manage("check", code=1, TEST_CONSOLE="jobs.example")
