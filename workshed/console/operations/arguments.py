"""Parse the words of a command line as the arguments of a job."""

import re
from typing import Any

from workshed.extras import require_extra

with require_extra("server"):
    import typer

from workshed.console.operations.strict_json import parse_json

KEYWORD = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def split_arguments(words: list[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Split words into positional and keyword arguments; raises `typer.BadParameter`."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        named = None if is_json(word) else KEYWORD.fullmatch(word)
        if named is None:
            args.append(parse_value(word))
        elif named[1] in kwargs:
            raise typer.BadParameter(f"{named[1]} is given twice")
        else:
            kwargs[named[1]] = parse_value(named[2])
    return tuple(args), kwargs


def parse_value(word: str) -> Any:
    """Return the JSON value of a word, or the word itself if it is not JSON."""
    return parse_json(word) if is_json(word) else word


def is_json(word: str) -> bool:
    """Return whether a word is JSON."""
    try:
        parse_json(word)
    except ValueError:
        return False
    return True
