"""The examples of docs/periodic.md, run as printed."""

import json
import re
from datetime import date, timedelta

import pytest

from tests import pages
from tests.transcripts import begin
from workshed.cronspec import DEFAULT_WINDOWS, cron, daily, every

pytestmark = pytest.mark.one_worker

PAGE = pages.text("docs/periodic.md")
[(NAME, TEXT)] = pages.files("docs/periodic.md").items()
CLOCK = pages.block("docs/periodic.md", "periodiq")
SPECS = re.findall(r"^\| `((?:daily|cron|every)\(.*\))` \| (.*) \|$", PAGE, re.MULTILINE)
LATE = re.findall(r'^\| `"(\w+)"`.* \| (\d+ \w+) \|$', PAGE, re.MULTILINE)


@pytest.fixture(autouse=True)
def _shop(tmp_path, conn):
    (tmp_path / NAME).write_text(TEXT)
    conn.autocommit = True
    conn.execute("CREATE SCHEMA store; CREATE TABLE store.orders (id integer)")
    conn.execute("CREATE TABLE store.days (day date PRIMARY KEY, orders integer)")
    conn.execute("INSERT INTO store.orders SELECT generate_series(1, 7)")


@pytest.fixture
def workshed(run, environment):
    """`workshed("periodic")`: run a command and return its output."""

    def workshed(*words):
        code, said = run("-m", "workshed", *words, **environment)
        assert code == 0, said
        return said

    return workshed


@pytest.mark.parametrize(("spec", "words"), SPECS)
def test_a_spec_is_what_the_page_says(spec, words):
    names = {"cron": cron, "daily": daily, "every": every, "timedelta": timedelta}

    assert eval(spec, names).description == words  # noqa: S307 -- of our own page


def test_the_windows_are_those_of_the_page():
    found = {
        late: f"{span.days} days" if span.days else "1 minute"
        for late, span in DEFAULT_WINDOWS.items()
    }

    assert dict(LATE) == found
    assert len(SPECS) == 6


def test_the_job_runs_by_hand_and_by_the_calendar(start_worker, workshed, conn, eventually):
    start_worker("shop_jobs")

    [job] = json.loads(workshed("periodic", "--json"))
    assert (job["name"], job["description"], job["zone"]) == (
        "count_orders",
        "daily at 09:00",
        "Europe/Paris",
    )
    conn.execute("UPDATE workshed.periodic_jobs SET next_at = next_at - interval '1 day'")
    days = "SELECT day, orders FROM store.days"
    [(day, orders)] = eventually(lambda: conn.execute(days).fetchall())

    assert orders == 7
    scheduled_for = conn.execute(
        "SELECT scheduled_for::date FROM workshed.periodic_runs"
    ).fetchone()
    assert scheduled_for == (day,)
    conn.execute("DELETE FROM store.days")
    assert workshed("periodic", "run", "count_orders").startswith("count_orders  sent as ")
    [(day, _)] = eventually(lambda: conn.execute(days).fetchall())
    assert abs(day - date.today()) <= timedelta(days=1)  # noqa: DTZ011 -- of PostgreSQL's zone


def test_the_clock_of_the_page_notes_its_jobs(
    environment, numbers, broker, count, eventually, tmp_path
):
    started = begin(f"exec {CLOCK}", tmp_path / "clock.log", **environment, **numbers)
    try:
        eventually(lambda: count("workshed.periodic_jobs WHERE name = 'count_orders'") == 1)
    finally:
        started.terminate()
        started.wait(60)


def test_a_pause_and_its_end(start_worker, workshed):
    start_worker("shop_jobs")

    assert workshed("periodic", "pause", "count_orders").startswith("count_orders  paused\n")
    assert "paused" in workshed("periodic")
    assert workshed("periodic", "resume", "count_orders").startswith("count_orders  resumed\n")
