"""`python -m shop sync`: the state of each source."""

import re
from datetime import timedelta

import pytest

from shop import sync
from shop.sync.errors import SourceFailedError
from workshed import db

pytestmark = pytest.mark.usefixtures("database")
ORIGIN = "https://crm.example.org"


@pytest.fixture
def added(env, workshed):
    env(SYNC_ORIGINS=ORIGIN)
    return workshed("sync", "add", "crm", f"{ORIGIN}/v1")


def test_a_source_that_is_added_is_listed(workshed, added):
    assert (added.code, added.out) == (0, f"crm  {ORIGIN}/v1\n")

    done = workshed("sync")

    assert done.code == 0
    assert done.lines[0].split() == ["source", "records", "all", "read", "now"]
    assert done.lines[1].split() == ["crm", "0", "never", "well"]
    assert max(map(len, done.lines)) <= 80
    [found] = workshed("sync", "list", "--json").json
    assert (found["name"], found["records"], found["failed_runs"]) == ("crm", 0, 0)


def test_its_problem_is_shown(workshed, added, conn):
    for _ in range(2):
        with db.transaction() as own:
            sync.record_failure(own, SourceFailedError("crm", "500 Internal Server Error"))
    conn.execute(
        "UPDATE shop.sync_sources "
        "SET circuit_opened_at = workshed.now(), circuit_open_until = workshed.now() + %s",
        (timedelta(minutes=10),),
    )

    said = " ".join(workshed("sync").out.split())

    assert re.search(r"failing \d+s ago, 2 runs", said)
    assert "asked again in 10m" in said
    assert "crm: 500 Internal Server" in said


def test_a_source_that_is_held_may_be_released(workshed, added, conn):
    assert workshed("sync", "release", "crm").out == "crm  was not held\n"
    query = """
        UPDATE shop.sync_sources
           SET circuit_opened_at = workshed.now(), circuit_open_until = workshed.now() + '1 h'
    """
    conn.execute(query)

    assert workshed("sync", "release", "crm").out == "crm  is asked again\n"
    with db.transaction() as own:
        assert sync.acquire_permit(own, "crm").is_circuit_open
    done = workshed("sync", "release", "shop")
    assert (done.code, done.err) == (5, "python -m shop: no source 'shop'; there are crm\n")
    assert "(did you mean 'crm'?)" in workshed("sync", "release", "cmr").err


def test_a_host_that_is_not_allowed_is_refused(workshed, env):
    env(SYNC_ORIGINS=ORIGIN)

    done = workshed("sync", "add", "crm", "https://evil.example.org")

    assert done.code == 1
    assert "SHOP_SYNC_ORIGINS does not name it" in done.err
    assert workshed("sync").err.startswith("There are no sources")


def test_a_password_in_a_url_is_refused_and_not_shown(workshed, env):
    env(SYNC_ORIGINS=ORIGIN)

    done = workshed("sync", "add", "crm", "https://me:s3cret@crm.example.org")

    assert done.code == 1
    assert "has a user" in done.err
    assert "s3cret" not in done.err


def test_without_the_tables_of_the_product_the_command_is_named(workshed, conn):
    conn.execute("DELETE FROM workshed.migrations WHERE stream = 'shop'")

    done = workshed("sync")

    assert done.code == 2
    assert "lacks migrations of stream 'shop', from '0001_baseline' on" in done.err
