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
from workshed.contrib.mail.protocol import connection_cache
from workshed.contrib.mail.protocol.conversation import (
    close_on_error,
    describe_failure,
    send_command,
    set_timeout,
    translate_errors,
)
from workshed.contrib.mail.protocol.deadline import MailDeadline, SmtpStep
from workshed.contrib.mail.protocol.envelope import Envelope
from workshed.contrib.mail.protocol.reply import Reply
from workshed.contrib.mail.smtp_server import SmtpServer

START_INPUT = 354
BLOCK_BYTES = 1 << 16
# RFC 6531, 3.5: the code and meaning of a server's own refusal.
NO_UTF8 = Reply(553, "the address needs SMTPUTF8, which the mail server does not offer")


def send_mail(
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
    client = connection_cache.take_connection(server)
    if client is not None:
        try:
            _send_envelope(client, server, envelope, timer)
        except (MailServerUnreachableError, MailTimeoutError):
            client = None
    if client is None:
        client = connection_cache.connect_to_server(server, timer)
        _send_envelope(client, server, envelope, timer)
    _send_content(client, server, envelope, timer, handover or Handover())
    connection_cache.cache_connection(server, client)


def _send_envelope(
    client: smtplib.SMTP, server: SmtpServer, envelope: Envelope, timer: MailDeadline
) -> None:
    """Send sender and recipient, and ask to send the text."""
    with close_on_error(client):
        options = _utf8_options(client, envelope) if envelope.needs_utf8 else ""
        reply = send_command(client, server, timer, f"MAIL FROM:<{envelope.sender}>{options}")
        if not reply.is_success:
            raise reply.to_error(server, "MAIL FROM")
        reply = send_command(client, server, timer, f"RCPT TO:<{envelope.recipient}>")
        if not reply.is_success:
            error = reply.to_error(server, "RCPT TO")
            if isinstance(error, MailRefusedError):
                raise RecipientRejectedError(envelope.recipient, reply.code, reply.text)
            raise error
        reply = send_command(client, server, timer, "DATA", SmtpStep.DATA)
        if reply.code != START_INPUT:
            raise reply.to_error(server, "DATA")


def _utf8_options(client: smtplib.SMTP, envelope: Envelope) -> str:
    if not client.has_extn("smtputf8"):
        raise RecipientRejectedError(envelope.recipient, NO_UTF8.code, NO_UTF8.text)
    client.command_encoding = "utf-8"
    return " SMTPUTF8 BODY=8BITMIME"


def _send_content(
    client: smtplib.SMTP,
    server: SmtpServer,
    envelope: Envelope,
    timer: MailDeadline,
    handover: Handover,
) -> None:
    """Send the text, then the final dot, after which the mail is the server's responsibility."""
    with close_on_error(client):
        with translate_errors(server, "the text of the mail", timer):
            text = memoryview(_stuff_dots(envelope.payload))
            for begin in range(0, len(text), BLOCK_BYTES):
                set_timeout(client, timer, SmtpStep.TEXT)
                client.send(bytes(text[begin : begin + BLOCK_BYTES]))
            set_timeout(client, timer, SmtpStep.ANSWER)
        handover.commit()
        try:
            client.send(b".\r\n")
            reply = Reply.parse(*client.getreply())
        except OSError as err:
            raise MailDeliveryUnknownError(str(server), describe_failure(err)) from err
        if reply.is_failure:
            raise reply.to_error(server, "the text of the mail")
        if not reply.is_success:
            raise MailDeliveryUnknownError(str(server), f"it answered {reply.code} {reply.text}")


def _stuff_dots(payload: bytes) -> bytes:
    """Double each dot that begins a line, because it would end the mail (RFC 5321, 4.5.2)."""
    return re.sub(rb"(?m)^\.", b"..", payload)
