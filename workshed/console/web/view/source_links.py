"""Links from the frames of a traceback to the program's repository."""

from urllib.parse import quote

from workshed.console.web.view.tracebacks import FRAME
from workshed.settings import settings
from workshed.value_class import value_class


@value_class
class SourceLine:
    """A line of a traceback, and the address of the source that it names."""

    text: str
    link: str | None


def link_lines(text: str, release: str | None) -> list[SourceLine]:
    """Return the lines of a traceback, with links to this release by `WORKSHED_SOURCE_LINK`."""
    folder, _, address = settings().source_link.partition("=")
    return [
        SourceLine(line, find_link(line, folder, address, release) if address else None)
        for line in text.split("\n")
    ]


def find_link(line: str, folder: str, address: str, release: str | None) -> str | None:
    """Return the address for the first line of a frame whose file is in the folder, or `None`."""
    frame = FRAME.match(line)
    if frame is None or ("{release}" in address and not release):
        return None
    path, root = (text.replace("\\", "/") for text in (frame["path"], folder))
    inside = path.removeprefix(f"{root.rstrip('/')}/")
    if inside == path or ".." in inside.split("/"):
        return None
    values = {"{path}": inside, "{line}": frame["line"], "{release}": release or ""}
    for name, value in values.items():
        address = address.replace(name, quote(value))
    return address
