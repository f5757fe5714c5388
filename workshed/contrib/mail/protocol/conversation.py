"""Single commands and replies of an exchange with a mail server, and their errors."""

import smtplib
import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager, suppress

from workshed.contrib.mail.errors import MailServerUnreachableError, MailTimeoutError
from workshed.contrib.mail.protocol.reply import Reply
from workshed.contrib.mail.protocol.timer import MailDeadline, Step
from workshed.contrib.mail.server import SmtpServer


@contextmanager
def translated(server: SmtpServer, step: str, timer: MailDeadline) -> Generator[None]:
    """Convert errors of `smtplib` and of the socket; use it only before the mail is handed over."""
    try:
        yield
    except OSError as err:  # smtplib's are OSErrors too
        if is_timeout(err):
            raise MailTimeoutError(str(server), step, timer.step_s) from err
        raise MailServerUnreachableError(str(server), reason(err), step) from err


def is_timeout(err: OSError) -> bool:
    """Detect a timeout, which smtplib reports as a closed connection."""
    return isinstance(err, TimeoutError) or isinstance(err.__context__, TimeoutError)


def reason(err: OSError) -> str:
    """Describe an error so that the reader can act on it."""
    match err:
        case ssl.SSLCertVerificationError():
            text = f"its certificate is not trusted: {err.verify_message}"
        case socket.gaierror():
            text = f"its name cannot be resolved: {err.strerror}"
        case ConnectionRefusedError():
            text = "nothing listens there; start it or correct the URL"
        case smtplib.SMTPResponseException():
            reply = Reply.of(err.smtp_code, err.smtp_error)
            text = f"it answered {reply.code} {reply.text}"
        case _ if is_timeout(err):
            text = "no reply in time"
        case smtplib.SMTPServerDisconnected(__context__=OSError() as cause):
            text = str(cause)
        case _:
            text = str(err)
    return text


def ask(
    client: smtplib.SMTP,
    server: SmtpServer,
    timer: MailDeadline,
    command: str,
    step: Step = Step.COMMAND,
) -> Reply:
    """Send one command and return the reply."""
    with translated(server, command.partition(":")[0], timer):
        arm(client, timer, step)
        return Reply.of(*client.docmd(command))


def arm(client: smtplib.SMTP, timer: MailDeadline, step: Step) -> None:
    """Set the socket's timeout to what the next step may take."""
    seconds = timer.next_step_s(step)
    if client.sock is not None:  # else the next command reports the lost connection
        client.sock.settimeout(seconds)


def hang_up(client: smtplib.SMTP) -> None:
    """Send QUIT and close the connection without waiting for a reply."""
    with suppress(OSError):
        client.putcmd("QUIT")
    client.close()


@contextmanager
def dropped_on_error(client: smtplib.SMTP) -> Generator[None]:
    """Close the connection on any error or interrupt, because it may be in the middle of a mail."""
    try:
        yield
    except BaseException:
        hang_up(client)
        raise
