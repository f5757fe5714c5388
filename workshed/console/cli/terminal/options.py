"""Options that several commands share, with the same meaning everywhere."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer

from workshed.console.cli.terminal import completion
from workshed.console.formatting import DURATION_METAVAR, parse_duration

Ids = Annotated[list[str], typer.Argument(metavar="ID", show_default=False)]
MaybeIds = Annotated[list[str] | None, typer.Argument(metavar="ID", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; change nothing.")]
Limit = Annotated[int, typer.Option(min=1, help="Show at most this many.")]
ActorName = Annotated[
    str | None,
    typer.Option(help="Only jobs of this actor.", autocompletion=completion.complete_actors),
]
QueueName = Annotated[
    str | None,
    typer.Option(help="Only jobs of this queue.", autocompletion=completion.complete_queues),
]
TagName = Annotated[str | None, typer.Option(help="Only jobs with this tag.")]
OlderThan = Annotated[
    timedelta | None,
    typer.Option(
        parser=parse_duration,
        metavar=DURATION_METAVAR,
        help="Only jobs sent at least this long ago.",
    ),
]
ErrorName = Annotated[str | None, typer.Option(help="Only errors of this class; - for none.")]
LocationName = Annotated[
    str | None,
    typer.Option(
        "--location", help="Only jobs that failed at `mail.py:12 in deliver`; - for unknown."
    ),
]
Since = Annotated[
    timedelta | None,
    typer.Option(
        parser=parse_duration,
        metavar=DURATION_METAVAR,
        help="Only jobs that died within this time before now.",
    ),
]
All = Annotated[bool, typer.Option("--all", help="Select all that match the other options.")]
QueuePackages = Annotated[
    list[str] | None,
    typer.Option(
        "--import", metavar="PACKAGE", help="Modules whose queues to use; default: all declared."
    ),
]
ActorPackages = Annotated[
    list[str] | None,
    typer.Option(
        "--import", metavar="PACKAGE", help="Modules with actors; default: `actors` of your App."
    ),
]


class BrokerKind(StrEnum):
    """Where jobs are queued."""

    RABBITMQ = "rabbitmq"
    POSTGRESQL = "postgresql"
