"""`workshed console`: serve the web console, and create entries for its users."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import socket

console = typer.Typer(add_completion=False, invoke_without_command=True)

SHORTEST_PASSWORD = 12
LOOPBACK = "127.0.0.1"
STOP_S = 2
"""How long an event stream may take to end; browsers reconnect by themselves."""


@console.callback()
def serve(
    context: typer.Context,
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8080,
    proxies: Annotated[
        str | None,
        typer.Option(
            "--proxies",
            help="Addresses of proxies whose X-Forwarded-For and -Proto are trusted.",
            show_default="WORKSHED_CONSOLE_PROXIES",
        ),
    ] = None,
) -> None:
    """Serve the web console until Ctrl-C; by default it is reachable only from this machine.

    WORKSHED_CONSOLE_USERS lists the users; without any, the console does not start.
    """
    if context.invoked_subcommand:
        return

    from workshed.console.cli.terminal.output import print_message
    from workshed.console.operations.environment import import_actors
    from workshed.console.web import create_app
    from workshed.extras import require_extra
    from workshed.settings import settings

    with require_extra("server"):
        import uvicorn

    import_actors(())
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(),
            log_level="warning",
            proxy_headers=True,
            forwarded_allow_ips=settings().console_proxies if proxies is None else proxies,
            server_header=False,
            timeout_graceful_shutdown=STOP_S,
        )
    )
    with open_socket(host, port) as listener:
        print_message(f"Console http://{host}:{listener.getsockname()[1]}")
        server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(1)


def open_socket(host: str, port: int) -> "socket.socket":
    """Open the port before anything else starts, so that a port in use is reported at once.

    Raises `WorkshedError`.
    """
    import socket

    from workshed.errors import WorkshedError

    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as err:
        raise WorkshedError(
            f"cannot listen on {host}:{port}: {err.strerror}; see --host and --port"
        ) from None


@console.command()
def user(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    role: Annotated[
        str, typer.Option(help="reader: may see everything; operator: may also change things.")
    ] = "reader",
) -> None:
    """Print an entry for WORKSHED_CONSOLE_USERS; prompts for the password, or reads stdin."""
    from workshed.console.web.auth.roles import ROLES
    from workshed.console.web.auth.users import format_entry, parse_users

    known = {one: one for one in ROLES}
    if role not in known:
        raise typer.BadParameter(f"--role {role!r}: choose from {', '.join(ROLES)}")
    if ":" in name or name.split() != [name]:
        raise typer.BadParameter(f"{name!r} must have no colon and no space")
    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    if len(password) < SHORTEST_PASSWORD:
        raise typer.BadParameter(f"the password must have at least {SHORTEST_PASSWORD} characters")
    made = format_entry(name, known[role], password)
    parse_users(made)
    print(made)
