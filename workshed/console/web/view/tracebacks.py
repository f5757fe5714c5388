"""Split a traceback, so that the frames of the program stand out from those of libraries."""

import os
import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import workshed
from workshed.value_class import value_class

FRAME = re.compile(r'^[ |+]*File "(?P<path>.+)", line (?P<line>\d+)(, in .+)?$')
"""The first line of a frame; those of exception groups are indented with bars."""
INSTALLED = re.compile(r"[/\\](site-packages|dist-packages)[/\\]|^<frozen ")
STANDARD_LIBRARY = re.compile(r"[/\\](lib(64)?[/\\]python3\.\d+|Python3\d+[/\\]Lib)[/\\]")
"""Of any machine, because workers may run on another one than this console."""
OWN_PATH = re.compile(r".*[/\\]workshed[/\\](.+)$")
OWN_FOLDER = Path(workshed.__file__).parent


@value_class
class TracebackPart:
    """Adjacent lines of a traceback."""

    text: str
    library_frames: int
    """How many frames of libraries these are; 0: the program's own, or no frames."""


def split_traceback(text: str) -> list[TracebackPart]:
    """Return the parts of a traceback, in order; together they are the text.

    If all frames are of libraries, they are one part, as if they were the program's.
    """
    found = list(_split_frames(text))
    if all(map(_is_of_library, filter(_has_location, found))):
        return [TracebackPart(text.rstrip("\n"), 0)]
    parts = []
    for is_library, frames in groupby(found, key=_is_of_library):
        several = list(frames)
        lines = [line for frame in several for line in frame]
        parts.append(TracebackPart("\n".join(lines), len(several) if is_library else 0))
    return parts


def _split_frames(text: str) -> Iterable[list[str]]:
    """Yield the lines of each frame, and those between frames."""
    frame: list[str] = []
    indent = 0
    for line in text.rstrip("\n").split("\n"):
        is_start = FRAME.match(line) is not None
        if frame and (is_start or _measure_indent(line) < indent):
            yield frame
            frame = []
        if not frame:
            # The lines of code of a frame are indented more than its first line.
            indent = _measure_indent(line) + 1 if is_start else 0
        frame.append(line)
    yield frame


def _measure_indent(line: str) -> int:
    return len(line) - len(line.lstrip(" |+"))


def _has_location(frame: list[str]) -> bool:
    return FRAME.match(frame[0]) is not None


def _is_of_library(frame: list[str]) -> bool:
    start = FRAME.match(frame[0])
    return start is not None and is_library_path(start["path"])


@lru_cache(maxsize=1000)
def is_library_path(path: str) -> bool:
    """Return whether a file belongs to an installed package, the standard library or Workshed."""
    own = OWN_PATH.match(path)
    # Not `Path.is_file`, which fails for a name that is too long; a path may be any text.
    if own is not None and os.path.isfile(OWN_FOLDER / own[1]):  # noqa: PTH113
        return True
    return bool(INSTALLED.search(path) or STANDARD_LIBRARY.search(path))
