"""`workshed broker`: the exchange and the queues."""

import typer

broker = typer.Typer(
    add_completion=False, help="Make or check RabbitMQ's exchange and queues.", no_args_is_help=True
)

HOW = "export WORKSHED_MANAGEMENT_URL=http://user:password@host:15672"


@broker.command()
def setup() -> None:
    """Declare the exchange and every declared queue; what is there as declared stays as it is."""
    from console.program import rabbitmq

    found = rabbitmq()
    found.ensure_queues(set(found.declared))
    for name in found.declared:
        print(name)


@broker.command()
def check() -> None:
    """See that every declared queue exists, and is as declared; change nothing.

    How a queue was made only RabbitMQ's management API tells.
    """
    from brokers import topology
    from brokers.errors import TopologyError
    from console.cli.output import talk
    from console.program import management, rabbitmq
    from console.topology import differences

    found, api = rabbitmq(), management()
    if api is None:
        topology.check(found.urls, found.declared.values())
        print(f"{len(found.declared)} queues are there")
        talk(f"Their arguments and bindings were not checked: {HOW}")
        return
    wrong = differences(api, found.declared.values())
    if wrong:
        raise TopologyError("\n".join(f"{one.said}\n  -> {one.mend}" for one in wrong))
    print(f"{len(found.declared)} queues are there, as declared")
