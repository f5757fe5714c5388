"""Connections to mail servers, each reused for a while, because a new one costs six replies."""

import os
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from workshed.contrib.mail.errors import LOGIN, MailLoginRefusedError, MailServerUnreachableError
from workshed.contrib.mail.protocol.conversation import arm, dropped_on_error, hang_up, translated
from workshed.contrib.mail.protocol.reply import Reply
from workshed.contrib.mail.protocol.timer import MailDeadline, Step
from workshed.contrib.mail.server import SmtpServer

# Shorter than the one to five minutes after which servers close idle connections.
IDLE_S = 60.0
READY = 220


@dataclass(frozen=True, slots=True)
class CachedConnection:
    """An idle connection."""

    server: SmtpServer
    client: smtplib.SMTP
    since_s: float


class ConnectionSlot:
    """The slot for one connection, of a thread or of a seat at the mail server."""

    kept: CachedConnection | None = None

    def __del__(self) -> None:
        """Leave no open socket behind when a thread ends.

        Sends nothing to the server, because in a child process the conversation belongs to the
        parent.
        """
        if self.kept is not None:
            self.kept.client.close()


class _Thread(threading.local):
    def __init__(self) -> None:
        self.slot = ConnectionSlot()


_thread = _Thread()


def take(server: SmtpServer) -> smtplib.SMTP | None:
    """Take the connection out of this thread's slot, if there is an idle one."""
    kept, _thread.slot.kept = _thread.slot.kept, None
    if kept is None:
        return None
    if kept.server == server and time.monotonic() - kept.since_s < IDLE_S:
        return kept.client
    hang_up(kept.client)
    return None


def keep(server: SmtpServer, client: smtplib.SMTP) -> None:
    """Keep a connection for the next mail that is sent through this thread's slot."""
    _thread.slot.kept = CachedConnection(server, client, time.monotonic())


def close() -> None:
    """Close the idle connection of this thread, if there is one."""
    kept, _thread.slot.kept = _thread.slot.kept, None
    if kept is not None:
        hang_up(kept.client)


@contextmanager
def through(slot: ConnectionSlot) -> Generator[None]:
    """Let this thread use another slot inside the block."""
    own, _thread.slot = _thread.slot, slot
    try:
        yield
    finally:
        _thread.slot = own


def connect(server: SmtpServer, timer: MailDeadline) -> smtplib.SMTP:
    """Open a connection and log in.

    Raises `MailServerUnreachableError`, `MailTimeoutError` or `MailLoginRefusedError`.
    """
    with translated(server, "the connection", timer):
        client = _dial(server, timer)
    with dropped_on_error(client), translated(server, LOGIN, timer):
        arm(client, timer, Step.COMMAND)
        _introduce(client)
        if not server.tls:
            _encrypt(client, server, timer)
        if server.user is not None:
            arm(client, timer, Step.COMMAND)
            _log_in(client, server, server.user)
        client.ehlo_or_helo_if_needed()
    return client


class _Patient:
    """Waits longer for the greeting than for the connection: a tarpit delays the greeting."""

    timer: MailDeadline

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]  # smtplib's
        sock.settimeout(self.timer.next_step_s(Step.COMMAND))
        return sock


class _Plain(_Patient, smtplib.SMTP):
    pass


class _Encrypted(_Patient, smtplib.SMTP_SSL):
    pass


def _dial(server: SmtpServer, timer: MailDeadline) -> smtplib.SMTP:
    # Pass a name, because smtplib would otherwise look one up without a timeout.
    seconds = timer.next_step_s(Step.CONNECT)
    client: _Plain | _Encrypted
    if server.tls:
        client = _Encrypted(local_hostname="localhost", timeout=seconds, context=_trust())
    else:
        client = _Plain(local_hostname="localhost", timeout=seconds)
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
        arm(client, timer, Step.COMMAND)
        client.starttls(context=_trust())
    elif server.must_encrypt:
        said = "it offers no STARTTLS, and WORKSHED_SMTP_STARTTLS=required forbids plain text"
        raise MailServerUnreachableError(str(server), said)


def _introduce(client: smtplib.SMTP) -> None:
    if client.sock is None:
        raise smtplib.SMTPServerDisconnected("it closed the connection")
    # The final dot is sent on its own, so that it is known whether it was sent. It must not wait
    # for the acknowledgement of the text before it.
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.local_hostname = _own_name(client.sock)
    client.ehlo_or_helo_if_needed()


def _own_name(sock: socket.socket) -> str:
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
        reply = Reply.of(err.smtp_code, err.smtp_error)
        raise MailLoginRefusedError(str(server), f"{reply.code} {reply.text}") from None
    except smtplib.SMTPNotSupportedError:
        raise MailLoginRefusedError(str(server), "it offers no login") from None
    except UnicodeEncodeError:
        # `from None`, because the error's text quotes the password.
        raise MailLoginRefusedError(str(server), "user or password are not ASCII") from None


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


def _forget() -> None:
    """Drop the slot without closing the conversation, which belongs to the parent after a fork."""
    _thread.slot = ConnectionSlot()


os.register_at_fork(after_in_child=_forget)
