"""A mail server that stores every mail in a Maildir, and simulates failures on request."""

import asyncio
import contextlib
import mailbox
import threading
from collections.abc import Collection
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any, AnyStr, Literal, Self

from workshed.extras import require_extra
from workshed.value_class import value_class

with require_extra("dev"):
    from aiosmtpd.smtp import SMTP, Envelope, Session

from workshed.devserver.errors import ServerError
from workshed.devserver.ports import HOST, find_free_ports

Stage = Literal["connect", "helo", "mail", "rcpt", "data", "dot"]
"""The stage of a session: the greeting, four commands, and the dot that ends a mail."""

START_S = 10
PORT_TRIES = 5
BUSY_REPLY = "451 4.3.0 Busy, try again"
ACCEPTED_REPLY = "250 OK"
DOWN_REPLY = "421 4.3.2 Down for maintenance"


@value_class
class ReceivedMail:
    """A mail as it was accepted, with LF line ends, and with its envelope."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        """The mail, parsed."""
        return message_from_bytes(self.content, policy=policy.SMTPUTF8)


class MailCatcher:
    """An SMTP server on a loopback port, in a thread of this process.

    `connections` counts the connections, `attempts` has the address of every RCPT in order, and
    `received` has each accepted mail. The methods below make it fail, for tests and the demo.
    """

    def __init__(
        self, maildir: Path, *, port: int | None = None, busy_once: Collection[str] = ()
    ) -> None:
        """Prepare a server; the first RCPT of each address in `busy_once` gets 451 as reply."""
        self.maildir = maildir
        self.port = port
        self.connections = 0
        self.attempts: list[str] = []
        self.received: list[ReceivedMail] = []
        self._busy = set(busy_once)
        self._refusals: dict[str | None, int] = {}
        self._stalled: set[Stage] = set()
        self._closes_after_dot: list[bool] = []
        self._is_down = False
        self._sessions: set[_SmtpSession] = set()
        self.thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The value of `WORKSHED_SMTP_URL` for this server."""
        return f"smtp://{HOST}:{self.port}"

    def refuse_with(self, code: int, address: str | None = None) -> None:
        """Answer every RCPT, or those of one address, with an SMTP code."""
        self._refusals[address] = code

    def stall_at(self, stage: Stage) -> None:
        """Never answer at a stage; this includes sessions that have begun."""
        self._stalled.add(stage)

    def close_after_dot(self, *, keep: bool = True, times: int = 1) -> None:
        """Hang up instead of replying to a mail, with or without storing it."""
        self._closes_after_dot += [keep] * times

    def go_down(self) -> None:
        """Refuse all mails as if down for maintenance."""
        self._is_down = True

    def come_up(self) -> None:
        """Accept mails again; other faults stay."""
        self._is_down = False

    def clear_faults(self) -> None:
        """End all faults; a session that has stalled stays so."""
        self._is_down = False
        self._busy.clear()
        self._refusals.clear()
        self._stalled.clear()
        self._closes_after_dot.clear()

    def start(self) -> Self:
        """Start serving."""
        mailbox.Maildir(self.maildir, create=True)
        ready = threading.Event()
        self.thread = threading.Thread(
            target=asyncio.run, args=[self._serve(ready)], name="mail catcher", daemon=True
        )
        self.thread.start()
        if not ready.wait(START_S) or not self.thread.is_alive():
            raise ServerError("the mail catcher does not start")
        return self

    def stop(self) -> None:
        """Close all connections and stop serving."""
        if self.thread and self.thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop_event.set)
            self.thread.join()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    # Called by aiosmtpd, in the order of a session.

    async def handle_EHLO(  # noqa: N802 - its name in aiosmtpd
        self, _: SMTP, session: Session, _envelope: Envelope, name: str, replies: list[str]
    ) -> list[str]:
        """Answer the client's greeting."""
        await self.wait_if_stalled("helo")
        session.host_name = name
        return replies

    async def handle_MAIL(  # noqa: N802
        self, _: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Accept the sender."""
        await self.wait_if_stalled("mail")
        if self._is_down:
            return DOWN_REPLY
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return ACCEPTED_REPLY

    async def handle_RCPT(  # noqa: N802
        self, _: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Accept a recipient, or refuse it if a fault is set."""
        self.attempts.append(address)
        await self.wait_if_stalled("rcpt")
        if address in self._busy:
            self._busy.remove(address)
            return BUSY_REPLY
        code = self._refusals.get(address, self._refusals.get(None))
        if code is not None:
            return f"{code} {code // 100}.0.0 Refused"
        envelope.rcpt_tos.append(address)
        return ACCEPTED_REPLY

    async def handle_DATA(  # noqa: N802
        self, conversation: "_SmtpSession", _session: Session, envelope: Envelope
    ) -> str:
        """Store the mail; hang up instead of replying if that fault is set."""
        await self.wait_if_stalled("dot")
        hang_up = bool(self._closes_after_dot)
        if not hang_up or self._closes_after_dot.pop(0):
            self._store(envelope)
        if hang_up:
            conversation.hang_up()
            await _wait_forever()
        return ACCEPTED_REPLY

    async def wait_if_stalled(self, stage: Stage) -> None:
        """Wait until the client gives up, if a stall is set for this stage."""
        if stage in self._stalled:
            await _wait_forever()

    def add_session(self, conversation: "_SmtpSession") -> None:
        """Count a connection."""
        self.connections += 1
        self._sessions.add(conversation)

    def remove_session(self, conversation: "_SmtpSession") -> None:
        """Forget a connection."""
        self._sessions.remove(conversation)

    def _store(self, envelope: Envelope) -> None:
        content = (envelope.original_content or b"").replace(b"\r\n", b"\n")
        mail = ReceivedMail(str(envelope.mail_from), tuple(envelope.rcpt_tos), content)
        delivered = "".join(f"Delivered-To: {address}\n" for address in mail.recipients)
        mailbox.Maildir(self.maildir).add(delivered.encode() + content)
        self.received.append(mail)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_ignore_disconnects)
        self._stop_event = asyncio.Event()
        try:
            server = await self._listen()
        finally:
            ready.set()
        await self._stop_event.wait()
        server.close()
        leaving = list(self._sessions)
        for conversation in leaving:
            conversation.hang_up()
        for conversation in leaving:
            await conversation.session_closed.wait()

    async def _listen(self) -> asyncio.Server:
        for _ in range(PORT_TRIES):
            port = self.port or find_free_ports(1)[0]
            with contextlib.suppress(OSError):
                server = await self._loop.create_server(lambda: _SmtpSession(self), HOST, port)
                self.port = port
                return server
        raise ServerError("no free port for the mail catcher")


class _SmtpSession(SMTP):
    """One session; it also stalls at the two replies for which aiosmtpd calls no handler."""

    def __init__(self, catcher: MailCatcher) -> None:
        super().__init__(
            catcher,
            hostname="localhost",
            ident="Workshed mail catcher",
            enable_SMTPUTF8=True,
            loop=asyncio.get_running_loop(),
        )
        self.catcher = catcher
        self.session_closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.catcher.add_session(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.catcher.remove_session(self)
        self.session_closed.set()

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.close()

    async def push(self, status: AnyStr) -> None:
        code = str(status)[:4]
        if code == "220 ":
            await self.catcher.wait_if_stalled("connect")
        if code == "354 ":
            await self.catcher.wait_if_stalled("data")
        await super().push(status)


async def _wait_forever() -> None:
    """Wait until the connection is lost, which cancels the session."""
    await asyncio.Event().wait()


def _ignore_disconnects(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Ignore clients that disconnect in the middle of a session."""
    if not isinstance(context.get("exception"), ConnectionError):
        loop.default_exception_handler(context)
