"""`workshed console`: serve the web console."""

from typing import Annotated

import typer

from workshed.console.cli.setup.console_access import logout, token, user

LOOPBACK = "127.0.0.1"

console = typer.Typer(add_completion=False, invoke_without_command=True)


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
            help="Addresses or networks of proxies whose X-Forwarded-For and -Proto are trusted, "
            "or `none`.",
            show_default="WORKSHED_CONSOLE_PROXIES",
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port for /metrics, on WORKSHED_METRICS_HOST.",
            show_default="not served",
        ),
    ] = None,
) -> None:
    """Serve the web console until Ctrl-C; by default it is reachable only from this machine.

    WORKSHED_CONSOLE_USERS lists the users; without any, the console does not start.
    """
    if not context.invoked_subcommand:
        # The help of the console does not need the web server, which takes long to import.
        from workshed.console.cli.setup.console_server import serve_console

        serve_console(host, port, proxies, metrics_port)


for command in (user, token, logout):
    console.command()(command)
