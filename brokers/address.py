"""Where RabbitMQ is, and why it cannot be reached there.

A URL of `WORKSHED_BROKER_URL` is `amqp://…`, or with TLS
`amqps://user:password@host:5671/vhost?cacertfile=/etc/ca.pem`; the names behind `?` are those of
RabbitMQ's own URIs. A certificate is always verified, and so is that it is the host's.
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

from brokers.errors import did_you_mean
from workshed.errors import SettingsError

HEARTBEAT_S = 15
"""Shared by both sides; a dead connection is noticed 5 s later."""
TLS_NAMES = ("cacertfile", "certfile", "keyfile", "server_name_indication", "verify")
NAMES = (*TLS_NAMES, "heartbeat")


def parameters(url: str, name: str) -> pika.URLParameters:
    """Read a URL, and name the connection for people who read the management UI.

    Certificates are read anew each time, so that renewed ones are used from the next connection on.
    Raises `SettingsError` for what cannot be used, without the password.
    """
    parts = urlsplit(url)
    options = _options(parts)
    found = _located(parts)
    found.heartbeat = _heartbeat(options)
    found.client_properties = {"connection_name": f"{name} of process {os.getpid()}"}
    if parts.scheme == "amqps":
        found.ssl_options = pika.SSLOptions(
            _context(options), options.get("server_name_indication")
        )
    return found


def unreachable(urls: list[str], trouble: str) -> str:
    """Say which server does not answer, without its password, and what to do."""
    return (
        f"RabbitMQ does not answer at {' or '.join(map(place, urls))} (WORKSHED_BROKER_URL): "
        f"{trouble}. Start it, correct the URL, or run `workshed dev`"
    )


def place(url: str) -> str:
    """Say where a URL leads, and by which authority its certificate is judged."""
    parts = urlsplit(url)
    found = _located(parts)
    authority = ""
    if parts.scheme == "amqps":
        file = dict(parse_qsl(parts.query)).get("cacertfile")
        authority = f", TLS by {'the CAs of the system' if file is None else file}"
    return f"{found.host}:{found.port} (virtual host {found.virtual_host!r}{authority})"


def _located(parts: SplitResult) -> pika.URLParameters:
    if parts.username is not None and parts.password is None:
        raise SettingsError("WORKSHED_BROKER_URL: a user without a password; write user:password@")
    # As amqp://, or pika would load the CAs of the system each time, only to be given others.
    found = pika.URLParameters(urlunsplit(parts._replace(scheme="amqp", query="")))
    if parts.scheme == "amqps" and parts.port is None:
        found.port = pika.ConnectionParameters.DEFAULT_SSL_PORT
    return found


def _options(parts: SplitResult) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if name not in NAMES:
            hint = did_you_mean(name, NAMES) or f"; known are {', '.join(NAMES)}"
            raise SettingsError(f"WORKSHED_BROKER_URL: {name} is not known here{hint}")
        if name in TLS_NAMES and parts.scheme != "amqps":
            raise SettingsError(f"WORKSHED_BROKER_URL: {name} is for amqps://, this is amqp://")
        if not value:
            raise SettingsError(f"WORKSHED_BROKER_URL: {name} is empty")
    if options.get("verify", "verify_peer") != "verify_peer":
        raise SettingsError(
            "WORKSHED_BROKER_URL: a certificate is always verified; give the authority that signed "
            "it as cacertfile, and its name, where it is not the host's, as server_name_indication"
        )
    return options


def _heartbeat(options: dict[str, str]) -> int:
    value = options.get("heartbeat", str(HEARTBEAT_S))
    if not value.isdecimal() or int(value) < 1:
        raise SettingsError(f"WORKSHED_BROKER_URL: heartbeat={value} is no whole number from 1 (s)")
    return int(value)


def _context(options: dict[str, str]) -> ssl.SSLContext:
    """Trust the authority in `cacertfile`, or those of the system; show `certfile` when asked."""
    try:
        found = ssl.create_default_context(cafile=options.get("cacertfile"))
    except OSError as err:
        raise _unusable("cacertfile", options["cacertfile"], err) from None
    if "keyfile" in options and "certfile" not in options:
        raise SettingsError("WORKSHED_BROKER_URL: keyfile without a certfile")
    if "certfile" in options:
        try:
            # By default OpenSSL would ask the terminal for the password of a key, and wait.
            found.load_cert_chain(options["certfile"], options.get("keyfile"), password="")
        except OSError as err:
            names = [name for name in ("certfile", "keyfile") if name in options]
            raise _unusable(" or ".join(names), options[names[-1]], err) from None
    return found


def _unusable(name: str, file: str, error: OSError) -> SettingsError:
    reason = error.strerror or str(error)
    if isinstance(error, ssl.SSLError):
        reason = f"not PEM, or not of this kind, or a key that has a password ({error.reason})"
    return SettingsError(f"WORKSHED_BROKER_URL: {name} {file!r} cannot be used: {reason}")


def describe(error: object) -> str:
    """Say in words what pika reports as nested exceptions."""
    error = _innermost(error)
    said = str(error) or type(error).__name__
    match error:
        case ProbableAuthenticationError() if "ACCESS_REFUSED" in said:
            said = "user or password refused"
        case ProbableAccessDeniedError() if "NOT_ALLOWED" in said:
            said = f"no way into the virtual host: {said.partition('NOT_ALLOWED - ')[2][:-1]}"
        case (
            IncompatibleProtocolError()
            | ProbableAuthenticationError()
            | ProbableAccessDeniedError()
        ):
            # pika guesses from how far it came. A line that was cut, or TLS, comes as far.
            said = f"the connection ended while it was made: {said}"
        case TimeoutError() | AMQPConnectorStackTimeout() | ConnectionOpenAborted():
            said = "it did not answer in time"
        case ssl.SSLCertVerificationError():
            said = f"its certificate is refused: {error.verify_message}"
        case ssl.SSLError():
            said = f"TLS failed: {error.reason or said}"
    return said.rstrip(".")


def _innermost(error: object) -> object:
    match error:
        case AMQPConnectionError(args=[BaseException() as cause, *_]):
            return _innermost(cause)
    several: tuple[object, ...] = getattr(error, "exceptions", ())
    inner: object = several[-1] if several else getattr(error, "exception", None)
    return error if inner is None else _innermost(inner)
