"""The service's own middleware, as in its workers."""

from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from actors import process_image
from middleware import CHAIN, deleted_records, metrics
from middleware.deleted_records import DeletedRecords
from middleware.metrics import Promptness
from middleware.sentry import ShopSentry
from shop import people
from workshed import db
from workshed.app import App
from workshed.errors import SettingsError
from workshed.middleware import Retries, Uniqueness
from workshed.settings import settings
from workshed.transport import build

TO_WHAT_IS_DELETED = """
    SELECT c.conname, c.confrelid::regclass::text FROM pg_constraint AS c
     WHERE c.contype = 'f' AND c.connamespace = 'shop'::regnamespace
       AND c.confrelid IN ('shop.users'::regclass, 'shop.sync_sources'::regclass)
"""


@pytest.fixture
def seen_at_once(broker, monkeypatch):
    """Jobs do not wait for a missing record."""
    (retries,) = (one for one in broker.middleware if isinstance(one, Retries))
    monkeypatch.setattr(retries, "record_visibility_grace", timedelta())


@pytest.fixture
def became(conn, broker, working, eventually):
    """`became(message)`: the outcome and the reason of its first run in a worker."""
    conn.autocommit = True

    def became(message):
        query = "SELECT outcome, reason FROM workshed.runs WHERE message_id = %s ORDER BY attempt"
        broker.enqueue(message)
        with working(message.queue_name):
            return eventually(lambda: conn.execute(query, (message.message_id,)).fetchone())

    return became


def test_a_job_whose_record_is_deleted_while_it_runs_is_discarded(seen_at_once, actor, became):
    @actor(queue_name="low")
    def attach_late():
        with db.transaction() as conn:
            user = people.create(conn, name="Ada", email="ada@example.org")
        with db.transaction() as conn:
            conn.execute("DELETE FROM shop.users WHERE id = %s", (user.id,))
        with db.transaction() as conn:
            query = """
                INSERT INTO shop.imports (owner_id, filename, sha256)
                VALUES (%s, 'people.csv', repeat('0', 64))
            """
            conn.execute(query, (user.id,))

    outcome, reason = became(attach_late.message())

    assert outcome == "discarded"
    assert reason.startswith("user ")
    assert reason.endswith(" does not exist")


def test_a_job_whose_content_is_lost_is_not(actor, became):
    @actor(queue_name="low", max_retries=0)
    def attach_lost():
        with db.transaction() as conn:
            user = people.create(conn, name="Ada", email="ada@example.org")
            query = "INSERT INTO shop.attachments (user_id, filename, sha256) VALUES (%s, 'a', %s)"
            conn.execute(query, (user.id, "a.png", "0" * 64))

    assert became(attach_lost.message())[0] == "dead"


def test_its_foreign_keys_are_those_to_records_that_can_be_deleted(conn):
    kinds = {"shop.users": "user", "shop.sync_sources": "source"}
    found = {name: kinds[table] for name, table in conn.execute(TO_WHAT_IS_DELETED)}
    found.pop("orders_user_id_fkey")  # ON DELETE SET NULL, and no job writes orders

    assert found == deleted_records.RECORD_BY_CONSTRAINT


def starts(queue, in_time):
    labels = {"queue": queue, "in_time": in_time}
    return REGISTRY.get_sample_value("shop_job_starts_total", labels) or 0


@pytest.mark.parametrize(("promised_s", "in_time"), [(3_600, "yes"), (-1, "no")])
def test_first_attempts_are_counted_by_whether_they_began_in_time(
    actor, became, counted, monkeypatch, promised_s, in_time
):
    monkeypatch.setitem(metrics.START_TARGET_S, "critical", promised_s)

    @actor(queue_name="critical")
    def fetch():
        pass

    before = starts("critical", in_time)
    became(fetch.message())

    assert starts("critical", in_time) == before + 1


def test_queues_of_which_nothing_is_promised_are_not_counted(actor, became, counted):
    @actor(queue_name="low")
    def tidy():
        pass

    became(tidy.message())

    assert metrics.START_TARGET_S.get("low") is None
    assert (
        REGISTRY.get_sample_value("shop_job_starts_total", {"queue": "low", "in_time": "yes"})
        is None
    )


def test_an_image_has_one_job_however_often_it_is_asked_for(broker, conn):
    first, second = process_image.send(7), process_image.send(7)

    assert second.message_id == first.message_id


def without(kind, monkeypatch):
    """Return the middleware of this service without one class."""
    left = tuple(one for one in CHAIN if one is not kind)
    monkeypatch.setattr(build, "get_app", lambda: App(middleware="middleware:CHAIN"))
    monkeypatch.setattr(build, "load_object", {"middleware:CHAIN": left}.get)
    return build.build_middleware(settings())


def test_the_chain_without_what_keeps_keys_is_refused(monkeypatch):
    with pytest.raises(SettingsError, match="lacks Uniqueness"):
        without(Uniqueness, monkeypatch)


@pytest.mark.parametrize("kind", [DeletedRecords, Promptness, ShopSentry])
def test_the_workers_of_this_service_have_its_own(broker, kind):
    assert sum(isinstance(one, kind) for one in broker.middleware) == 1
