"""A virtual host of RabbitMQ per test, so that its queues contain nothing of other tests."""

import http.client
import json
import secrets
from base64 import b64encode
from collections.abc import Generator
from contextlib import closing, contextmanager
from http import HTTPStatus
from urllib.parse import unquote, urlsplit, urlunsplit

from workshed.testing.errors import KitError
from workshed.testing.real_worker.servers import KitRabbitMQ

ANSWER_S = 30
DEFAULT_PORT = 15672


@contextmanager
def virtual_host(server: KitRabbitMQ) -> Generator[str]:
    """Create a virtual host for the block; yield its AMQP URL."""
    name = f"test_{secrets.token_hex(6)}"
    _request(server.management_url, "PUT", name)  # gives its creator all permissions
    try:
        yield urlunsplit(urlsplit(server.broker_url)._replace(path=f"/{name}"))
    finally:
        _request(server.management_url, "DELETE", name)


def _request(url: str, method: str, name: str) -> None:
    parts = urlsplit(url)
    login = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
    headers = {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}
    host, port = parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORT
    with closing(http.client.HTTPConnection(host, port, timeout=ANSWER_S)) as connection:
        connection.request(method, f"/api/vhosts/{name}", json.dumps({}), headers)
        answer = connection.getresponse()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            said = answer.read().decode(errors="replace")
            raise KitError(
                f"RabbitMQ's API at {host}:{port} said {answer.status} to {method}: {said}"
            )
