"""Tables of the migration guides: the Workshed code runs, and the peers have the names."""

import importlib.util
import re
from pathlib import Path

import pytest

import workshed
from tests import pages
from tests.companions import installed
from tests.library.counterparts import all_tables, codes, unknown_names
from tests.library.e2e.leftovers import RQ
from workshed import db
from workshed.jobs import RecordMissing, RetryAfter, Snooze

IMPORTS = pages.block("docs/coming-from.md", "imports")
ELSEWHERE = ("workshed ", "WORKSHED_")
"""Commands and settings, which a test of all pages checks."""
SIGNALS = (RecordMissing, RetryAfter, Snooze)
OPTION = re.compile(r"(\w+)=(?!=)(.+)")
TABLES = all_tables()
HERE = dict.fromkeys(
    code for rows in TABLES.values() for _, here, _ in rows for code in codes(here)
)


@pytest.fixture
def names(jobs, actor):
    """The names that code of the page may use, except for a connection."""

    def job(order_id: int):
        """Run as an actor."""

    def report(*args):
        """Run as another actor."""

    def note(order_id: int):
        """Run as the second step of a pipeline."""

    names = {
        "jobs": jobs,
        "job": workshed.actor(queue="emails", name="job", store_results=True)(job),
        "report": workshed.actor(name="report")(report),
        "note": workshed.actor(name="note")(note),
    }
    exec(IMPORTS, names)  # noqa: S102 -- ours
    return names


@pytest.mark.parametrize("code", [code for code in HERE if not code.startswith(ELSEWHERE)])
def test_its_workshed_code_runs(code, names, actor):
    if "assert_enqueued" in code:
        names["job"].send(7)
    if option := OPTION.fullmatch(code):
        given = {option[1]: eval(option[2], names)}  # noqa: S307 -- ours
        workshed.actor(**{"queue": "emails", "name": "declared"} | given)(declared)
    elif code.startswith("raise "):
        with pytest.raises(SIGNALS):
            exec(code, names)  # noqa: S102 -- ours
    elif "conn" in code:
        with db.transaction() as conn:
            eval(code, names | {"conn": conn})  # noqa: S307 -- ours
    else:
        eval(code, names)  # noqa: S307 -- ours


def declared(order_id=0):
    """Run as an actor declared with each option of the page."""


def test_each_guide_has_its_table():
    assert TABLES.keys() == {"Celery", "dramatiq", "RQ", "Sidekiq", "ActiveJob"}
    assert sum(map(len, TABLES.values())) > 100


@pytest.mark.parametrize(
    ("system", "examples"),
    [("Celery", {"shop"}), ("dramatiq", {"periodiq", "my_app"}), ("RQ", {"mails"})],
)
def test_the_names_of_each_system_exist_there(system, examples):
    if system == "RQ":
        folder = installed(*RQ) / "rq"
    else:
        folder = Path(importlib.util.find_spec(system.lower()).origin).parent

    assert unknown_names(TABLES[system], folder, ".py") == examples
