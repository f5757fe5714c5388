"""What can go wrong with the API of another, and what follows from each.

WorkshedError
└── SourceError                     retried, after attempt⁴ and up to 30 s; the admins are told
    │                               of the fourth failed run
    ├── SourceUnreachableError      no connection, or it was lost
    ├── SourceTimeoutError          no answer in time
    ├── SourceFailedError           5xx, 408, 425
    ├── SourceBusyError             429, or 503 with `Retry-After`: retried when that says
    ├── TruncatedAnswerError        an answer that ends before its end
    ├── IncompleteListingError      a listing without all that it says it has
    ├── AlertingError               retried, but the admins are told at once
    │   ├── CertificateError        expired, of another host, or of nobody who is trusted
    │   ├── WrongAnswerError        no JSON, or not as agreed
    │   ├── RepeatedCursorError     a listing that goes round
    │   └── OverlongListingError    a listing of more than all that it says it has
    └── FatalSourceError            dead at once, and the admins are told; a `PermanentError` too
        ├── RefusedRequestError     4xx
        ├── OversizedAnswerError    larger than is read, as it is sent or as it unfolds
        ├── ForeignRedirectError    a redirect to another host
        └── ForbiddenAddressError   a host, or an address, that may not be asked
"""

from datetime import timedelta
from typing import ClassVar, Literal

from workshed.errors import PermanentError, WorkshedError

Verdict = Literal["retry", "alert", "dead"]

UNKNOWN_TO_IT = (401, 403)
"""Statuses that say the same to every request: our token is not good."""


class SourceError(WorkshedError):
    """A request to a source has failed."""

    verdict: ClassVar[Verdict] = "retry"
    holds: bool = False
    """Whether the source as a whole is in trouble, so that after some of these nothing asks it."""
    ends_listing: ClassVar[bool] = False
    """Whether the listing begins again, since what was read of it leads nowhere."""

    def __init__(self, source: str, reason: str) -> None:
        """Keep which source it was."""
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class SourceUnreachableError(SourceError):
    """No connection could be made, or it was lost."""

    holds = True


class SourceTimeoutError(SourceError):
    """It did not answer in time."""

    holds = True


class SourceFailedError(SourceError):
    """It says that it has failed itself."""

    holds = True


class SourceBusyError(SourceError):
    """It asks us to come again later."""

    holds = True

    def __init__(self, source: str, reason: str, delay: timedelta | None) -> None:
        """Keep after how long; `None`: it does not say."""
        asked = "" if delay is None else f"; it asks us to wait for {delay.total_seconds():g} s"
        super().__init__(source, f"{reason}{asked}")
        self.delay = delay


class TruncatedAnswerError(SourceError):
    """The answer ends before its end."""


class IncompleteListingError(SourceError):
    """Its listing has not all that it says it has: nothing is deleted by it.

    No alert: it is so, too, of a listing that grows while it is read.
    """

    ends_listing = True


class AlertingError(SourceError):
    """It may pass, but somebody should look."""

    verdict = "alert"


class CertificateError(AlertingError):
    """Its certificate is not good."""

    holds = True


class WrongAnswerError(AlertingError):
    """It answers other than was agreed."""

    ends_listing = True


class RepeatedCursorError(AlertingError):
    """Its listing goes round."""

    ends_listing = True


class OverlongListingError(AlertingError):
    """Its listing has more records than it says there are, and may have no end."""

    ends_listing = True


class FatalSourceError(PermanentError, SourceError):
    """Asking again cannot help; that it is permanent is nearer than that it is a source's."""

    verdict = "dead"
    ends_listing = True


class RefusedRequestError(FatalSourceError):
    """It refuses the request."""

    def __init__(self, source: str, reason: str, status: int) -> None:
        """Keep the status of HTTP."""
        super().__init__(source, reason)
        self.status = status
        self.holds = status in UNKNOWN_TO_IT


class OversizedAnswerError(FatalSourceError):
    """The answer is larger than is read."""


class ForeignRedirectError(FatalSourceError):
    """It sends us to another host."""


class ForbiddenAddressError(FatalSourceError):
    """It may not be asked."""
