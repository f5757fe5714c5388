"""What a package index shows: hatchling calls this when it builds a package.

The address of the repository is `repository` in `[tool.hatch.metadata.hooks.custom]` of
`pyproject.toml`. While it is empty, a package has no URLs, and its description no relative links
and no pictures, because an index could not resolve them.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

README = "README.md"
FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
RELATIVE = r"(?![a-z][a-z0-9+.-]*:|#|//)"
"""Before an address that has no scheme, and is no heading of the same page."""
PICTURE = re.compile(rf"!\[[^\]]*\]\({RELATIVE}[^)]+\)")
LINK = re.compile(rf"\[(?P<text>[^\]]*)\]\({RELATIVE}[^)]+\)")
HTML_PICTURE = re.compile(
    rf"<picture>(?:(?!</picture>).)*=\"{RELATIVE}.*?</picture>|<img [^>]*src=\"{RELATIVE}[^>]*>",
    re.DOTALL,
)
HTML_LINK = re.compile(rf"<a href=\"{RELATIVE}[^>]*>(?P<text>.*?)</a>", re.DOTALL)
PICTURE_ADDRESS = re.compile(
    rf"(?P<before>!\[[^\]]*\]\(|\bsrc=\"|\bsrcset=\"){RELATIVE}(?P<path>[^)\"]+)"
)
LINK_ADDRESS = re.compile(rf"(?P<before>\]\(|\bhref=\"){RELATIVE}(?P<path>[^)\"]+)")


class RepositoryAddressError(ValueError):
    """The address of the repository is none that an index can link to."""


class IndexMetadata(MetadataHookInterface):
    """Adds the description and the URLs of the project."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add them to the metadata of a package."""
        repository = read_repository(self.config)
        version = metadata["version"]
        text = (Path(self.root) / README).read_text("utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": describe_project(text, repository, version),
        }
        metadata["urls"] = list_urls(repository, version)


def read_repository(config: dict[str, Any]) -> str:
    """Return the address without a slash at its end; empty if there is none yet."""
    repository = str(config.get("repository", ""))
    if repository and not re.fullmatch(r"https://[^\s/]+(/[^\s/]+)+/?", repository):
        raise RepositoryAddressError(
            f"repository = {repository!r} in pyproject.toml: write https://, a host and a path, "
            "for example https://git.example/team/workshed, or leave it empty"
        )
    return repository.rstrip("/")


def list_urls(repository: str, version: str) -> dict[str, str]:
    """Return the URLs of the project by their labels."""
    if not repository:
        return {}
    tag = f"v{version}"
    return {
        "Homepage": repository,
        "Documentation": f"{repository}/tree/{tag}/docs",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


def describe_project(text: str, repository: str, version: str) -> str:
    """Return the README with absolute links and pictures, or without those that are relative."""
    parts = FENCE.split(text)
    for at in range(0, len(parts), 2):  # each odd part is a block of code
        parts[at] = (
            make_absolute(parts[at], repository, f"v{version}")
            if repository
            else remove_relative(parts[at])
        )
    return "".join(parts)


def make_absolute(text: str, repository: str, tag: str) -> str:
    """Lead relative addresses to the files of a tag."""
    text = PICTURE_ADDRESS.sub(rf"\g<before>{repository}/raw/{tag}/\g<path>", text)
    return LINK_ADDRESS.sub(rf"\g<before>{repository}/blob/{tag}/\g<path>", text)


def remove_relative(text: str) -> str:
    """Remove relative pictures, and keep only the text of relative links."""
    text = HTML_PICTURE.sub("", PICTURE.sub("", text))
    text = HTML_LINK.sub(r"\g<text>", LINK.sub(r"\g<text>", text))
    return re.sub(r"\n{3,}", "\n\n", text)
