"""Parse filters of the history, and format its runs."""

import json
from collections.abc import Sequence
from typing import Any

from workshed.extras import require_extra

with require_extra("server"):
    import typer

from workshed.console.operations.arguments import KEYWORD, is_json, parse_value
from workshed.jobs.history.runs import Run
from workshed.jobs.outcomes import OUTCOMES
from workshed.transport.errors import did_you_mean
from workshed.value_class import value_class

NUL, ESCAPED_BACKSLASH = r"\u0000", r"\\"
"""In JSON."""


@value_class
class ArgumentFilter:
    """What an argument is compared with."""

    name: str | None
    """`None`: any argument."""
    value: Any

    def describe(self) -> str:
        """Say what is compared with what."""
        said = _to_json(self.value)
        if self.name is None:
            found = f"Matches jobs with any argument equal to {said}"
        elif isinstance(self.value, dict | list):
            found = f"Matches jobs whose argument {self.name} contains {said}"
        else:
            found = f"Matches jobs whose argument {self.name} equals {said}"
        if isinstance(self.value, str):
            return f"{found}, a text."
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            return f'{found}, a number. For the text, write "{said}" in quotes.'
        return f"{found}."


def parse_argument_filter(text: str) -> ArgumentFilter:
    """Parse `order_id=7` or just a value; raises `typer.BadParameter`."""
    named = None if is_json(text) else KEYWORD.fullmatch(text)
    name, value = (None, text) if named is None else (named[1], named[2])
    found = ArgumentFilter(name, parse_value(value))
    _require_storable(text, found.value)
    if name is None and isinstance(found.value, dict | list):
        raise typer.BadParameter(f"write NAME={text} to find a list or an object")
    return found


def parse_outcomes(names: Sequence[str]) -> tuple[str, ...]:
    """Return the outcomes; raises `typer.BadParameter` for an unknown one."""
    for one in names:
        if one not in OUTCOMES:
            hint = did_you_mean(one, OUTCOMES)
            raise typer.BadParameter(f"outcome {one!r}{hint}; there are {', '.join(OUTCOMES)}")
    return tuple(names)


def parse_arguments(words: Sequence[str]) -> dict[str, Any] | None:
    """Parse words of the form `name=value`, each value JSON or a string."""
    found = {}
    for word in words:
        named = KEYWORD.fullmatch(word)
        if named is None:
            raise typer.BadParameter(f"argument {word!r} is not of the form NAME=VALUE")
        found[named[1]] = parse_value(named[2])
        _require_storable(word, found[named[1]])
    return found or None


def run_as_call(run: Run) -> str:
    """Format a run as a call: `deliver_email(email_id=7)`."""
    if run.arguments is None:
        return f"{run.actor}(…)"
    words = [f"{n}={_to_json(v)}" for n, v in run.arguments.items()]
    return f"{run.actor}({', '.join(words)})"


def _require_storable(word: str, value: Any) -> None:
    """Refuse a value that no stored argument can have, and that PostgreSQL cannot read."""
    try:
        said = json.dumps(value, ensure_ascii=False, allow_nan=False)
        said.encode()
    except ValueError:  # a number like 1e400, or half of a surrogate pair
        said = NUL
    if NUL in said.replace(ESCAPED_BACKSLASH, ""):
        raise typer.BadParameter(f"argument {word!r} has a value that PostgreSQL cannot store")


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
