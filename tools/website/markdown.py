"""Markdown of the repository, as the site's generator needs it."""

import os.path
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

CODE = re.compile(
    r"^(?P<fence>`{3,}|~{3,})[^\n]*\n.*?^(?P=fence)$|`(?:[^`\n]|\n(?!\n))+`",
    re.DOTALL | re.MULTILINE,
)
"""A fenced block, or code within a line."""
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
PICTURE = re.compile(
    r"<picture>\s*<source [^>]*dark[^>]*srcset=\"(?P<dark>[^\"]+)\">\s*"
    r"<img src=\"(?P<light>[^\"]+)\"(?P<rest>[^>]*)>\s*</picture>"
)
BOTH = (
    r'<p><img src="\g<light>#only-light"\g<rest>>'
    r'<img src="\g<dark>#only-dark" loading="lazy"\g<rest>></p>'
)
"""Two images, of which the theme shows that of its scheme; readers may choose another than their
system's, which a `<picture>` would show."""
NAMED_BY_FILE = re.compile(r"\[[\w./-]+\.md\](?=\((?P<path>[^)#\s]+)[)#])")
LINK = re.compile(r"(?P<before>\]\(|\b(?:src|srcset|href)=\")(?P<path>[^)\"#\s:]+)(?=[)#\"])")


@dataclass(frozen=True)
class LinkTarget:
    """The file that a link leads to."""

    place: PurePosixPath
    """Where it is on the site."""
    title: str


def convert_page(text: str, page: PurePosixPath, find: Callable[[str], LinkTarget]) -> str:
    """Return the text of a page for the site.

    `find` returns the target of a link's path. A link that shows the name of a file, such as
    `limits.md`, shows the title of the page instead.
    """
    folder = page.parent

    def name(link: re.Match[str]) -> str:
        return f"[{find(link['path']).title}]"

    def move(link: re.Match[str]) -> str:
        return link["before"] + os.path.relpath(find(link["path"]).place, folder)

    def convert_prose(prose: str) -> str:
        return LINK.sub(move, NAMED_BY_FILE.sub(name, PICTURE.sub(BOTH, prose)))

    return map_prose(text, convert_prose)


def read_title(text: str) -> str:
    """Return the first heading of a page."""
    found = TITLE.search(text)
    if found is None:
        raise ValueError("a page needs a heading of the first level")
    return found[1]


def map_prose(text: str, convert: Callable[[str], str]) -> str:
    """Return a text in which everything outside code is converted."""
    parts, end = [], 0
    for block in CODE.finditer(text):
        parts += [convert(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, convert(text[end:])])
