"""What counts as failed is the same for pages, commands, alerts, dashboards and documents."""

import re
from pathlib import Path

import pytest

from workshed.console.cli.jobs import jobs as command
from workshed.console.web.pages import jobs as page
from workshed.jobs.history import throughput
from workshed.jobs.outcomes import FAILED

ROOT = Path(__file__).parents[3]
FOLDERS = ("deploy", "docs", "workshed/console/scaffold/templates")
SELECTED = re.compile(r'outcome=~\\?"([a-z|_]*\bretry\b[a-z|_]*)\\?"')
"""Outcomes of a PromQL query that asks for failures, and for all that succeeded or failed."""
FILES = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file() and path.suffix != ".png" and SELECTED.search(path.read_text())
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_queries_for_failures_ask_for_the_same_outcomes(path):
    failed = "|".join(FAILED)

    assert set(SELECTED.findall(path.read_text())) <= {failed, f"succeeded|{failed}"}


def test_alerts_dashboards_and_documents_have_such_queries():
    suffixes = {path.suffix for path in FILES}

    assert {".yml", ".json", ".md", ".jinja"} <= suffixes


def test_pages_and_commands_use_them():
    assert page.FAILED is command.FAILED is throughput.FAILED is FAILED


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("docs/history.md", "`retry`, `dead` or `poison`"),
        ("docs/metrics.md", "`retry`, `dead` and `poison` failed"),
        ("workshed/console/web/templates/desk/jobs.html", "failed: retry, dead, poison"),
        (
            "workshed/console/web/templates/desk/overview.html",
            "<code>retry</code>, <code>dead</code>, <code>poison</code>",
        ),
    ],
)
def test_texts_name_them(path, words):
    assert words in (ROOT / path).read_text()
    assert re.findall(r"[a-z]+", re.sub("</?code>|failed|or|and", "", words)) == list(FAILED)
