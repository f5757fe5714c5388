"""Where the demo queues its jobs: in RabbitMQ, or in PostgreSQL alone."""

from rich.console import Console

from workshed.console.cli.setup.dev import choose_broker, is_without_rabbitmq, print_message
from workshed.console.cli.terminal.options import BrokerKind
from workshed.devserver import ServerError, install
from workshed.settings import Settings

WITHOUT_RABBITMQ = "Starting PostgreSQL and a mail server; jobs are queued in PostgreSQL alone …"
FALLBACK = "RabbitMQ is neither installed nor installable here, so the demo does without it."


def choose_servers(console: Console, broker: BrokerKind | None) -> Settings:
    """Print and return what the demo runs on: RabbitMQ, unless it cannot be had here.

    With `BrokerKind.RABBITMQ`, raises `ServerError` instead if it is missing.
    """
    given = choose_broker(broker)
    if broker is None and "broker_url" not in given.given and not _has_rabbitmq():
        console.print(FALLBACK)
        given = choose_broker(BrokerKind.POSTGRESQL)
    if is_without_rabbitmq(given):
        console.print(WITHOUT_RABBITMQ)
    else:
        console.print("Starting PostgreSQL, RabbitMQ and a mail server …")
    return given


def _has_rabbitmq() -> bool:
    """Return whether it is installed, after installing it if that is possible."""
    try:
        install.ensure_installed(print_message)
    except ServerError:
        return False
    return True
