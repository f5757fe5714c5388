"""The examples of docs/transactions.md, all sent by one program and run by one worker."""

import re
import secrets

import psycopg
import pytest

from tests import pages
from workshed.database import adapters
from workshed.jobs.control import queues
from workshed.jobs.control.queues import KnownActor

PAGE = pages.text("docs/transactions.md")
FILES = pages.files("docs/transactions.md")
GRANTS = pages.block("docs/transactions.md", "GRANT")
SHOP = pages.files("README.md")
CREATE_TABLE = "from shop_actors import create_table; create_table()"
SEND = """
import asyncio, os, pathlib
import django, psycopg, sqlalchemy
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import create_async_engine

URL = os.environ["WORKSHED_DATABASE_URL"]

def by_django():
    url = conninfo_to_dict(URL)
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": url.pop("dbname"),
                **{name.upper(): value for name, value in url.items()}}
    settings.configure(DATABASES={"default": database})
    django.setup()
    from django.test import RequestFactory
    import django_views
    answer = django_views.create_order(RequestFactory().post("/"))
    assert answer.status_code == 201, answer

def by_sqlalchemy(orders, url):
    from sqlalchemy_engine import engine
    place_by(orders, engine)
    place_by(orders, sqlalchemy.create_engine(url.set(drivername="postgresql+psycopg2")))

def place_by(orders, engine):
    with orders.Session(engine) as session:
        orders.place_order(session)

async def by_its_asyncio(orders, url):
    engine = create_async_engine(url.set(drivername="postgresql+asyncpg"))
    async with orders.AsyncSession(engine) as session:
        await orders.place_order_async(session)
    await engine.dispose()

def by_sql():
    with psycopg.connect(URL) as conn:
        conn.execute(pathlib.Path("orders.sql").read_text())

import sqlalchemy_orders
by_django()
by_sqlalchemy(sqlalchemy_orders, sqlalchemy.make_url(URL))
asyncio.run(by_its_asyncio(sqlalchemy_orders, sqlalchemy.make_url(URL)))
by_sql()
import reminders
"""

COPY_ORDER = """
import sqlalchemy_jobs as jobs
from workshed.contrib.sqlalchemy import job_session

with job_session() as session:
    session.add(jobs.Order(id=1000))
jobs.copy_order.send(1000)
"""
REORDER = """
import sqlalchemy_async_jobs as jobs
from workshed.contrib.sqlalchemy import job_session

with job_session() as session:
    session.add(jobs.Order(id=1000))
jobs.reorder.send(1000)
"""
CANCEL_ORDER = """
import sqlalchemy_jobs as jobs

jobs.cancel_order.send(1000)
jobs.cancel_order.send(1000)
"""


@pytest.fixture
def project(tmp_path, run, environment):
    """A folder with the files of README and of the page, and README's table."""
    for name, text in (SHOP | FILES).items():
        (tmp_path / name).write_text(text)
    code, output = run("-c", CREATE_TABLE, **environment)
    assert code == 0, output


def test_every_example_is_run_here():
    assert set(FILES) == {
        *("django_views.py", "orders.sql", "reminders.py"),
        *("sqlalchemy_orders.py", "sqlalchemy_jobs.py", "sqlalchemy_async_jobs.py"),
        "sqlalchemy_engine.py",
    }


def test_each_example_commits_an_order_whose_job_runs(
    project, start_worker, run, environment, count, eventually
):
    start_worker("shop_actors")

    code, said = run("-c", SEND, **environment)

    assert code == 0, said
    eventually(lambda: count("store.orders WHERE invoiced") == 5)
    eventually(lambda: count("workshed.schedule") == 0)  # the reminder is cancelled


def test_the_jobs_of_sqlalchemy_write_once_each(
    project, start_worker, run, environment, count, eventually
):
    start_worker("sqlalchemy_jobs")

    code, said = run("-c", COPY_ORDER, **environment)
    assert code == 0, said
    eventually(lambda: count("store.orders") == 2)
    code, said = run("-c", CANCEL_ORDER, **environment)
    assert code == 0, said
    eventually(lambda: count("workshed.runs WHERE outcome = 'succeeded'") == 3)
    # The order was copied, and then deleted once although its job was sent twice.
    assert (count("workshed.once_keys"), count("store.orders")) == (2, 1)


def test_the_async_job_of_sqlalchemy_writes_once(
    project, start_worker, run, environment, count, eventually
):
    start_worker("sqlalchemy_async_jobs", "shop_actors")

    code, said = run("-c", REORDER, **environment)

    assert code == 0, said
    eventually(lambda: count("store.orders WHERE invoiced") == 1)
    assert (count("workshed.once_keys"), count("store.orders")) == (1, 2)


def test_the_page_names_every_kind_of_connection_and_what_it_was_tried_with():
    rows = re.findall(r"^\| .+ \| (.+) \| (.*) \|$", PAGE, re.MULTILINE)
    named = {word for given, _ in rows for word in re.findall(r"`(\w+)`", given)}
    tried = {version for _, said in rows for version in re.findall(r"\d\.\d", said)}

    classes = {name for package, name in adapters.ADAPTERS if package != "django"}
    assert classes <= named
    assert {"connection", "connections"} <= named
    # An older Python has an older Django.
    lock = (pages.ROOT / "requirements.lock").read_text()
    pinned = r"^(?:psycopg|django|sqlalchemy)(?:\[.+\])?==(\d+\.\d+)"
    assert tried == set(re.findall(pinned, lock, re.MULTILINE))


def test_the_page_names_all_arguments_and_options_of_the_function(conn):
    (takes,) = conn.execute("SELECT proargnames FROM pg_proc WHERE oid = 'workshed.send'::regproc")
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused, conn.transaction():
        conn.execute("""SELECT workshed.send('any', options => '{"no": 1}')""")

    [said] = re.findall(r"It takes `args`.*?`workshed\.send", PAGE, re.DOTALL)
    options = re.search(r"these are: (.+)", str(refused.value))[1].split(", ")
    assert {"actor", *re.findall(r"`([a-z_]+)`", said)} == {*takes[0], *options}


@pytest.mark.fresh_database
def test_a_role_that_has_what_the_page_grants_may_send(conn, database_url):
    role = f"shop_{secrets.token_hex(6)}"
    queues.declare_queues(conn, {"invoices": "quorum"})
    queues.declare_actors(conn, [KnownActor("send_invoice", "invoices")])
    conn.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    conn.execute(GRANTS.replace("TO shop", f"TO {role}"))
    conn.commit()
    try:
        with psycopg.connect(database_url, user=role, password="x") as theirs:
            theirs.execute("SELECT workshed.send('send_invoice', '[7]', delay => '3 days')")
    finally:
        conn.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        conn.commit()

    assert conn.execute("SELECT count(*) FROM workshed.schedule").fetchone() == (1,)
