"""Connections to mail servers, each reused for a while, because a new one costs six replies."""

import os
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

from workshed.contrib.mail.errors import LOGIN, MailLoginRefusedError, MailServerUnreachableError
from workshed.contrib.mail.protocol.conversation import (
    close_on_error,
    quit_session,
    set_timeout,
    translate_errors,
)
from workshed.contrib.mail.protocol.deadline import MailDeadline, SmtpStep
from workshed.contrib.mail.protocol.reply import Reply
from workshed.contrib.mail.smtp_server import SmtpServer
from workshed.value_class import value_class

# Shorter than the one to five minutes after which servers close idle connections.
IDLE_S = 60.0
READY = 220


@value_class
class CachedConnection:
    """An idle connection."""

    server: SmtpServer
    client: smtplib.SMTP
    since_s: float


class ConnectionSlot:
    """The slot for one connection, of a thread or of a seat at the mail server."""

    cached: CachedConnection | None = None

    def __del__(self) -> None:
        """Leave no open socket behind when a thread ends.

        Sends nothing to the server, because in a child process the conversation belongs to the
        parent.
        """
        if self.cached is not None:
            self.cached.client.close()


class _ThreadSlot(threading.local):
    def __init__(self) -> None:
        self.slot = ConnectionSlot()


_thread = _ThreadSlot()


def take_connection(server: SmtpServer) -> smtplib.SMTP | None:
    """Take the connection out of this thread's slot, if there is an idle one."""
    kept, _thread.slot.cached = _thread.slot.cached, None
    if kept is None:
        return None
    if kept.server == server and time.monotonic() - kept.since_s < IDLE_S:
        return kept.client
    quit_session(kept.client)
    return None


def cache_connection(server: SmtpServer, client: smtplib.SMTP) -> None:
    """Keep a connection for the next mail that is sent through this thread's slot."""
    _thread.slot.cached = CachedConnection(server, client, time.monotonic())


def close_connection() -> None:
    """Close the idle connection of this thread, if there is one."""
    kept, _thread.slot.cached = _thread.slot.cached, None
    if kept is not None:
        quit_session(kept.client)


@contextmanager
def use_slot(slot: ConnectionSlot) -> Generator[None]:
    """Let this thread use another slot inside the block."""
    own, _thread.slot = _thread.slot, slot
    try:
        yield
    finally:
        _thread.slot = own


def connect_to_server(server: SmtpServer, timer: MailDeadline) -> smtplib.SMTP:
    """Open a connection and log in.

    Raises `MailServerUnreachableError`, `MailTimeoutError` or `MailLoginRefusedError`.
    """
    with translate_errors(server, "the connection", timer):
        client = _dial(server, timer)
    with close_on_error(client), translate_errors(server, LOGIN, timer):
        set_timeout(client, timer, SmtpStep.COMMAND)
        _introduce(client)
        if not server.tls:
            _encrypt(client, server, timer)
        if server.user is not None:
            set_timeout(client, timer, SmtpStep.COMMAND)
            _log_in(client, server, server.user)
        client.ehlo_or_helo_if_needed()
    return client


class _GreetingTimeout:
    """Waits longer for the greeting than for the connection: a tarpit delays the greeting."""

    timer: MailDeadline

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]  # smtplib's
        sock.settimeout(self.timer.begin_step(SmtpStep.COMMAND))
        return sock


class _PlainClient(_GreetingTimeout, smtplib.SMTP):
    pass


class _TlsClient(_GreetingTimeout, smtplib.SMTP_SSL):
    pass


def _dial(server: SmtpServer, timer: MailDeadline) -> smtplib.SMTP:
    # Pass a name, because smtplib would otherwise look one up without a timeout.
    seconds = timer.begin_step(SmtpStep.CONNECT)
    client: _PlainClient | _TlsClient
    if server.tls:
        client = _TlsClient(local_hostname="localhost", timeout=seconds, context=_tls_context())
    else:
        client = _PlainClient(local_hostname="localhost", timeout=seconds)
    client.timer = timer
    client._host = server.host  # type: ignore[union-attr]  # noqa: SLF001 -- the name that TLS verifies
    try:
        code, said = client.connect(server.host, server.port)
    except BaseException:
        client.close()
        raise
    if code != READY:
        client.close()
        raise smtplib.SMTPConnectError(code, said)
    return client


def _encrypt(client: smtplib.SMTP, server: SmtpServer, timer: MailDeadline) -> None:
    if client.has_extn("starttls"):
        set_timeout(client, timer, SmtpStep.COMMAND)
        client.starttls(context=_tls_context())
    elif server.must_encrypt:
        said = "it offers no STARTTLS, and WORKSHED_SMTP_STARTTLS=required forbids plain text"
        raise MailServerUnreachableError(str(server), said)


def _introduce(client: smtplib.SMTP) -> None:
    if client.sock is None:
        raise smtplib.SMTPServerDisconnected("it closed the connection")
    # The final dot is sent on its own, so that it is known whether it was sent. It must not wait
    # for the acknowledgement of the text before it.
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.local_hostname = _client_name(client.sock)
    client.ehlo_or_helo_if_needed()


def _client_name(sock: socket.socket) -> str:
    name = socket.gethostname()
    if "." in name:
        return name
    ip = sock.getsockname()[0]
    return f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"


def _log_in(client: smtplib.SMTP, server: SmtpServer, user: str) -> None:
    encrypted = isinstance(client.sock, ssl.SSLSocket)
    if not (encrypted or server.is_local):
        raise MailLoginRefusedError(
            str(server),
            "it offers no STARTTLS, and a password is never sent unencrypted; use smtps://",
        )
    client.ehlo_or_helo_if_needed()
    try:
        client.login(user, server.password)
    except smtplib.SMTPAuthenticationError as err:
        reply = Reply.parse(err.smtp_code, err.smtp_error)
        raise MailLoginRefusedError(str(server), f"{reply.code} {reply.text}") from None
    except smtplib.SMTPNotSupportedError:
        raise MailLoginRefusedError(str(server), "it offers no login") from None
    except UnicodeEncodeError:
        # `from None`, because the error's text quotes the password.
        raise MailLoginRefusedError(str(server), "user or password are not ASCII") from None


@cache
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _reset_after_fork() -> None:
    """Drop the slot without closing the conversation, which belongs to the parent after a fork."""
    _thread.slot = ConnectionSlot()


os.register_at_fork(after_in_child=_reset_after_fork)
