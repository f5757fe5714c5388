"""Where RabbitMQ is, and why it cannot be reached there.

A URL of `WORKSHED_BROKER_URL` is `amqp://…`, or with TLS
`amqps://user:password@host:5671/vhost?cacertfile=/etc/ca.pem`; the parameters after `?` are those
of RabbitMQ's own URIs. Certificates and their host names are always verified.
"""

import os
import ssl
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout
from pika.exceptions import (
    AMQPConnectionError,
    ConnectionOpenAborted,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from workshed.errors import SettingsError
from workshed.transport.amqp import tls

HEARTBEAT_S = 15
"""Shared by both sides; a dead connection is noticed 5 s later."""
SETTING = "WORKSHED_BROKER_URL"


def connection_parameters(url: str, name: str) -> pika.URLParameters:
    """Read a URL, and give the connection a name for the management UI.

    Certificates are read each time, so that the next connection uses renewed ones. Raises
    `SettingsError`, without the password, for a URL that cannot be used.
    """
    parts = urlsplit(url)
    options = tls.tls_options(parts, SETTING, ("heartbeat",))
    found = _base_parameters(parts)
    found.heartbeat = _read_heartbeat(options)
    found.client_properties = {"connection_name": f"{name} of process {os.getpid()}"}
    if parts.scheme == "amqps":
        found.ssl_options = pika.SSLOptions(
            tls.tls_context(options, SETTING), options.get("server_name_indication")
        )
    return found


def unreachable_message(urls: list[str], trouble: str) -> str:
    """Return which server does not answer, without its password, and what to do."""
    return (
        f"RabbitMQ does not answer at {' or '.join(map(display_address, urls))} ({SETTING}): "
        f"{trouble}. Start it, correct the URL, or run `workshed dev`"
    )


def display_address(url: str) -> str:
    """Return host, port and virtual host of a URL, and the CAs that verify the server."""
    parts = urlsplit(url)
    found = _base_parameters(parts)
    authority = ""
    if parts.scheme == "amqps":
        authority = f", {tls.ca_description(dict(parse_qsl(parts.query)))}"
    return f"{found.host}:{found.port} (virtual host {found.virtual_host!r}{authority})"


def _base_parameters(parts: SplitResult) -> pika.URLParameters:
    if parts.username is not None and parts.password is None:
        raise SettingsError(f"{SETTING}: a user without a password; write user:password@")
    # As amqp://, because pika would load the system's CAs each time only to have them replaced.
    found = pika.URLParameters(urlunsplit(parts._replace(scheme="amqp", query="")))
    if parts.scheme == "amqps" and parts.port is None:
        found.port = pika.ConnectionParameters.DEFAULT_SSL_PORT
    return found


def _read_heartbeat(options: dict[str, str]) -> int:
    value = options.get("heartbeat", str(HEARTBEAT_S))
    if not value.isdecimal() or int(value) < 1:
        raise SettingsError(
            f"{SETTING}: heartbeat={value} is not a whole number of seconds, at least 1"
        )
    return int(value)


def describe_error(error: object) -> str:
    """Describe in words what pika reports as nested exceptions."""
    error = _innermost_error(error)
    said = str(error) or type(error).__name__
    match error:
        case ProbableAuthenticationError() if "ACCESS_REFUSED" in said:
            said = "user or password refused"
        case ProbableAccessDeniedError() if "NOT_ALLOWED" in said:
            said = f"no access to the virtual host: {said.partition('NOT_ALLOWED - ')[2][:-1]}"
        case (
            IncompatibleProtocolError()
            | ProbableAuthenticationError()
            | ProbableAccessDeniedError()
        ):
            # pika guesses from how far the handshake came. A cut line, or TLS, comes as far.
            said = f"the connection closed while it was being opened: {said}"
        case TimeoutError() | AMQPConnectorStackTimeout() | ConnectionOpenAborted():
            said = "it did not answer in time"
        case ssl.SSLError():
            said = tls.describe_tls_error(error)
    return said.rstrip(".")


def _innermost_error(error: object) -> object:
    match error:
        case AMQPConnectionError(args=[BaseException() as cause, *_]):
            return _innermost_error(cause)
    several: tuple[object, ...] = getattr(error, "exceptions", ())
    inner: object = several[-1] if several else getattr(error, "exception", None)
    return error if inner is None else _innermost_error(inner)
