"""`workshed init`: write a new service."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from workshed.console.cli.terminal.options import BrokerKind


def init(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the service and of its new folder.")
    ],
    *,
    broker: Annotated[
        BrokerKind, typer.Option(help="Queue jobs in rabbitmq, or in postgresql alone.")
    ] = BrokerKind.RABBITMQ,
) -> None:
    """Write a new service: an actor with its test, queues, settings, deployment files.

    Creates the folder NAME. In it, `make demo` runs three jobs on private servers,
    and `make test` runs its tests. The files are yours from then on: Workshed does
    not read or change them again. With --broker postgresql, the service needs no
    RabbitMQ.
    """
    from workshed.console.cli.terminal.output import print_message
    from workshed.console.scaffold.render import render_service
    from workshed.console.scaffold.service import new_service
    from workshed.errors import WorkshedError

    service = new_service(name, rabbitmq=broker == BrokerKind.RABBITMQ)
    folder = Path(name)
    if folder.exists():
        raise WorkshedError(f"{folder} exists already: choose another name, or move it away")
    files = render_service(service)
    write_files(folder, files)
    print_message(f"{len(files)} files are in {folder}. Next: cd {folder} && make demo")
    print_message("Until Workshed is on PyPI, put its wheel there first: see README.md.")


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Write all files below a new folder, which appears once it is complete."""
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent) as temporary:
        for path, text in files.items():
            file = Path(temporary) / "service" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        shutil.move(Path(temporary) / "service", folder)
