"""Send one mail to an SMTP server, knowing at each step whether it may have been accepted.

`smtplib.SMTP.sendmail` does not distinguish a connection lost before the final dot from one lost
after it, but only the first can be retried without the risk of a second mail.
"""

import re
import smtplib
from datetime import timedelta

from workshed.contrib.mail.errors import (
    MailDeliveryUnknownError,
    MailRefusedError,
    MailServerUnreachableError,
    MailTimeoutError,
    RecipientRejectedError,
)
from workshed.contrib.mail.handover import Handover
from workshed.contrib.mail.protocol import connections
from workshed.contrib.mail.protocol.conversation import (
    arm,
    ask,
    dropped_on_error,
    reason,
    translated,
)
from workshed.contrib.mail.protocol.envelope import Envelope
from workshed.contrib.mail.protocol.reply import Reply
from workshed.contrib.mail.protocol.timer import MailDeadline, Step
from workshed.contrib.mail.server import SmtpServer

START_INPUT = 354
BLOCK_BYTES = 1 << 16
# RFC 6531, 3.5: the code and meaning of a server's own refusal.
NO_UTF8 = Reply(553, "the address needs SMTPUTF8, which the mail server does not offer")


def send(
    server: SmtpServer,
    envelope: Envelope,
    each: timedelta | None = None,
    handover: Handover | None = None,
) -> None:
    """Return when the server has accepted the mail; raises a `MailError` otherwise.

    `each` is the longest wait for one reply; `None`: the limits of RFC 5321. `handover` records
    whether the mail may be out. An idle connection that the server has closed meanwhile is opened
    again once, and only while nothing was handed over.
    """
    timer = MailDeadline.start(each)
    client = connections.take(server)
    if client is not None:
        try:
            _announce(client, server, envelope, timer)
        except (MailServerUnreachableError, MailTimeoutError):
            client = None
    if client is None:
        client = connections.connect(server, timer)
        _announce(client, server, envelope, timer)
    _hand_over(client, server, envelope, timer, handover or Handover())
    connections.keep(server, client)


def _announce(
    client: smtplib.SMTP, server: SmtpServer, envelope: Envelope, timer: MailDeadline
) -> None:
    """Send sender and recipient, and ask to send the text."""
    with dropped_on_error(client):
        options = _utf8(client, envelope) if envelope.needs_utf8 else ""
        reply = ask(client, server, timer, f"MAIL FROM:<{envelope.sender}>{options}")
        if not reply.accepts:
            raise reply.refusal(server, "MAIL FROM")
        reply = ask(client, server, timer, f"RCPT TO:<{envelope.recipient}>")
        if not reply.accepts:
            error = reply.refusal(server, "RCPT TO")
            if isinstance(error, MailRefusedError):
                raise RecipientRejectedError(envelope.recipient, reply.code, reply.text)
            raise error
        reply = ask(client, server, timer, "DATA", Step.DATA)
        if reply.code != START_INPUT:
            raise reply.refusal(server, "DATA")


def _utf8(client: smtplib.SMTP, envelope: Envelope) -> str:
    if not client.has_extn("smtputf8"):
        raise RecipientRejectedError(envelope.recipient, NO_UTF8.code, NO_UTF8.text)
    client.command_encoding = "utf-8"
    return " SMTPUTF8 BODY=8BITMIME"


def _hand_over(
    client: smtplib.SMTP,
    server: SmtpServer,
    envelope: Envelope,
    timer: MailDeadline,
    handover: Handover,
) -> None:
    """Send the text, then the final dot, after which the mail is the server's responsibility."""
    with dropped_on_error(client):
        with translated(server, "the text of the mail", timer):
            text = memoryview(_stuffed(envelope.payload))
            for begin in range(0, len(text), BLOCK_BYTES):
                arm(client, timer, Step.TEXT)
                client.send(bytes(text[begin : begin + BLOCK_BYTES]))
            arm(client, timer, Step.ANSWER)
        handover.end()
        try:
            client.send(b".\r\n")
            reply = Reply.of(*client.getreply())
        except OSError as err:
            raise MailDeliveryUnknownError(str(server), reason(err)) from err
        if reply.refuses:
            raise reply.refusal(server, "the text of the mail")
        if not reply.accepts:
            raise MailDeliveryUnknownError(str(server), f"it answered {reply.code} {reply.text}")


def _stuffed(payload: bytes) -> bytes:
    """Double each dot that begins a line, because it would end the mail (RFC 5321, 4.5.2)."""
    return re.sub(rb"(?m)^\.", b"..", payload)
