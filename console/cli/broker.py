"""`workshed broker`: the exchange and the queues."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from brokers.rabbitmq import RabbitMQ

broker = typer.Typer(help="Make or check RabbitMQ's exchange and queues.", no_args_is_help=True)


@broker.command()
def setup() -> None:
    """Declare the exchange and every declared queue; what is there as declared stays as it is."""
    found = rabbitmq()
    found.ensure_queues(set(found.declared))
    for name in found.declared:
        print(name)


@broker.command()
def check() -> None:
    """See that every declared queue exists; change nothing."""
    from brokers import topology

    found = rabbitmq()
    topology.check(found.urls, found.declared.values())
    print(f"{len(found.declared)} queues are there")


def rabbitmq() -> "RabbitMQ":
    """Return the broker of this environment, if it is a real one."""
    from brokers import build
    from brokers.rabbitmq import RabbitMQ
    from workshed.errors import SettingsError

    found = build.broker()
    if not isinstance(found, RabbitMQ):
        raise SettingsError("stub:// has no queues; set WORKSHED_BROKER_URL to a RabbitMQ")
    return found
