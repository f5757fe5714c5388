"""The `workshed` command.

Data goes to stdout, messages for people go to stderr. `CODE_MEANINGS` documents the exit
codes, and is printed at the end of `workshed --help`.

A new command is a line in `COMMANDS`: its name and where its function is (or a `typer.Typer`, for
one with sub-commands). An application adds its own, as `commands` of its `workshed.App`. The
docstring is its help. Its module is imported when the command is used; `workshed --help` and
completion read the line about it from its source.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from workshed import __version__
from workshed.app import get_app as application
from workshed.app import load_object
from workshed.console.summary import read_summary
from workshed.errors import SettingsError, WorkshedError
from workshed.extras import require_extra

with require_extra("server"):
    import typer
    from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "adopt": "workshed.console.cli.fleet.adopt:adopt",
    "batches": "workshed.console.cli.jobs.batches:batches",
    "broker": "workshed.console.cli.fleet.broker:broker",
    "console": "workshed.console.cli.setup.console:console",
    "dead": "workshed.console.cli.jobs.dead:dead",
    "dev": "workshed.console.cli.setup.dev:dev",
    "doctor": "workshed.console.cli.setup.doctor:doctor",
    "enqueue": "workshed.console.cli.jobs.enqueue:enqueue",
    "erase": "workshed.console.cli.jobs.erase:erase",
    "init": "workshed.console.cli.setup.init:init",
    "job": "workshed.console.cli.jobs.job:job",
    "jobs": "workshed.console.cli.jobs.jobs:jobs",
    "limits": "workshed.console.cli.fleet.limits:limits",
    "migrate": "workshed.console.cli.setup.migrate:migrate",
    "queues": "workshed.console.cli.fleet.queues:queues",
    "periodic": "workshed.console.cli.fleet.periodic:periodic",
    "relay": "workshed.console.cli.fleet.relay:relay",
    "roles": "workshed.console.cli.setup.roles:roles",
    "scheduled": "workshed.console.cli.jobs.scheduled:scheduled",
    "unique": "workshed.console.cli.fleet.unique:unique",
    "worker": "workshed.console.cli.fleet.worker:worker",
    "workers": "workshed.console.cli.fleet.workers:workers",
}

CODE_MEANINGS = {
    0: "done",
    1: "failed, entirely or in part",
    2: "wrong usage or settings, or missing migrations",
    3: "RabbitMQ does not answer",
    4: "PostgreSQL does not answer",
    5: "unknown id or name",
    70: "a thread of a worker died, or its I/O loop hung",
    71: "a job in a worker ran past its hard time limit",
    72: "a child of `workshed worker` did not stop in time and was killed",
    124: "a job did not end within `--timeout`",
    130: "interrupted by Ctrl-C",
}

# By class name, so that looking up a code imports no module.
EXIT_CODES = {
    "SettingsError": 2,
    "MigrationError": 2,
    "NotConfirmedError": 2,
    "UndeclaredQueueError": 2,
    "InvalidArgumentError": 2,
    "InvalidOptionError": 2,
    "MissingExtraError": 2,
    "ServiceNameError": 2,
    "BrokerUnreachableError": 3,
    "DatabaseUnreachableError": 4,
    "NotFoundError": 5,
    "StillWaitingError": 124,
}
FAILED = 1
INTERRUPTED = 130
"""Typer's code for a command that does not handle Ctrl-C itself."""


def collect_commands() -> dict[str, str]:
    """Return Workshed's commands and the application's; only Workshed's if the App cannot load.

    The command that needs the App then reports why it cannot load.
    """
    try:
        added = application().commands
    except SettingsError:
        return COMMANDS
    if taken := sorted(COMMANDS.keys() & added.keys()):
        raise SettingsError(f"your App adds the command {taken[0]!r}, which Workshed already has")
    return dict(sorted({**COMMANDS, **added}.items()))


class LazyCommands(TyperGroup):
    """All commands, each imported when it is used."""

    # `Any` below: typer's context and command classes are in a private module.

    def __init__(self, **attrs: Any) -> None:
        """Register the names, so that typer can suggest one for a misspelt command."""
        super().__init__(**attrs)
        self._import_paths = self.import_paths()
        names: dict[str, Any] = dict.fromkeys(self._import_paths)
        self.commands = names
        self._is_listing = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse without pydantic, whose import takes half of the time of a completion.

        Typer uses it for every value that is no `bool`. Its own options for completion are flags
        whose default is `None`.
        """
        options: list[Any] = self.get_params(ctx)
        for option in options:
            if getattr(option, "is_flag", False) and option.default is None:
                option.default = False
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def import_paths(self) -> Mapping[str, str]:
        """Return the import path of each command, by name."""
        return collect_commands()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return all names, in the order of `COMMANDS`, or sorted if an application adds some."""
        return list(self._import_paths)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """List the commands, each by the line about it."""
        with self._list_only():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Offer the commands likewise."""
        with self._list_only():
            return super().shell_complete(ctx, incomplete)

    @contextmanager
    def _list_only(self) -> Iterator[None]:
        self._is_listing = True
        try:
            yield
        finally:
            self._is_listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in self._import_paths:
            return None
        if self._is_listing and (summary := read_summary(self._import_paths[cmd_name])):
            return TyperCommand(cmd_name, short_help=summary)
        target = load_object(self._import_paths[cmd_name])
        command = typer.main.get_command(as_typer(target, cmd_name))
        command.name = cmd_name
        write_plain_help(command)
        return command


def write_plain_help(command: Any) -> None:
    """Let a command and its sub-commands write help without rich, whose import takes longer."""
    command.rich_markup_mode = None
    # Otherwise a list of commands shows only the words that fit on one line.
    if not command.short_help:
        command.short_help = " ".join((command.help or "").partition("\n\n")[0].split())
    for each in getattr(command, "commands", {}).values():
        if each is not None:  # a command that is not imported yet
            write_plain_help(each)


def as_typer(command: Callable[..., object] | typer.Typer, name: str | None = None) -> typer.Typer:
    """Return a command as a `typer.Typer`; wrap a plain function in one."""
    if isinstance(command, typer.Typer):
        return command
    line = typer.Typer(**TYPER_OPTIONS, add_completion=False)
    line.command(name)(command)
    return line


TYPER_OPTIONS: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
"""Arguments for every `typer.Typer`, including those of applications."""

app = typer.Typer(
    **TYPER_OPTIONS,
    cls=LazyCommands,
    name="workshed",
    no_args_is_help=True,
    epilog="Exit codes: "
    + "; ".join(f"{code} {meaning}" for code, meaning in CODE_MEANINGS.items())
    + ".",
)


def print_version(is_requested: bool) -> None:
    """Print the version and exit, if wanted."""
    if is_requested:
        print(f"workshed {__version__}")
        raise typer.Exit


@app.callback()
def workshed(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Background jobs on RabbitMQ and PostgreSQL."""


def main() -> None:
    """Run the command line."""
    run_command(app)


def run_command(command: Callable[..., object] | typer.Typer, name: str = "workshed") -> None:
    """Run a command, Workshed's or an application's; print a `WorkshedError` and exit by its code.

    Any other exception propagates.
    """
    try:
        as_typer(command)(prog_name=name)
    except WorkshedError as err:
        print(f"{name}: {err}", file=sys.stderr)
        raise SystemExit(exit_code(err)) from None


def exit_code(error: WorkshedError) -> int:
    """Return the documented code for an error."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((EXIT_CODES[name] for name in names if name in EXIT_CODES), FAILED)
