"""A command of a unit, a container or a pod, judged by the program that would read it."""

import itertools

import periodiq
import typer

from tests.service.variables import NAMES
from workshed.console.cli import app
from workshed.settings import PREFIX, Settings


def problem(words):
    """What a program says against a command line; nothing where it would run it."""
    program, *rest = words
    if program.rpartition("/")[2] == "periodiq":
        return _of_periodiq(rest)
    assert program.rpartition("/")[2] == "workshed", program
    command, context = typer.main.get_command(app), None
    try:
        while True:
            context = command.make_context(command.name, list(rest), parent=context)
            # What is left over names a command of this one.
            rest = [*context._protected_args, *context.args]  # the words that are not its own
            if not rest:
                return None
            _, command, rest = command.resolve_command(context, rest)
    except Exception as err:  # noqa: BLE001 -- whatever it is
        return str(err)


def _of_periodiq(words):
    try:
        periodiq.make_argument_parser().parse_args(words)
    except SystemExit as end:
        return f"periodiq would end with {end.code}"
    return None


def unknown(environment):
    """Names of our own that are no setting."""
    return {name for name in environment if name.startswith((PREFIX, "SHOP_"))} - NAMES


def load(environment):
    """Settings with these values; raises what is wrong with one."""
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    return Settings(**given)


def queues(words):
    """The queues that `workshed worker` is told to work on."""
    pairs = itertools.pairwise(words)
    split = {value for name, value in pairs if name in {"--queue", "-Q"}}
    return split | {word.removeprefix("--queue=") for word in words if word.startswith("--queue=")}
