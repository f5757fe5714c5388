"""Everything that pages name exists: commands, settings, metrics, tests, and other pages."""

import re
import tomllib
import unicodedata
from importlib import metadata

import pytest

import actors
from tests.matrix.table import PLATFORMS
from tests.root import ROOT
from tests.service.commands import KNOWN, LIST, options
from tests.service.variables import NAMES
from workshed.app import get_app, load_module
from workshed.metrics import meters
from workshed.migrate import list_streams
from workshed.roles import ROLES

DOCS = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "examples").rglob("*.md")])
PAGES = {
    str(page.relative_to(ROOT)): page.read_text("utf-8")
    for page in (ROOT / "README.md", ROOT / "deploy" / "README.md", *DOCS)
}
"""The texts of the pages, by their paths."""
for declared in get_app().metrics:
    load_module(declared)
METRICS = {one.full_name for one in meters.ALL}
SITE_ONLY = {"docs/index.md", *(page for page in PAGES if page.startswith("docs/reference-"))}
"""Pages that the README need not list: the start page of the site and the generated reference."""
DATABASE_ROLES = {f"workshed_{role}" for role in ROLES}
SCHEMAS = {*list_streams()}
OF_OTHERS = {"SHOP_SERVICE_HOST"}
"""Set by Kubernetes; the page describes the consequences."""
TESTS = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
}
EVERYWHERE = {"--help", "--install-completion", "--show-completion"}
CALL = re.compile(r"(?:`|^(?:\$ )?)workshed ([^`\n]+)", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")


ADDED = ("docs/app.md", "stock")
"""A command that this page's application adds."""


def called(text):
    """Return the words and options of each command call on a page."""
    for found in CALL.finditer(text):
        words = re.split(r"\s{2,}|\s[(#;|]|…", found[1])[0].split()
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        # Placeholders are left out: `job ID cancel` becomes `job cancel`.
        named = [word for word in words if word != word.upper() and word[0] != "-"]
        yield named, given


def command_of(words):
    """Return the command that these words call, or `None`; the remaining words are arguments."""
    found = ""
    for word in words:
        longer = f"{found} {word}".strip()
        if not any(f"{name} ".startswith(f"{longer} ") for name in KNOWN):
            return KNOWN.get(found)
        found = longer
    return KNOWN.get(found) or KNOWN.get(f"{found} {LIST}")


def takes(command):
    """Return the options of a command, including both halves of `--wait/--no-wait`."""
    return options(command) | {word for one in command.params for word in one.secondary_opts}


def anchor(heading):
    """Return the anchor of a heading on the usual sites."""
    kept = (c for c in heading.lower().replace("`", "") if c in " -_" or c.isalnum())
    return unicodedata.normalize("NFC", "".join(kept)).replace(" ", "-")


def headings(text):
    return {anchor(one) for one in re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES)
def test_its_commands_and_their_options_exist(page):
    wrong = []
    for words, given in called(PAGES[page]):
        command = command_of(words)
        if (page, *words) == ADDED:
            continue
        if words and (command is None or given - takes(command) - EVERYWHERE):
            wrong.append((words, given))

    assert wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_its_settings_exist(page):
    named = set(re.findall(r"\b(?:WORKSHED|SHOP)_[A-Z_]*[A-Z]", PAGES[page]))

    assert named - NAMES - OF_OTHERS == set()


@pytest.mark.parametrize("page", PAGES)
def test_its_metrics_and_tests_exist(page):
    text = PAGES[page]
    parts = {f"{one.full_name}_bucket" for one in meters.ALL if one.kind == "histogram"}

    assert (
        set(re.findall(r"\bworkshed_\w+", text)) - METRICS - parts - DATABASE_ROLES - SCHEMAS
        == set()
    )
    assert set(re.findall(r"`(test_\w+)`", text)) - TESTS == set()


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page):
    astray = []
    for path, part in LINK.findall(FENCED.sub("", PAGES[page])):
        there = (ROOT / page).parent / path if path else ROOT / page
        if not there.exists() or (part and part not in headings(there.read_text("utf-8"))):
            astray.append(f"{path}#{part}")

    assert astray == []


def test_the_readme_lists_every_page():
    part = PAGES["README.md"].partition("## All pages\n")[2].partition("\n## ")[0]
    listed = [path for path, _ in LINK.findall(part)]

    assert {*listed} | SITE_ONLY == PAGES.keys() - {"README.md"}
    assert len(listed) == len({*listed})


def test_the_readme_is_a_landing_page():
    assert len(PAGES["README.md"].splitlines()) <= 170


def test_the_extras_of_the_readme_are_those_that_are_offered():
    part = PAGES["README.md"].partition("\nThe extra ")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", part)) - {"jobs"}
    [installed] = re.findall(r"'\./workshed\[([\w,]+)\]'", PAGES["README.md"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    assert named == project["optional-dependencies"].keys()
    assert named >= set(installed.split(","))


def test_the_page_of_shipped_jobs_names_ours():
    jobs = PAGES["docs/shipped-jobs.md"].partition("\n## ")[0]
    firsts = re.findall(r"^\| (`.+?) \|", jobs, re.MULTILINE)
    named = [name for first in firsts for name in re.findall(r"`(\w+)`", first)]

    assert len(named) > len(firsts) > 1
    assert set(named) <= set(actors.__all__)


def test_the_comparison_is_with_the_installed_version():
    page = PAGES["docs/comparison.md"]
    compared = re.search(r"As of dramatiq (\S+), Celery (\S+) with", page).groups()

    installed = [metadata.version(name).split(".")[:2] for name in ("dramatiq", "celery")]
    assert [version.split(".") for version in compared] == installed


def test_a_page_names_the_combinations_that_the_matrix_runs():
    head = "| Python | RabbitMQ | PostgreSQL | where |\n"
    [after] = [text.partition(head)[2] for text in PAGES.values() if head in text]
    table = after.partition("\n\n")[0]
    rows = re.findall(r"^\| (\d\S+) \| (\S+) \| (\S+) \|", table, re.MULTILINE)

    assert rows == [(one.python, one.rabbitmq, one.postgresql) for one in PLATFORMS]


@pytest.mark.parametrize("server", ["Python", "RabbitMQ", "PostgreSQL"])
def test_the_readme_and_the_page_support_the_same_versions(server):
    parts = [
        PAGES["README.md"].partition("## Install\n")[2],
        PAGES["docs/operating.md"].partition("## Supported versions\n")[2],
    ]
    spans = [re.search(rf"{server} (\d[\d.]* to \d[\d.]*\d)", part)[1] for part in parts]

    assert spans[0] == spans[1]
