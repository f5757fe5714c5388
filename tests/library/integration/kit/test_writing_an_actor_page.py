"""docs/writing-an-actor.md: its example, and that its table has all options."""

import importlib
import re
import sys

import pytest

import workshed
from tests import pages
from workshed import broker, db
from workshed.middleware import ActorOptions, MessageOptions
from workshed.middleware.runtime.unsupported_options import UNSUPPORTED_OPTIONS
from workshed.settings import Settings
from workshed.transport.build import build_broker

PAGE = pages.text("docs/writing-an-actor.md")
FILES = pages.files("docs/writing-an-actor.md")
DEFAULTS = pages.block("docs/writing-an-actor.md", "defaults")


@pytest.fixture
def shipping(jobs, actor, tmp_path, monkeypatch):
    """The first module of the page; orders 7 and 8 exist."""
    (tmp_path / "shipping.py").write_text(FILES["shipping.py"])
    monkeypatch.syspath_prepend(tmp_path)
    declared = dict(broker.declared_queues)
    with db.transaction() as conn:
        conn.execute("CREATE SCHEMA store")
        conn.execute("CREATE TABLE store.orders (id bigint, shipped_at timestamptz)")
        conn.execute("INSERT INTO store.orders VALUES (7), (8)")
    yield importlib.import_module("shipping")
    del sys.modules["shipping"]
    broker.declared_queues.clear()
    broker.declared_queues.update(declared)
    with db.transaction() as conn:
        conn.execute("DROP SCHEMA store CASCADE")


def test_an_order_is_shipped_and_its_buyer_notified_also_by_the_old_name(shipping, jobs):
    shipping.ship.send(7)
    shipping.ship_order.send(8)
    jobs.drain()

    ran = [(run.message.actor_name, *run.message.args) for run in jobs.runs]
    assert sorted(ran) == [("ship", 7), ("ship_order", 8), ("tell_buyer", 7), ("tell_buyer", 8)]
    with db.transaction() as conn:
        query = "SELECT count(*) FROM store.orders WHERE shipped_at IS NOT NULL"
        assert conn.execute(query).fetchone() == (2,)


def test_for_a_missing_order_no_buyer_is_notified(shipping, jobs):
    with jobs.expect_discard("order 404 does not exist"):
        jobs.perform(shipping.ship, 404)

    jobs.refute_enqueued(shipping.tell_buyer)


def test_it_lists_every_option():
    table = PAGE.partition("<!-- options -->\n")[2].partition("\n\n")[0]
    firsts = [row.split("|")[1] for row in table.splitlines()]
    named = [name for first in firsts for name in re.findall(r"`(\w+)`", first)]
    message = PAGE.partition("<!-- message options -->")[2].partition("\n\n")[0]

    of_actors = {*ActorOptions.__optional_keys__, "queue", "name", "version", "upgrade"}
    assert sorted(named) == sorted(of_actors | {"middleware_options"})
    assert all(f"`{name}`" in PAGE for name in UNSUPPORTED_OPTIONS)
    of_set = MessageOptions.__optional_keys__ | {
        "conn",
        "delay",
        "at",
        "queue",
        "middleware_options",
    }
    assert sorted(re.findall(r"`(\w+)`", message)) == sorted(of_set)


def test_its_defaults_are_accepted():
    stub = build_broker(Settings(broker_url="stub://"))

    exec(DEFAULTS.replace(", broker\n", "\n"), {"broker": stub})  # noqa: S102 -- ours
    declared = workshed.actor(broker=stub, name="declared")(lambda: None)

    assert (declared.queue_name, declared.options["time_limit"]) == ("orders", 60_000)


def test_its_job_runs_within_its_tenant(actor, tmp_path, monkeypatch):
    (tmp_path / "tenants.py").write_text(FILES["tenants.py"])
    monkeypatch.syspath_prepend(tmp_path)
    tenants = importlib.import_module("tenants")
    monkeypatch.delitem(sys.modules, "tenants")

    assert tenants.count_orders("acme") == "the orders of acme"


def test_everything_it_imports_from_jobs_exists():
    jobs = importlib.import_module("workshed.jobs")
    part = PAGE.partition("| from `workshed.jobs` |")[2].partition("\n\n")[0]

    named = set(re.findall(r"`(\w+)[`(]", part))
    classes = {"Cancelled", "OpenTransactionError", "Progress", "Signal", "StepError"}
    assert named == set(jobs.__all__) - classes
