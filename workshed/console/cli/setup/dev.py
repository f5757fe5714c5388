"""`workshed dev`: run the servers that a worker needs on this machine, until Ctrl-C."""

import contextlib
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import psycopg
import typer

from workshed import db
from workshed.console.cli.setup.wipe import wipe_data
from workshed.console.cli.terminal.options import BrokerKind, DryRun, Yes
from workshed.devserver import ALL_KINDS, DevServers, install
from workshed.devserver.cluster import Cluster
from workshed.devserver.stack import WITHOUT_RABBITMQ_URL
from workshed.errors import DatabaseUnreachableError
from workshed.migrate import apply_pending, list_streams
from workshed.settings import Settings, settings

POLL_S = 0.25
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
URLS = ("database_url", "broker_url", "management_url", "smtp_url")


def dev(  # noqa: PLR0913 -- an option each
    *,
    reset: Annotated[
        bool, typer.Option("--reset", help="Wipe the data first; asks for confirmation.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    install_only: Annotated[
        bool, typer.Option("--install-only", help="Install RabbitMQ if needed, and exit.")
    ] = False,
    postgres: Annotated[bool, typer.Option("--postgres", help="Start only PostgreSQL.")] = False,
    broker: Annotated[
        BrokerKind | None,
        typer.Option(
            help="Queue jobs in rabbitmq, or in postgresql alone; default: as WORKSHED_BROKER_URL "
            "says, else rabbitmq.",
            show_default=False,
        ),
    ] = None,
    nodes: Annotated[
        int, typer.Option(help="RabbitMQ nodes: 1, or a cluster of 3.", metavar="1|3")
    ] = 1,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Keep data in a temporary folder, removed on exit.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one line of JSON when ready; stop when the calling process exits.",
        ),
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Folder for data and logs; default: one for each project.", show_default=False
        ),
    ] = None,
) -> None:
    """Run a private PostgreSQL, RabbitMQ and mail server until Ctrl-C.

    A server that WORKSHED_DATABASE_URL, WORKSHED_BROKER_URL or WORKSHED_SMTP_URL names is used
    instead, and no private one is started.

    With --broker postgresql or WORKSHED_BROKER_URL=postgresql:, jobs are queued in PostgreSQL, and
    no RabbitMQ is started or installed.

    With --nodes 3, RabbitMQ is a cluster with its own data, and quorum queues have three members.
    A killed node is restarted.
    """
    if (yes or dry_run) and not reset:
        raise typer.BadParameter("--yes and --dry-run need --reset")
    if install_only:
        if postgres or reset or fresh or as_json or broker or nodes != 1:
            raise typer.BadParameter(
                "--install-only starts nothing, so it cannot be combined with other options"
            )
        install.ensure_installed(print_message)
        return
    given = choose_broker(broker, postgres=postgres)
    if nodes != 1:
        validate_nodes(nodes, given, postgres=postgres)
    if fresh and (reset or state):
        raise typer.BadParameter("--fresh cannot be combined with --reset or --state")
    if reset:
        state = wipe_data(state, yes=yes, dry_run=dry_run, as_json=as_json)
        if dry_run:
            return
    parent = os.getppid()
    with stop_on_signal():
        kinds = ("postgres",) if postgres else ALL_KINDS
        with DevServers(
            state, fresh=fresh, kinds=kinds, nodes=nodes, given=given, talk=print_message
        ) as servers:
            apply_migrations(servers.database_url)
            print_as_json(servers) if as_json else print_exports(servers)
            while not (as_json and os.getppid() != parent):
                servers.check()
                time.sleep(POLL_S)


def choose_broker(broker: BrokerKind | None, *, postgres: bool = False) -> Settings:
    """Return the settings with the broker that the option names.

    Raises `typer.BadParameter` if WORKSHED_BROKER_URL or `--postgres` contradicts it.
    """
    given = settings()
    if broker is None:
        return given
    if "broker_url" in given.given and is_without_rabbitmq(given) != (broker == "postgresql"):
        raise typer.BadParameter(
            f"WORKSHED_BROKER_URL is set to another broker than --broker {broker}: unset it"
        )
    if broker == BrokerKind.POSTGRESQL:
        return given.replace(broker_url=WITHOUT_RABBITMQ_URL)
    if postgres:
        raise typer.BadParameter("--postgres starts no RabbitMQ, so leave out --broker rabbitmq")
    return given


def is_without_rabbitmq(given: Settings) -> bool:
    """Return whether jobs are queued in PostgreSQL alone."""
    return given.broker_url.get_secret_value().strip() == WITHOUT_RABBITMQ_URL


def validate_nodes(nodes: int, given: Settings, *, postgres: bool) -> None:
    """Raise `typer.BadParameter` for a number of nodes that is unsupported, or has no effect."""
    if nodes != 3:  # noqa: PLR2004 -- with two, losing either node stops both
        raise typer.BadParameter("--nodes is 1 or 3: with two, losing either node stops both")
    if postgres:
        raise typer.BadParameter("--postgres starts no RabbitMQ, so --nodes has no effect")
    if is_without_rabbitmq(given):
        raise typer.BadParameter("jobs are queued in PostgreSQL alone, so --nodes has no effect")
    if "broker_url" in given.given:
        raise typer.BadParameter("WORKSHED_BROKER_URL is set, so --nodes has no effect")


def apply_migrations(database_url: str) -> None:
    """Apply the pending migrations of Workshed and of the App.

    Raises `DatabaseUnreachableError`.
    """
    try:
        conn = db.Connection.connect(database_url, autocommit=True)
    except psycopg.OperationalError as err:  # a private server is ready by now
        raise DatabaseUnreachableError(
            f"PostgreSQL does not answer at {db.describe_address(database_url)} "
            f"(WORKSHED_DATABASE_URL): {str(err).strip().rstrip('.?')}. Start it, correct the URL, "
            "or unset WORKSHED_DATABASE_URL for a private server"
        ) from None
    with conn:
        apply_pending(conn, list_streams())


def print_as_json(servers: DevServers) -> None:
    """Print the addresses for a calling process; null for servers neither started nor named."""
    environment = servers.environment()
    known = {name: environment.get(f"WORKSHED_{name.upper()}") for name in URLS}
    places = {"maildir": str(servers.maildir), "state": str(servers.state.folder)}
    print(json.dumps(known | places), flush=True)


def print_exports(servers: DevServers) -> None:
    """Print the `export` lines on stdout, and everything else on stderr."""
    if servers.rabbitmq:
        ui = urlsplit(servers.rabbitmq.management_url)
        print_message(
            f"RabbitMQ UI  http://{ui.hostname}:{ui.port}  login {ui.username}, {ui.password}"
        )
    if isinstance(servers.rabbitmq, Cluster):
        nodes = ", ".join(f"{node.node} {node.pid}" for node in servers.rabbitmq.nodes)
        print_message(f"RabbitMQ     {nodes} (kill one to see it restart)")
    if servers.mail:
        print_message(f"Mails        {servers.mail.maildir}/new")
    if is_without_rabbitmq(servers.settings):
        print_message("Queue        PostgreSQL alone; no RabbitMQ is needed or started")
    for name in servers.named_servers():
        print_message(f"{name} is set: no private server runs in its place")
    for name, value in servers.environment().items():
        print(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()
    print_message(
        f"Ctrl-C stops everything. Data stays in {servers.state.folder}; "
        "`workshed dev --reset` wipes it."
    )


@contextlib.contextmanager
def stop_on_signal() -> Generator[None]:
    """Leave the block on the first SIGINT, SIGTERM or SIGHUP; ignore later ones."""

    def stop(*_: object) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, stop)
    with contextlib.suppress(KeyboardInterrupt):
        yield


def print_message(line: str) -> None:
    """Print a message for the user on stderr."""
    print(line, file=sys.stderr, flush=True)
