"""Single commands and replies of an exchange with a mail server, and their errors."""

import smtplib
import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager, suppress

from workshed.contrib.mail.errors import MailServerUnreachableError, MailTimeoutError
from workshed.contrib.mail.protocol.deadline import MailDeadline, SmtpStep
from workshed.contrib.mail.protocol.reply import Reply
from workshed.contrib.mail.smtp_server import SmtpServer


@contextmanager
def translate_errors(server: SmtpServer, step: str, timer: MailDeadline) -> Generator[None]:
    """Convert errors of `smtplib` and of the socket; use it only before the mail is handed over."""
    try:
        yield
    except OSError as err:  # smtplib's are OSErrors too
        if is_timeout(err):
            raise MailTimeoutError(str(server), step, timer.step_s) from err
        raise MailServerUnreachableError(str(server), describe_failure(err), step) from err


def is_timeout(err: OSError) -> bool:
    """Detect a timeout, which smtplib reports as a closed connection."""
    return isinstance(err, TimeoutError) or isinstance(err.__context__, TimeoutError)


def describe_failure(err: OSError) -> str:
    """Describe an error so that the reader can act on it."""
    match err:
        case ssl.SSLCertVerificationError():
            text = f"its certificate is not trusted: {err.verify_message}"
        case socket.gaierror():
            text = f"its name cannot be resolved: {err.strerror}"
        case ConnectionRefusedError():
            text = "nothing listens there; start it or correct the URL"
        case smtplib.SMTPResponseException():
            reply = Reply.parse(err.smtp_code, err.smtp_error)
            text = f"it answered {reply.code} {reply.text}"
        case _ if is_timeout(err):
            text = "no reply in time"
        case smtplib.SMTPServerDisconnected(__context__=OSError() as cause):
            text = str(cause)
        case _:
            text = str(err)
    return text


def send_command(
    client: smtplib.SMTP,
    server: SmtpServer,
    timer: MailDeadline,
    command: str,
    step: SmtpStep = SmtpStep.COMMAND,
) -> Reply:
    """Send one command and return the reply."""
    with translate_errors(server, command.partition(":")[0], timer):
        set_timeout(client, timer, step)
        return Reply.parse(*client.docmd(command))


def set_timeout(client: smtplib.SMTP, timer: MailDeadline, step: SmtpStep) -> None:
    """Set the socket's timeout to what the next step may take."""
    seconds = timer.begin_step(step)
    if client.sock is not None:  # else the next command reports the lost connection
        client.sock.settimeout(seconds)


def quit_session(client: smtplib.SMTP) -> None:
    """Send QUIT and close the connection without waiting for a reply."""
    with suppress(OSError):
        client.putcmd("QUIT")
    client.close()


@contextmanager
def close_on_error(client: smtplib.SMTP) -> Generator[None]:
    """Close the connection on any error or interrupt, because it may be in the middle of a mail."""
    try:
        yield
    except BaseException:
        quit_session(client)
        raise
