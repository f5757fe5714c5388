"""`workshed broker`: the exchange and the queues."""

from pathlib import Path
from typing import Annotated

import typer

from workshed.console.cli.fleet.drain import drain
from workshed.console.cli.terminal.options import Json, QueuePackages
from workshed.console.cli.terminal.output import print_json, print_message
from workshed.console.operations.environment import (
    open_management,
    require_queues,
    require_rabbitmq,
)
from workshed.console.rabbitmq import amqp
from workshed.console.rabbitmq.drift import find_differences
from workshed.console.rabbitmq.password_file import ensure_passwords
from workshed.settings import settings
from workshed.transport.amqp import topology
from workshed.transport.amqp.accounts import build_accounts
from workshed.transport.amqp.arguments import (
    NEWEST_VERSION,
    OLDEST_VERSION,
    is_version,
    parse_version,
)
from workshed.transport.amqp.definitions import build_definitions as made
from workshed.transport.errors import BrokerUnreachableError, TopologyError

broker = typer.Typer(
    add_completion=False,
    help="Create or check RabbitMQ's exchange and queues, or move their jobs to PostgreSQL.",
    no_args_is_help=True,
)

INSTEAD = "queues are rows of PostgreSQL; `workshed migrate` creates the tables"
SET_MANAGEMENT_URL = "export WORKSHED_MANAGEMENT_URL=http://user:password@host:15672"


@broker.command()
def setup(*, packages: QueuePackages = None, as_json: Json = False) -> None:
    """Declare the exchange and the queues; queues that exist as declared are not changed.

    With --import: only the queues that PACKAGE declares or that its actors use. By default, every
    declared queue.
    """
    wanted = require_queues(packages or ())
    require_rabbitmq(INSTEAD).ensure_queues(set(wanted))
    if as_json:
        print_json([{"queue": name} for name in wanted])
        return
    for name in wanted:
        print(name)


@broker.command()
def check(*, packages: QueuePackages = None, as_json: Json = False) -> None:
    """Check that the queues of `workshed broker setup` exist as declared; change nothing.

    Comparing arguments and bindings needs RabbitMQ's management API (WORKSHED_MANAGEMENT_URL).
    """
    api = open_management(INSTEAD)
    wanted = require_queues(packages or ())
    if api is None:
        topology.verify_queues(require_rabbitmq(INSTEAD).urls, wanted.values())
        if as_json:
            print_json({"queues": len(wanted), "compared": False})
        else:
            print(f"{len(wanted)} queues exist")
        print_message(f"Their arguments and bindings were not checked: {SET_MANAGEMENT_URL}")
        return
    wrong = find_differences(api, wanted.values())
    if wrong:
        raise TopologyError("\n".join(f"{one.message}\n  -> {one.fix}" for one in wrong))
    if as_json:
        print_json({"queues": len(wanted), "compared": True})
    else:
        print(f"{len(wanted)} queues exist as declared")


@broker.command()
def definitions(
    *,
    vhost: Annotated[
        str | None, typer.Option(help="Virtual host; default: that of WORKSHED_BROKER_URL.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Prefix of the account names.")] = "workshed",
    pools: Annotated[
        list[str] | None,
        typer.Option(
            "--pool",
            metavar="NAME=QUEUE,QUEUE",
            help="A worker pool with an account of its own, and its queues; repeatable.",
        ),
    ] = None,
    passwords: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Lines of user=password; missing passwords are generated and added.",
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(
            "--rabbitmq",
            metavar="VERSION",
            help="RabbitMQ version to write for, for example 4.3; default: the server's version, "
            "or the newest if no server answers.",
        ),
    ] = None,
    packages: QueuePackages = None,
    as_json: Json = False,
) -> None:
    """Print RabbitMQ definitions: exchange, queues, bindings, and an account for each component.

    For `rabbitmqctl import_definitions`, `load_definitions` in rabbitmq.conf, or the management
    API. Accounts without a password cannot log in with one. Passwords are printed as hashes only.
    """
    _ = as_json  # the output is always JSON
    require_rabbitmq(INSTEAD)
    known = require_queues(packages or ())
    named = parse_pools(pools or [])
    people = build_accounts(known, named, prefix, settings().queue_prefix)
    secret = {} if passwords is None else ensure_passwords(passwords, [one.name for one in people])
    url = settings().broker_url.get_secret_value().split(";")[0]
    place = vhost or amqp.url_vhost(url)
    print_json(made(place, known.values(), people, secret, choose_version(release, url)))
    alone = known.keys() - {name for names in named.values() for name in names}
    if named and alone:
        print_message(f"No pool may read {', '.join(sorted(alone))}.")


broker.command()(drain)


def choose_version(release: str | None, url: str) -> tuple[int, int]:
    """Return the version to write definitions for: the given, else the server's, else the newest.

    Raises `typer.BadParameter`.
    """
    if release is not None:
        if not is_version(release) or parse_version(release) < OLDEST_VERSION:
            raise typer.BadParameter(
                f"{release!r} is not a version such as "
                f"{topology.format_version(NEWEST_VERSION)}, or is "
                f"older than {topology.format_version(OLDEST_VERSION)}",
                param_hint="--rabbitmq",
            )
        return parse_version(release)
    try:
        with topology.open_connection([url]) as connection:
            return topology.server_version(connection)
    except BrokerUnreachableError:
        print_message(
            f"Written for RabbitMQ {topology.format_version(NEWEST_VERSION)}, because no server "
            "answers; "
            "use --rabbitmq VERSION for another."
        )
        return NEWEST_VERSION


def parse_pools(words: list[str]) -> dict[str, list[str]]:
    """Parse `mail=emails,bulk`; a pool that is given again gets the queues of both."""
    found: dict[str, list[str]] = {}
    for word in words:
        name, _, names = word.partition("=")
        if not name or not all(names.split(",")):
            raise typer.BadParameter(
                f"{word!r} is not of the form mail=emails,bulk", param_hint="--pool"
            )
        found.setdefault(name, []).extend(names.split(","))
    return found
