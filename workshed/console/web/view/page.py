"""Pages, downloads and actions, independent of HTTP."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any

import typer

from workshed.console.formatting import TIME_METAVAR, parse_duration, parse_time
from workshed.console.web.auth.csrf import ActionForm
from workshed.console.web.auth.roles import Who
from workshed.database.postgres import Connection
from workshed.errors import WorkshedError
from workshed.value_class import value_class

ROWS = 50
"""Rows of a list on one page."""
MOST_COUNTED = 1_000
"""More are not counted, because that would take long: `1000+`."""


LONGEST_SPAN = timedelta(days=36_500)
"""PostgreSQL has no times of long before."""


class BadQueryError(WorkshedError):
    """A filter in the address of a page, or a field of a form, cannot be read."""

    def __init__(self, problem: str, field: str | None = None) -> None:
        """Name the `field` that has the problem, so that the page can mark it."""
        super().__init__(problem if field is None else f"{field}: {problem}")
        self.problem = problem
        self.field = field


@value_class
class PageRequest:
    """A request for a page or a download."""

    conn: Connection
    """In a read-only transaction."""
    user: Who
    query: Mapping[str, str]
    """The query of the address, without empty values."""
    now: datetime

    def text(self, name: str) -> str | None:
        """Return a filter, if it is set."""
        return self.query.get(name)

    def number(self, name: str) -> int | None:
        """Return a filter that is a number; raises `BadQueryError`."""
        text = self.query.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < len(str(1 << 63))):
            raise BadQueryError(f"{text!r} is not a number", name)
        return int(text)

    def duration(self, name: str) -> timedelta | None:
        """Return a filter like `15m` or `3d`; raises `BadQueryError`."""
        text = self.query.get(name)
        return None if text is None else parse_span(text, name)

    def moment(self, name: str) -> datetime | None:
        """Return a filter that is a time, or a duration before now; raises `BadQueryError`."""
        text = self.query.get(name)
        if text is None:
            return None
        try:
            return parse_time(text) if "T" in text else self.now - parse_duration(text)
        except typer.BadParameter as err:
            raise BadQueryError(f"{err.message}; a time is like {TIME_METAVAR}", name) from None


def parse_span(text: str, field: str) -> timedelta:
    """Parse the duration in a field, like `15m` or `3d`; raises `BadQueryError`."""
    try:
        return parse_duration(text)
    except typer.BadParameter as err:
        raise BadQueryError(err.message, field) from None


def load_nothing(_ask: PageRequest) -> Mapping[str, Any]:
    """Return the data of a page without a form."""
    return {}


@value_class
class Page:
    """A page; its `path` with `.json` returns the same data as JSON."""

    path: str
    title: str
    template: str
    """A file in `templates/desk/`; for an application `package:file.html`, in the folder
    `templates` of that package. A live page replaces its block `main`."""
    load: Callable[[PageRequest], Mapping[str, Any]]
    """Raises `NotFoundError` or `BadQueryError`."""
    group: str | None = None
    """Its group in the menu; `None`: it is reached only from other pages."""
    is_live: bool = False
    required_schema: str = "workshed"
    """The schema that the page needs; without it, the page does not exist."""
    is_available: Callable[[], bool] = lambda: True
    """Whether this installation has what the page shows."""
    load_form: Callable[[PageRequest], Mapping[str, Any]] = load_nothing
    """Returns what the block `filters` of the template needs, and never raises `BadQueryError`. A
    page with a wrong filter shows only this block."""


@value_class
class DownloadContent:
    """The content of a download: a file, or a document that is not a page of the console."""

    media_type: str
    filename: str | None
    """Name to save it under, in ASCII; `None`: the browser shows it."""
    body: bytes | Iterator[bytes]
    """An iterator is read after the transaction of `build` has ended."""
    policy: str = "default-src 'none'; frame-ancestors 'none'; sandbox"
    """The `Content-Security-Policy`, for when a browser shows it."""


@value_class
class Download:
    """A download, available to every authenticated user."""

    path: str
    build: Callable[[PageRequest], DownloadContent]
    """Raises `NotFoundError` or `BadQueryError`."""
    required_schema: str = "workshed"
    is_available: Callable[[], bool] = lambda: True
    """`required_schema` and `is_available` are as for a page."""


@value_class
class ActionRequest:
    """A request to run an action."""

    conn: Connection
    form: ActionForm
    user: Who


@value_class
class ActionResult:
    """What an action did, or a question before it does anything."""

    message: str
    """One sentence, without secrets."""
    count: int
    """How many objects have changed."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """For the audit: ids, or the filter that selected them."""
    back: str = "/"
    """The page to show next, with its query."""
    confirm: Sequence[tuple[str, str]] | None = None
    """If set, nothing was done yet: the fields to send again once the user confirms `message`."""
    button: str = "Go ahead"


@value_class
class Action:
    """Something an operator can do; it is a POST, and recorded in the audit."""

    path: str
    name: str
    """Its name in the audit, for example `dead.retry`."""
    run: Callable[[ActionRequest], ActionResult]
    """Raises `WorkshedError` if it cannot be done; then nothing has changed."""
    is_transactional: bool = True
    """Run in one transaction, with the audit entry; otherwise `conn` is in autocommit."""
    required_schema: str = "workshed"
    is_personal: bool = False
    """Every user may do it, because it concerns the user's own sessions."""
