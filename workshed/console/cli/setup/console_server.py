"""The web console and its metrics, as `workshed console` serves them."""

import socket
import threading

import typer

from workshed.console.cli.terminal.output import print_message
from workshed.console.operations.environment import import_actors
from workshed.console.web import create_app
from workshed.console.web.server.build import build_server
from workshed.console.web.server.clients import Proxies, require_answer
from workshed.errors import SettingsError, WorkshedError
from workshed.health.http import PageServer
from workshed.metrics import exposition, metric
from workshed.settings import settings


def serve_console(host: str, port: int, proxies: str | None, metrics_port: int | None) -> None:
    """Serve the console until Ctrl-C; raises `typer.Exit` if it did not start."""
    named = settings().console_proxies if proxies is None else proxies
    require_answer(host, named)
    import_actors(())
    if metrics_port is not None:
        serve_metrics(metrics_port)
    server = build_server(create_app(), Proxies.parse(named))
    with open_socket(host, port) as listener:
        print_message(f"Console http://{host}:{listener.getsockname()[1]}")
        server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(1)


def open_socket(host: str, port: int) -> socket.socket:
    """Open the port before anything else starts, so that a port in use is reported at once.

    Raises `WorkshedError`.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as err:
        raise WorkshedError(
            f"cannot listen on {host}:{port}: {err.strerror}; see --host and --port"
        ) from None


def serve_metrics(port: int) -> None:
    """Serve `/metrics` of this process in a thread; raises `WorkshedError` if it cannot."""
    config = settings()
    if not config.has_shared_metrics:
        raise SettingsError(
            "--metrics-port has nothing to serve: WORKSHED_METRICS is false, or the program that "
            "set PROMETHEUS_MULTIPROC_DIR serves the metrics"
        )
    metric.keep_in_memory()
    page = exposition.metrics_page(exposition.own_metrics)
    try:
        server = PageServer(config.metrics_host, port, {"/metrics": page})
    except OSError as err:
        raise WorkshedError(
            f"cannot listen on {config.metrics_host}:{port}: {err.strerror}; see --metrics-port "
            "and WORKSHED_METRICS_HOST"
        ) from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    print_message(f"Metrics http://{config.metrics_host}:{server.server_address[1]}/metrics")
