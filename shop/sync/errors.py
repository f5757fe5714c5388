"""Errors of third-party APIs, and what follows from each.

WorkshedError
└── SourceError                     retried, after attempt⁴ and up to 30 s; the admins are notified
    │                               from the fourth failed run on
    ├── SourceUnreachableError      no connection, or it was lost
    ├── SourceTimeoutError          no answer in time
    ├── SourceFailedError           5xx, 408, 425
    ├── SourceBusyError             429, or 503 with `Retry-After`: retried when that says
    ├── TruncatedAnswerError        the answer is incomplete
    ├── IncompleteListingError      a listing with fewer records than its total
    ├── AlertingError               retried, but the admins are notified at once
    │   ├── CertificateError        expired, for another host, or from an untrusted authority
    │   ├── WrongAnswerError        no JSON, or not as agreed
    │   ├── RepeatedCursorError     a listing whose cursors repeat
    │   └── OverlongListingError    a listing with more records than its total
    └── FatalSourceError            dead at once, and the admins are notified; also `PermanentError`
        ├── RefusedRequestError     4xx
        ├── OversizedAnswerError    larger than the limit, as sent or decompressed
        ├── ForeignRedirectError    a redirect to another host
        └── ForbiddenAddressError   a host or an address that is not allowed
"""

from datetime import timedelta
from typing import ClassVar, Literal

from workshed.errors import PermanentError, WorkshedError

Verdict = Literal["retry", "alert", "dead"]

UNAUTHORIZED_STATUSES = (401, 403)
"""Statuses that every request would get, because the token is not accepted."""


class SourceError(WorkshedError):
    """A request to a source has failed."""

    verdict: ClassVar[Verdict] = "retry"
    is_source_wide: bool = False
    """Whether the whole source is failing; after several of these errors it is held."""
    ends_listing: ClassVar[bool] = False
    """Whether the listing starts again, because its cursor cannot be used any further."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class SourceUnreachableError(SourceError):
    """No connection could be made, or it was lost."""

    is_source_wide = True


class SourceTimeoutError(SourceError):
    """The source did not answer in time."""

    is_source_wide = True


class SourceFailedError(SourceError):
    """The source reports a failure of its own."""

    is_source_wide = True


class SourceBusyError(SourceError):
    """The source asks to be called again later."""

    is_source_wide = True

    def __init__(self, source: str, reason: str, delay: timedelta | None) -> None:
        """Keep the delay that the source asks for; `None` if it does not say."""
        asked = "" if delay is None else f"; it asks us to wait for {delay.total_seconds():g} s"
        super().__init__(source, f"{reason}{asked}")
        self.delay = delay


class TruncatedAnswerError(SourceError):
    """The answer is incomplete."""


class IncompleteListingError(SourceError):
    """The listing has fewer records than its total, so it is not used to delete records.

    This does not alert, because it also happens when a listing grows while it is read.
    """

    ends_listing = True


class AlertingError(SourceError):
    """The problem may be temporary, but an admin should look into it."""

    verdict = "alert"


class CertificateError(AlertingError):
    """The certificate of the source is not valid."""

    is_source_wide = True


class WrongAnswerError(AlertingError):
    """The answer is not as agreed."""

    ends_listing = True


class RepeatedCursorError(AlertingError):
    """The cursors of the listing repeat."""

    ends_listing = True


class OverlongListingError(AlertingError):
    """The listing has more records than its total, and may be endless."""

    ends_listing = True


class FatalSourceError(PermanentError, SourceError):
    """Retrying cannot help; `PermanentError` comes first, so that its retry rule applies."""

    verdict = "dead"
    ends_listing = True


class RefusedRequestError(FatalSourceError):
    """The source refuses the request."""

    def __init__(self, source: str, reason: str, status: int) -> None:
        super().__init__(source, reason)
        self.status = status
        self.is_source_wide = status in UNAUTHORIZED_STATUSES


class OversizedAnswerError(FatalSourceError):
    """The answer is larger than allowed."""


class ForeignRedirectError(FatalSourceError):
    """The source redirects to another host."""


class ForbiddenAddressError(FatalSourceError):
    """The source's host or address is not allowed."""
