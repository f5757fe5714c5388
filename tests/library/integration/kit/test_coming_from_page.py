"""docs/coming-from.md: the Workshed code it shows runs, and Celery has the names it mentions."""

import importlib.util
import re
from pathlib import Path

import pytest

import workshed
from tests import pages
from workshed import db
from workshed.jobs import RecordMissing, RetryAfter, Snooze

PAGE = pages.text("docs/coming-from.md")
PARTS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
IMPORTS = pages.block("docs/coming-from.md", "imports")
ELSEWHERE = ("workshed ", "WORKSHED_")
"""Commands and settings, which a test of all pages checks."""
SIGNALS = (RecordMissing, RetryAfter, Snooze)
OPTION = re.compile(r"(\w+)=(?!=)(.+)")


def rows(part):
    """Return the cells of each row of the tables in a part: there, here, note."""
    lines = [line for line in PARTS[part].splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\)\|", line)[1:4] for line in lines[1:]]


def codes(cell):
    return [code.replace("\\|", "|") for code in re.findall(r"`([^`]+)`", cell)]


HERE = dict.fromkeys(code for part in PARTS for _, here, _ in rows(part) for code in codes(here))


@pytest.fixture
def names(jobs, actor):
    """The names that code of the page may use, except for a connection."""

    def job(order_id: int):
        """Run as an actor."""

    def report(*told):
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


def test_its_names_of_celery_exist_there():
    folder = Path(importlib.util.find_spec("celery").origin).parent
    known = set()
    for file in folder.rglob("*.py"):
        known.update(re.findall(r"[A-Za-z_]\w{3,}", file.read_text("utf-8")))
    said = [there for there, *_ in rows("Celery")] + [
        PARTS["Celery"].partition("**Not in Workshed:**")[2]
    ]
    named = {word for cell in said for code in codes(cell) for word in re.findall(r"\w+", code)}

    assert {word for word in named if len(word) > 3} - known == set()
