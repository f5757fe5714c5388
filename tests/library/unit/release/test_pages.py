"""The changelog and the pages of a release: their links lead somewhere, and they say the same."""

import re
import tomllib
import unicodedata

import pytest

from tests.matrix.table import PLATFORMS
from tests.root import ROOT
from tools.release.changelog import list_releases
from workshed import __version__

LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
RELEASES = (ROOT / "docs" / "releases.md").read_text("utf-8")
MOST_LINES = 150
"""Of a section of the changelog, so that people can read it."""


def anchors(text):
    """Return the anchors of a page's headings."""
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        kept = (c for c in heading.lower().replace("`", "") if c in " -_" or c.isalnum())
        yield unicodedata.normalize("NFC", "".join(kept)).replace(" ", "-")


@pytest.mark.parametrize("page", ["CHANGELOG.md", "SECURITY.md"])
def test_its_links_lead_somewhere(page):
    astray = []
    for path, part in LINK.findall((ROOT / page).read_text("utf-8")):
        there = ROOT / (path or page)
        if not there.exists() or (part and part not in anchors(there.read_text("utf-8"))):
            astray.append(f"{path}#{part}")

    assert astray == []


def test_sections_of_the_changelog_are_short_and_each_entry_of_a_release_has_a_page():
    sections = re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]

    assert sections[0].startswith("[Unreleased]\n")
    assert max(one.count("\n") for one in sections) <= MOST_LINES
    added = sections[-1].partition("### Added\n")[2].partition("\n### ")[0]
    entries = re.findall(r"^- (.+?)(?=\n- |\n\n|\Z)", added, re.MULTILINE | re.DOTALL)
    assert len(entries) > 30
    assert [one for one in entries if "](" not in one or one.count("\n") > 2] == []


def test_each_minor_release_is_in_the_support_window():
    minors = {".".join(one.split(".")[:2]) for one in list_releases(ROOT)}
    window = RELEASES.partition("## Support window\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (\d+\.\d+) \| (\d{4}-\d{2}-\d{2}) \|", window, re.MULTILINE))

    assert rows.keys() == minors
    for minor, date in rows.items():
        assert f"## [{minor}.0] - {date}\n" in CHANGELOG


def test_this_version_is_described_or_is_not_released_yet():
    assert __version__ in list_releases(ROOT) or ".dev" in __version__


def test_supported_versions_are_those_that_are_tested_and_installed():
    table = dict(re.findall(r"^\| (\w+)[^|]* \| (.+) \|$", RELEASES, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pythons = [one.rpartition(" ")[2] for one in project["classifiers"] if "Python :: 3" in one]

    assert re.findall(r"(3\.\d+): ", table["Python"]) == pythons
    for server, field in (("PostgreSQL", "postgresql"), ("RabbitMQ", "rabbitmq")):
        named = re.findall(r"(?:^|, |· )(\d+(?:\.\d+)?)", table[server])
        ran = sorted({getattr(one, field) for one in PLATFORMS}, key=float)
        assert [named[0], named[-1]] == [ran[0], ran[-1]]
    extras = project["optional-dependencies"]
    assert table["Django"].startswith(extras["django"][0].partition(">=")[2])
    assert f"from {extras['sqlalchemy'][0].partition('>=')[2]} on" in table["SQLAlchemy"]
