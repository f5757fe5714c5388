"""Parse filters of the history, and format its runs."""

import json
from collections.abc import Sequence
from typing import Any

from workshed.extras import require_extra

with require_extra("server"):
    import typer

from workshed.console.operations.arguments import KEYWORD, parse_value
from workshed.jobs.history.runs import Run
from workshed.jobs.outcomes import OUTCOMES
from workshed.transport.errors import did_you_mean


def parse_outcomes(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the outcomes; raises `typer.BadParameter` for an unknown one."""
    for one in wanted:
        if one not in OUTCOMES:
            hint = did_you_mean(one, OUTCOMES)
            raise typer.BadParameter(f"outcome {one!r}{hint}; there are {', '.join(OUTCOMES)}")
    return tuple(wanted)


def parse_arguments(words: Sequence[str]) -> dict[str, Any] | None:
    """Parse words of the form `name=value`, each value JSON or a string."""
    found = {}
    for word in words:
        named = KEYWORD.fullmatch(word)
        if named is None:
            raise typer.BadParameter(f"argument {word!r} is not of the form NAME=VALUE")
        found[named[1]] = parse_value(named[2])
    return found or None


def run_as_call(run: Run) -> str:
    """Format a run as a call: `deliver_email(email_id=7)`."""
    if run.arguments is None:
        return f"{run.actor}(…)"
    words = [f"{n}={json.dumps(v, ensure_ascii=False)}" for n, v in run.arguments.items()]
    return f"{run.actor}({', '.join(words)})"
