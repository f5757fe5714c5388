"""Parse the words of a command line as the arguments of a job."""

import re
from typing import Any

from workshed.extras import needed

with needed("server"):
    import typer

from workshed.console.operations.strict_json import loads

KEYWORD = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def arguments(words: list[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Split words into positional and keyword arguments; raises `typer.BadParameter`."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        named = None if is_json(word) else KEYWORD.fullmatch(word)
        if named is None:
            args.append(value(word))
        elif named[1] in kwargs:
            raise typer.BadParameter(f"{named[1]} is given twice")
        else:
            kwargs[named[1]] = value(named[2])
    return tuple(args), kwargs


def value(word: str) -> Any:
    """Return the JSON value of a word, or the word itself if it is not JSON."""
    return loads(word) if is_json(word) else word


def is_json(word: str) -> bool:
    """Tell whether a word is JSON."""
    try:
        loads(word)
    except ValueError:
        return False
    return True
