"""`workshed broker`: the exchange and the queues."""

import typer

from console.cli.options import Json

broker = typer.Typer(
    add_completion=False, help="Make or check RabbitMQ's exchange and queues.", no_args_is_help=True
)

HOW = "export WORKSHED_MANAGEMENT_URL=http://user:password@host:15672"


@broker.command()
def setup(*, as_json: Json = False) -> None:
    """Declare the exchange and every declared queue; what is there as declared stays as it is."""
    from console.cli.output import print_json
    from console.program import rabbitmq

    found = rabbitmq()
    found.ensure_queues(set(found.declared))
    if as_json:
        print_json([{"queue": name} for name in found.declared])
        return
    for name in found.declared:
        print(name)


@broker.command()
def check(*, as_json: Json = False) -> None:
    """See that every declared queue exists, and is as declared; change nothing.

    How a queue was made only RabbitMQ's management API tells.
    """
    from brokers import topology
    from brokers.errors import TopologyError
    from console.cli.output import print_json, talk
    from console.program import management, rabbitmq
    from console.topology import differences

    found, api = rabbitmq(), management()
    if api is None:
        topology.check(found.urls, found.declared.values())
        if as_json:
            print_json({"queues": len(found.declared), "compared": False})
        else:
            print(f"{len(found.declared)} queues are there")
        talk(f"Their arguments and bindings were not checked: {HOW}")
        return
    wrong = differences(api, found.declared.values())
    if wrong:
        raise TopologyError("\n".join(f"{one.said}\n  -> {one.mend}" for one in wrong))
    if as_json:
        print_json({"queues": len(found.declared), "compared": True})
    else:
        print(f"{len(found.declared)} queues are there, as declared")
