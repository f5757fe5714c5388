"""The age of each source's data, as relays report it."""

import math
import subprocess
import sys
from datetime import timedelta

import pytest

from shop import sync
from shop.sync.errors import SourceFailedError
from shop.sync_age_gauge import SyncAgeGauge
from workshed import db

ORIGIN = "https://crm.example.org"


@pytest.fixture
def conn(connect, database, monkeypatch):
    monkeypatch.setenv("SHOP_SYNC_ORIGINS", ORIGIN)
    found = connect(autocommit=True)
    sync.add(found, "crm", ORIGIN)
    return found


@pytest.fixture
def look(conn, counted):
    """`look()`: the age in seconds and the failed runs of `crm`, after a new check."""
    duty = SyncAgeGauge()

    def once():
        assert duty(conn) >= 10
        names = ("sync_age_seconds", "sync_failed_runs")
        return [counted(name, namespace="shop", source="crm") for name in names]

    return once


def test_it_is_the_time_since_the_last_success(conn, look):
    query = "UPDATE shop.sync_sources SET created_at = created_at - %s"
    conn.execute(query, (timedelta(hours=2),))
    age, failed = look()
    assert 7200 <= age < 7300
    assert failed == 0

    conn.execute("UPDATE shop.sync_sources SET last_success_at = workshed.now()")
    assert look()[0] < 60

    with db.transaction() as own:
        sync.record_failure(own, SourceFailedError("crm", "500"))
    assert look()[1] == 1


def test_a_deleted_source_has_no_age(conn, look):
    look()
    conn.execute("DELETE FROM shop.sync_sources")

    age, failed = look()

    assert math.isnan(age)
    assert failed == 0


@pytest.mark.fresh_database
def test_without_its_tables_it_reports_no_age(conn, look):
    conn.execute("DROP SCHEMA shop CASCADE")
    conn.execute("DELETE FROM workshed.migrations WHERE stream = 'shop'")

    assert look()[1] == 0


def test_a_relay_imports_nothing_that_asks_a_source():
    """Each worker master starts a relay, which would take a fifth longer and 10 MB more."""
    code = (
        "import sys, workshed.transport.relay.relay\n"
        "found = {'email_validator', 'httpx2', 'jinja2', 'shop.sync'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
