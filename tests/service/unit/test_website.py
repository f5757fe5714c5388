"""The documentation site: its pages, their links, and what it loads."""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urldefrag

import pytest
import yaml
from markdown_it import MarkdownIt

from tests.root import ROOT
from tools.website import sources
from tools.website.building import BuildError, run_generator
from tools.website.markdown import LinkTarget, convert_page
from tools.website.staging import DeadLinkError, Stage

ASSETS = {"link": "href", "script": "src", "img": "src", "source": "srcset", "iframe": "src"}
SHOWN_ALIKE = {"h1", "h2", "h3", "h4", "table", "tr", "td", "ol", "li", "pre", "blockquote"}
"""The elements that a code host and the site must both see in a page."""


class Elements(HTMLParser):
    """Collects what a page refers to, what can be referred to, and the elements of its text."""

    def __init__(self, html, *, whole=False):
        super().__init__()
        self.ids, self.links, self.assets, self.kinds = set(), [], [], Counter()
        self._is_text = self._whole = whole
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "article":
            self._is_text = True
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if ASSETS.get(tag) in values:
            self.assets.append(values[ASSETS[tag]])
        if self._is_text and tag in SHOWN_ALIKE:
            self.kinds[tag] += 1

    def handle_endtag(self, tag):
        if tag == "article":
            self._is_text = self._whole


class ConfigurationLoader(yaml.SafeLoader):
    """Reads `mkdocs.yml` without the Python objects that it names."""


ConfigurationLoader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


@pytest.fixture(scope="module")
def pages(site):
    """The elements of each page of the site, by its path."""
    return {
        path.relative_to(site).as_posix(): Elements(path.read_text("utf-8"))
        for path in site.rglob("*.html")
    }


def list_entries(entries):
    """Yield the pages of a part of the navigation."""
    for entry in entries:
        for value in entry.values():
            if isinstance(value, list):
                yield from list_entries(value)
            else:
                yield value


def is_elsewhere(address):
    return re.match(r"[a-z]+:|//", address) is not None


def test_each_page_is_in_the_navigation_once():
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    nav = yaml.load(text, ConfigurationLoader)["nav"]  # noqa: S506 -- a safe loader

    assert sorted(list_entries(nav)) == sorted(
        str(sources.place_on_site(page)) for page in sources.list_pages()
    )


def test_each_link_leads_to_a_page_and_a_heading(site, pages):
    dead, inside = [], 0
    for page, elements in pages.items():
        for link in elements.links:
            if is_elsewhere(link) or page == "404.html":
                continue
            path, part = urldefrag(unquote(link))
            target = (site / page).parent / path if path else site / page
            name = Path(target).resolve().relative_to(site.resolve()).as_posix()
            name = "index.html" if name == "." else name
            inside += 1
            if not (site / name).is_file() or (part and part not in pages[name].ids):
                dead.append((page, link))

    assert dead == []
    assert inside > 5_000


def test_no_page_loads_anything_from_other_hosts(site, pages):
    loaded = {
        address for elements in pages.values() for address in elements.assets if address != ""
    }
    styles = [path.read_text("utf-8") for path in site.rglob("*.css")]
    in_styles = {url for text in styles for url in re.findall(r"url\([\"']?([^)\"']+)", text)}

    assert loaded
    assert [one for one in loaded | in_styles if re.match(r"https?:|//", one)] == []
    assert [text for text in styles if "@import" in text] == []


def test_search_knows_the_words_of_the_pages(site):
    items = json.loads((site / "search.json").read_text("utf-8"))["items"]
    found = {item["location"]: f"{item['title']} {item['text']}".lower() for item in items}

    for page, words in {
        "unique.html": "unique jobs",
        "reference-sql.html#workshedsend": "workshed.send",
        "configuration.html#all-settings": "workshed_database_url",
        "changelog.html": "changelog",
    }.items():
        assert words in found[page]


def test_the_site_and_a_code_host_see_the_same_elements(pages):
    """The two parsers differ, for example in what ends a list or a block of HTML."""
    markdown = MarkdownIt("gfm-like", {"linkify": False})
    differing = {}
    for page in sources.list_pages():
        here = pages[str(sources.place_on_site(page).with_suffix(".html"))].kinds
        there = Elements(markdown.render((ROOT / page).read_text("utf-8")), whole=True).kinds
        if here != there:
            differing[str(page)] = here - there, there - here

    assert differing == {}


@pytest.mark.parametrize("link", ["#no-such-heading", "no-such-page.md"])
def test_a_warning_fails_the_build(tmp_path, link):
    (tmp_path / "docs").mkdir()
    (tmp_path / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text("utf-8"))
    (tmp_path / "docs" / "index.md").write_text(f"# Start\n\n[astray]({link})\n")

    with pytest.raises(BuildError, match="does not exist"):
        run_generator(tmp_path)


def test_a_link_to_a_missing_file_fails_the_build(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "mkdocs.yml").write_text("")
    (tmp_path / "docs" / "index.md").write_text("# Start\n\n[astray](missing.py)\n")

    with pytest.raises(DeadLinkError, match=r"docs/index\.md links to missing\.py, which does not"):
        Stage(tmp_path / "stage", root=tmp_path).write()


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("README.md", "overview.md"),
        ("CHANGELOG.md", "changelog.md"),
        ("deploy/README.md", "deploy/index.md"),
        ("docs/unique.md", "unique.md"),
        ("docs/examples/README.md", "examples/index.md"),
        ("docs/site.css", "site.css"),
    ],
)
def test_docs_is_the_root_of_the_site(path, place):
    assert str(sources.place_on_site(PurePosixPath(path))) == place


def test_links_change_outside_code_only():
    code = "```sh\n# [b](old.md)\n```\n"
    text = f'{code}[`a`](old.md#part) <img src="old.md"> [c](https://x.example) `d[e](f)`\n'

    new = convert_page(text, PurePosixPath("sub/page.md"), find_new)

    assert new == (
        f'{code}[`a`](../new.md#part) <img src="../new.md"> [c](https://x.example) `d[e](f)`\n'
    )


def test_a_link_that_shows_a_file_name_shows_the_title_of_the_page():
    assert convert_page(
        "[../old.md](old.md#part), `[old.md]`", PurePosixPath("a.md"), find_new
    ) == ("[New](new.md#part), `[old.md]`")


def find_new(_):
    return LinkTarget(PurePosixPath("new.md"), "New")
