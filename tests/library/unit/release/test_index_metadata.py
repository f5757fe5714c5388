"""What a package index shows of the project, with and without a public address."""

import re

import pytest
from readme_renderer import markdown

from tests.root import ROOT
from tools.index_metadata import (
    RepositoryAddressError,
    describe_project,
    list_urls,
    read_repository,
)

README = (ROOT / "README.md").read_text("utf-8")
REPOSITORY = "https://git.example/team/workshed"
ADDRESS = re.compile(r'\b(?:href|src|srcset)="([^"]*)"')
PAGE = """\
[![build](ci.svg)](ci.html)
[Guide](docs/guide.md#start), [below](#below), [peer](https://peer.example), [`a`](b.md)

<picture>
  <source media="(prefers-color-scheme: dark)" srcset="docs/dark.png">
  <img src="docs/light.png" alt="The console">
</picture>
<a href="LICENSE">licence</a>

```md
[kept](as/it.is)
```
"""


def addresses(text):
    """Return the addresses of links and pictures as an index renders them."""
    html = markdown.render(text)
    assert html is not None
    return ADDRESS.findall(html)


def test_with_an_address_links_and_pictures_are_absolute():
    text = describe_project(PAGE, REPOSITORY, "1.2.3")

    blob, raw = f"{REPOSITORY}/blob/v1.2.3", f"{REPOSITORY}/raw/v1.2.3"
    assert addresses(text) == [
        f"{blob}/ci.html",
        f"{raw}/ci.svg",
        f"{blob}/docs/guide.md#start",
        "#user-content-below",
        "https://peer.example",
        f"{blob}/b.md",
        f"{raw}/docs/light.png",
        f"{blob}/LICENSE",
    ]
    assert f'srcset="{raw}/docs/dark.png"' in text
    assert "[kept](as/it.is)" in text


def test_without_an_address_only_the_text_of_relative_links_stays():
    text = describe_project(PAGE, "", "1.2.3")

    assert addresses(text) == ["#user-content-below", "https://peer.example"]
    assert "Guide, [below](#below), [peer](https://peer.example), `a`" in text
    assert "licence" in text
    assert "picture" not in text
    assert "[kept](as/it.is)" in text


@pytest.mark.parametrize("repository", ["", REPOSITORY])
def test_the_readme_renders_and_has_no_relative_address(repository):
    found = addresses(describe_project(README, repository, "1.2.3"))

    assert [one for one in found if not one.startswith(("https://", "#"))] == []
    assert found


def test_the_urls_are_those_of_the_tag():
    assert list_urls(REPOSITORY, "1.2.3") == {
        "Homepage": REPOSITORY,
        "Documentation": f"{REPOSITORY}/tree/v1.2.3/docs",
        "Changelog": f"{REPOSITORY}/blob/v1.2.3/CHANGELOG.md",
        "Issues": f"{REPOSITORY}/issues",
    }
    assert list_urls("", "1.2.3") == {}


def test_a_slash_at_the_end_of_the_address_makes_no_difference():
    assert read_repository({"repository": f"{REPOSITORY}/"}) == REPOSITORY
    assert read_repository({}) == ""


@pytest.mark.parametrize("wrong", ["http://git.example/a", "git.example/a", "https://git.example"])
def test_another_address_is_refused(wrong):
    with pytest.raises(RepositoryAddressError, match="leave it empty"):
        read_repository({"repository": wrong})
