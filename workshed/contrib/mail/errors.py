"""What can go wrong between a stored mail and its mail server.

    MailError
    ├── MailServerError                     transient: the mail waits for the next attempt
    │   ├── MailServerUnreachableError      no connection, or one that broke; not handed over
    │   ├── MailTimeoutError                no reply in time; not handed over
    │   ├── MailLoginRefusedError           user or password, about the server and not the mail
    │   ├── MailTemporarilyRefusedError     the server asked to try again later (SMTP 4xx)
    │   ├── MailWithdrawnError              its process ends; not handed over
    │   └── MailDeliveryUnknownError        handed over, and no reply: it may have arrived
    ├── RecipientRejectedError              the server refused the address permanently
    └── MailRefusedError                    the server refused the sender or the text permanently

    MailActorMissingError                   no actor is declared that delivers mails

`RecipientRejectedError` and `MailRefusedError` are also `PermanentError`. Messages and `last_error`
contain the server's reply, but never a password.

An error that is `of_server` is not about the mail: every other mail would have failed, too. The
mail then waits for the server, which costs it no attempt: `MailServerAway`, a `Snooze`.
"""

from datetime import timedelta
from typing import ClassVar, Literal

from workshed.errors import PermanentError, WorkshedError
from workshed.jobs import Snooze

UnsentState = Literal["pending", "unknown", "failed"]
"""The states in which an unsuccessful attempt can leave a mail."""

CONNECTION, LOGIN, SENDER = "the connection", "EHLO, STARTTLS or the login", "MAIL FROM"
SERVER_STEPS = (CONNECTION, LOGIN, SENDER)
"""The steps of an exchange that are the same for each mail."""


class MailActorMissingError(WorkshedError):
    """No actor of this process delivers mails."""

    def __init__(self) -> None:
        super().__init__(
            "no actor delivers mails here: call `workshed.contrib.mail.declare(queue=…)` in a "
            "module of your actors, and name that module in `actors` of your App, or import it"
        )


class MailError(WorkshedError):
    """A mail was not accepted, or it is unknown whether it was."""

    resulting_state: ClassVar[UnsentState] = "pending"
    """The state in which the mail is left."""
    is_server_failure: bool = False
    """Whether the server itself has trouble, which would affect every mail."""


class MailServerError(MailError):
    """The server could not accept the mail now; the next attempt may succeed."""


class MailServerUnreachableError(MailServerError):
    """No connection to the mail server, or it broke before the mail was handed over."""

    def __init__(self, server: str, reason: str, step: str = CONNECTION) -> None:
        super().__init__(f"the mail server {server} cannot be used (WORKSHED_SMTP_URL): {reason}")
        self.server = server
        self.reason = reason
        self.is_server_failure = step in SERVER_STEPS


class MailTimeoutError(MailServerError):
    """The mail server did not reply in time, and the mail was not handed over."""

    def __init__(self, server: str, step: str, seconds: float) -> None:
        super().__init__(
            f"the mail server {server} did not reply to {step} within {seconds:g} s "
            "(WORKSHED_SMTP_TIMEOUT)"
        )
        self.server = server
        self.step = step
        self.seconds = seconds
        self.is_server_failure = step in SERVER_STEPS


class MailLoginRefusedError(MailServerError):
    """The mail server refused the user and password, or requires a login."""

    is_server_failure = True

    def __init__(self, server: str, reason: str) -> None:
        """Keep the server's reply, never what was sent to it."""
        super().__init__(f"the mail server {server} refused the login: {reason}")
        self.server = server
        self.reason = reason


class MailTemporarilyRefusedError(MailServerError):
    """The mail server asked to try again later (SMTP 4xx)."""

    def __init__(self, step: str, code: int, text: str) -> None:
        super().__init__(f"refused for now at {step} with SMTP {code}: {text}")
        self.step = step
        self.code = code
        self.text = text
        self.is_server_failure = step in SERVER_STEPS


class MailWithdrawnError(MailServerError):
    """The process that delivers the mail ends, and released it before the final dot."""

    def __init__(self) -> None:
        super().__init__("the mail is released before its end was sent: this process is ending")


class MailDeliveryUnknownError(MailServerError):
    """The whole mail was handed over and no reply came, so it may or may not arrive.

    A mail to one person is sent again once under the same Message-ID, and counted; then it is held
    until an operator decides.
    """

    resulting_state = "unknown"

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(
            f"the mail server {server} may or may not have accepted the mail: {reason}"
        )
        self.server = server
        self.reason = reason


class RecipientRejectedError(MailError, PermanentError):
    """The address was refused permanently."""

    resulting_state = "failed"

    def __init__(self, address: str, code: int, text: str) -> None:
        """Keep the address and the SMTP code for the job log."""
        super().__init__(f"{address} refused with SMTP {code}: {text}")
        self.address = address
        self.code = code
        self.text = text


class MailRefusedError(MailError, PermanentError):
    """The sender or the mail itself was refused permanently."""

    resulting_state = "failed"

    def __init__(self, step: str, code: int, text: str) -> None:
        super().__init__(f"refused permanently at {step} with SMTP {code}: {text}")
        self.step = step
        self.code = code
        self.text = text


class MailServerAway(Snooze):
    """The mail server accepts no mail now; the job runs again later at no cost of an attempt."""

    def __init__(self, delay: timedelta, server: str, said: str, *, is_held: bool) -> None:
        """Keep the problem, in the server's own words if it gave any.

        `is_held`: the server is held for `delay`, so no mail is sent through it.
        """
        super().__init__(delay, said)
        self.server = server
        self.problem = said
        self.is_held = is_held
