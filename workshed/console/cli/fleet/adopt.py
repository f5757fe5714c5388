"""`workshed adopt`: take over the queues of a deployment of stock dramatiq."""

import signal
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from workshed.console.adoption.adopter import Adopter
from workshed.console.adoption.storage import Fate
from workshed.console.cli.terminal import completion
from workshed.console.cli.terminal.audit import record_action
from workshed.console.cli.terminal.options import ActorPackages
from workshed.console.cli.terminal.output import print_message
from workshed.console.formatting import DURATION_METAVAR, parse_duration
from workshed.console.operations.environment import (
    import_actors,
    open_database,
    require_broker,
)
from workshed.errors import SettingsError
from workshed.threads.background import BackgroundThread
from workshed.transport.amqp.url import display_address
from workshed.transport.consuming_broker import ConsumingBroker
from workshed.transport.errors import UndeclaredQueueError

REPORT_EVERY_S = 10.0
FATES: dict[Fate, str] = {
    "ready": "ready",
    "delayed": "delayed",
    "retried": "waiting for a retry",
    "dead": "dead",
    "refused": "refused, see `workshed dead`",
    "duplicate": "moved before, or with a unique key that is taken",
}


def adopt(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="URL of the RabbitMQ with dramatiq's queues: amqp://…/vhost."
        ),
    ],
    queues: Annotated[
        list[str],
        typer.Argument(
            metavar="QUEUE",
            help="Name of a queue, without .DQ and .XQ.",
            autocompletion=completion.complete_queues,
        ),
    ],
    *,
    dead: Annotated[
        bool,
        typer.Option("--dead", help="Also take the dead jobs of .XQ into `workshed dead`."),
    ] = False,
    until_idle: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_duration,
            metavar=DURATION_METAVAR,
            help="Exit after this long without a message; default: never.",
        ),
    ] = None,
    packages: ActorPackages = None,
) -> None:
    """Move the jobs of stock dramatiq's queues here, until Ctrl-C or SIGTERM.

    Stop dramatiq's workers first: this command waits until they are gone. Programs
    that still use dramatiq can keep sending, and their messages are moved as they
    arrive. Delayed ones keep their due time, and failed ones their number of
    attempts. A message is acknowledged there once it is stored here, so you can
    kill this command at any time: start it again, and each message still runs once.
    A message that cannot run here becomes a dead job with the reason.
    """
    broker = require_broker()
    import_actors(packages or ())
    check_source(url, queues, broker)
    adopter = Adopter(url, queues, broker, with_dead=dead)
    adopter.check()
    with open_database():
        print_message(f"Moving {', '.join(queues)} of {display_address(url)}; Ctrl-C ends it.")
        try:
            with ending_by_signal(adopter.stopped), reporting(adopter.counts):
                adopter.run(print_message, until_idle)
        finally:
            broker.close()
            print_message(f"{describe(adopter.counts)}.")
            record(adopter.counts, url, queues)


def check_source(url: str, queues: list[str], broker: ConsumingBroker[Any]) -> None:
    """Raise `SettingsError` for another kind of URL, or `UndeclaredQueueError`."""
    if urlsplit(url).scheme not in ("amqp", "amqps"):
        raise SettingsError(f"{url.partition('@')[2] or url} must start with amqp:// or amqps://")
    for queue in queues:
        if queue not in broker.declared_queues:
            raise UndeclaredQueueError(queue, broker.declared_queues)


@contextmanager
def ending_by_signal(stopped: threading.Event) -> Generator[None]:
    """In the block, Ctrl-C and SIGTERM set the event, so that no batch is cut.

    In a thread: the signal may interrupt the main thread while it has the lock of the event.
    """
    before = {
        number: signal.signal(number, lambda *_: threading.Thread(target=stopped.set).start())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def reporting(counts: Counter[Fate]) -> Generator[None]:
    """In the block, print the counts every 10 s if they have changed."""
    printed: dict[Fate, int] = {}

    def report() -> None:
        if printed != counts:
            printed.update(counts)
            print_message(f"{describe(counts)} …")

    thread = BackgroundThread("counts", report, REPORT_EVERY_S, delay_s=REPORT_EVERY_S)
    thread.start()
    try:
        yield
    finally:
        thread.stop()


def describe(counts: Counter[Fate]) -> str:
    """Describe what became of all messages so far."""
    parts = [f"{counts[fate]:,} {text}" for fate, text in FATES.items() if counts[fate]]
    return f"{counts.total():,} messages" + (f": {', '.join(parts)}" if parts else "")


def record(counts: Counter[Fate], url: str, queues: list[str]) -> None:
    """Write the audit entry."""
    about: dict[str, Any] = {"from": display_address(url), "queues": queues, "messages": counts}
    with open_database() as conn:
        record_action(conn, "adopt", about, count=counts.total(), said=f"{describe(counts)}.")
