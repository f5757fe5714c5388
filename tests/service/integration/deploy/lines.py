"""The command of a unit, a container or a pod, checked by the program that would run it."""

import itertools

import periodiq
import typer

from tests.service.variables import NAMES
from workshed.console.cli import app
from workshed.settings import PREFIX, Settings


def problem(words):
    """Return a program's error for a command line; empty if it would run it."""
    program, *rest = words
    if program.rpartition("/")[2] == "periodiq":
        return _of_periodiq(rest)
    assert program.rpartition("/")[2] == "workshed", program
    command, context = typer.main.get_command(app), None
    try:
        while True:
            context = command.make_context(command.name, list(rest), parent=context)
            # The remaining words start with a subcommand.
            rest = [*context._protected_args, *context.args]  # not the program's own words
            if not rest:
                return None
            _, command, rest = command.resolve_command(context, rest)
    except Exception as err:  # noqa: BLE001 -- any error is a problem
        return str(err)


def _of_periodiq(words):
    try:
        periodiq.make_argument_parser().parse_args(words)
    except SystemExit as end:
        return f"periodiq would end with {end.code}"
    return None


def unknown(environment):
    """Return names with our prefixes that are no settings."""
    return {name for name in environment if name.startswith((PREFIX, "SHOP_"))} - NAMES


def load(environment):
    """Return settings with these values; raises if one is wrong."""
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    return Settings(**given)


def queues(words):
    """Return the queues that `workshed worker` would work on."""
    pairs = itertools.pairwise(words)
    split = {value for name, value in pairs if name in {"--queue", "-Q"}}
    return split | {word.removeprefix("--queue=") for word in words if word.startswith("--queue=")}
