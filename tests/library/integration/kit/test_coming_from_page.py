"""docs/coming-from.md: all that it says we have is executed, and Celery's names are Celery's."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests import pages
from workshed import db
from workshed.jobs import RecordMissing, RetryAfter, Snooze

PAGE = pages.text("docs/coming-from.md")
PARTS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
IMPORTS = pages.block("docs/coming-from.md", "imports")
ELSEWHERE = ("workshed ", "WORKSHED_")
"""Looked at with those of all other pages."""
SIGNALS = (RecordMissing, RetryAfter, Snooze)
OPTION = re.compile(r"(\w+)=(?!=)(.+)")


def rows(part):
    """The cells of each row of the tables of a part: there, here, note."""
    lines = [line for line in PARTS[part].splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\)\|", line)[1:4] for line in lines[1:]]


def codes(cell):
    return [code.replace("\\|", "|") for code in re.findall(r"`([^`]+)`", cell)]


HERE = dict.fromkeys(code for part in PARTS for _, here, _ in rows(part) for code in codes(here))


@pytest.fixture
def names(jobs, actor):
    """What the code of the page may name, but for a connection."""

    def job(order_id: int):
        """An actor."""

    def report(*told):
        """Another."""

    names = {
        "jobs": jobs,
        "job": actor(queue_name="emails", actor_name="job", store_results=True)(job),
        "report": actor(queue_name="default", actor_name="report")(report),
    }
    exec(IMPORTS, names)  # noqa: S102 -- ours
    return names


@pytest.mark.parametrize("code", [code for code in HERE if not code.startswith(ELSEWHERE)])
def test_what_it_says_we_have_is_there(code, names, actor):
    if "assert_enqueued" in code:
        names["job"].send(7)
    if option := OPTION.fullmatch(code):
        given = {option[1]: eval(option[2], names)}  # noqa: S307 -- ours
        actor(**{"queue_name": "default", "actor_name": "declared"} | given)(declared)
    elif code.startswith("raise "):
        with pytest.raises(SIGNALS):
            exec(code, names)  # noqa: S102 -- ours
    elif "conn" in code:
        with db.transaction() as conn:
            eval(code, names | {"conn": conn})  # noqa: S307 -- ours
    else:
        eval(code, names)  # noqa: S307 -- ours


def declared(order_id=0):
    """Declared with each option of the page."""


def test_what_it_says_of_celery_is_named_so_there():
    folder = Path(importlib.util.find_spec("celery").origin).parent
    known = set()
    for file in folder.rglob("*.py"):
        known.update(re.findall(r"[A-Za-z_]\w{3,}", file.read_text("utf-8")))
    said = [there for there, *_ in rows("Celery")] + [
        PARTS["Celery"].partition("**Not in Workshed:**")[2]
    ]
    named = {word for cell in said for code in codes(cell) for word in re.findall(r"\w+", code)}

    assert {word for word in named if len(word) > 3} - known == set()
