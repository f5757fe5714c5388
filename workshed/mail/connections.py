"""Connections to mail servers: one is kept per thread, since each mail else costs six replies."""

import os
import smtplib
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from functools import cache

from workshed.mail.conversation import arm, dropped_on_error, hang_up, translated
from workshed.mail.errors import MailLoginRefusedError
from workshed.mail.reply import Reply
from workshed.mail.server import Server
from workshed.mail.timer import Timer

# Servers close idle connections after one to five minutes; sooner, and ours is seldom stale.
IDLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A connection at rest."""

    server: Server
    client: smtplib.SMTP
    since_s: float


class Slot:
    """The place for the connection of one thread."""

    kept: Kept | None = None

    def __del__(self) -> None:
        """Leave no open socket behind a thread that ends.

        Without a word to the server: in a child process, this side belongs to the parent.
        """
        if self.kept is not None:
            self.kept.client.close()


class _Thread(threading.local):
    def __init__(self) -> None:
        self.slot = Slot()


_thread = _Thread()


def take(server: Server) -> smtplib.SMTP | None:
    """Return this thread's connection to the server, if one rests; it is the caller's now."""
    kept, _thread.slot.kept = _thread.slot.kept, None
    if kept is None:
        return None
    if kept.server == server and time.monotonic() - kept.since_s < IDLE_S:
        return kept.client
    hang_up(kept.client)
    return None


def keep(server: Server, client: smtplib.SMTP) -> None:
    """Let a connection rest until the next mail of this thread."""
    _thread.slot.kept = Kept(server, client, time.monotonic())


def close() -> None:
    """Hang up the connection of this thread, if one rests."""
    kept, _thread.slot.kept = _thread.slot.kept, None
    if kept is not None:
        hang_up(kept.client)


def connect(server: Server, timer: Timer) -> smtplib.SMTP:
    """Open a connection and log in.

    Raises `MailServerUnreachableError`, `MailTimeoutError` or `MailLoginRefusedError`.
    """
    with translated(server, "the connection", timer):
        client = _dial(server, timer)
    with dropped_on_error(client), translated(server, "EHLO, STARTTLS or the login", timer):
        _introduce(client)
        if not server.tls and client.has_extn("starttls"):
            arm(client, timer)
            client.starttls(context=_trust())
        if server.user is not None:
            arm(client, timer)
            _log_in(client, server, server.user)
        client.ehlo_or_helo_if_needed()
    return client


def _dial(server: Server, timer: Timer) -> smtplib.SMTP:
    # A name is given because smtplib would look up its own, outside any timeout.
    address, seconds = (server.host, server.port, "localhost"), timer.next_step_s()
    if server.tls:
        return smtplib.SMTP_SSL(*address, timeout=seconds, context=_trust())
    return smtplib.SMTP(*address, timeout=seconds)


def _introduce(client: smtplib.SMTP) -> None:
    if client.sock is None:
        raise smtplib.SMTPServerDisconnected("it closed the connection")
    # The final dot travels alone, so that it is known whether it was sent; it must not wait for
    # the acknowledgement of the text before it.
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.local_hostname = _own_name(client.sock)
    client.ehlo_or_helo_if_needed()


def _own_name(sock: socket.socket) -> str:
    name = socket.gethostname()
    if "." in name:
        return name
    ip = sock.getsockname()[0]
    return f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"


def _log_in(client: smtplib.SMTP, server: Server, user: str) -> None:
    encrypted = isinstance(client.sock, ssl.SSLSocket)
    if not (encrypted or server.is_local):
        raise MailLoginRefusedError(
            str(server), "it offers no STARTTLS, and a password is not sent in clear; use smtps://"
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
        # Its text quotes the password.
        raise MailLoginRefusedError(str(server), "user or password are not ASCII") from None


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


def _forget() -> None:
    """Close this side only: after a fork the conversation still belongs to the parent."""
    _thread.slot = Slot()


os.register_at_fork(after_in_child=_forget)
