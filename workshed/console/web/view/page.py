"""What a page shows and what an action does, apart from how either travels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from workshed.console.formatting import span
from workshed.console.web.auth.csrf import ActionForm
from workshed.console.web.auth.who import Who
from workshed.db import Connection
from workshed.errors import WorkshedError

ROWS = 50
"""Of a list on one page."""
COUNTED = 1_000
"""What is more is not counted, as that would take long: `1000+`."""


class BadQueryError(WorkshedError):
    """A filter in the address of a page cannot be read."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What somebody wants to see."""

    conn: Connection
    """In a transaction that writes nothing."""
    who: Who
    query: Mapping[str, str]
    """Behind the `?` of the address; what is empty is not there."""
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
            raise BadQueryError(f"{name}: {text!r} is no number")
        return int(text)

    def span(self, name: str) -> timedelta | None:
        """Return a filter like `15m` or `3d`; raises `BadQueryError`."""
        text = self.query.get(name)
        try:
            return None if text is None else span(text)
        except Exception as err:
            raise BadQueryError(f"{name}: {text!r} is no span like 3d, 2h, 15m or 30s") from err


@dataclass(frozen=True, slots=True)
class Page:
    """A page; its `path` with `.json` gives programs what it shows."""

    path: str
    title: str
    template: str
    """In `templates/desk/`; of an application `package:file.html`, in `templates` of that package.
    The live page replaces its block `main`."""
    look: Callable[[PageRequest], Mapping[str, Any]]
    """Raises `NotFoundError` or `BadQueryError`."""
    group: str | None = None
    """Where the menu has it; `None`: it is reached from other pages."""
    is_live: bool = False
    needs: str = "workshed"
    """The schema without which there is no such page."""
    is_there: Callable[[], bool] = lambda: True
    """Whether this installation has what it shows."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A file, or a document that is no page of ours."""

    media_type: str
    filename: str | None
    """Under which it is saved, in ASCII; `None`: the browser shows it."""
    body: bytes | Iterator[bytes]
    """Read when the transaction of `make` has ended."""
    policy: str = "default-src 'none'; frame-ancestors 'none'; sandbox"
    """What it could do where a browser shows it, as `Content-Security-Policy` says it."""


@dataclass(frozen=True, slots=True)
class Download:
    """What is not shown within a page; anyone who may look may have it."""

    path: str
    make: Callable[[PageRequest], Downloaded]
    """Raises `NotFoundError` or `BadQueryError`."""
    needs: str = "workshed"
    is_there: Callable[[], bool] = lambda: True
    """Both as a page has them."""


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """What somebody wants to be done."""

    conn: Connection
    form: ActionForm
    who: Who


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What an action did, or asks before it does anything."""

    message: str
    """One sentence, without what is secret."""
    count: int
    """How many have changed."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """For the audit: ids, or the filter that chose them."""
    back: str = "/"
    """The page to show next, with its query."""
    confirm: Sequence[tuple[str, str]] | None = None
    """Nothing was done yet: the fields to send again once the operator agrees to `message`."""
    button: str = "Go ahead"


@dataclass(frozen=True, slots=True)
class Action:
    """What an operator can do; it is a POST, and noted in the audit with what it did."""

    path: str
    name: str
    """In the audit, e.g. `dead.retry`."""
    do: Callable[[ActionRequest], ActionResult]
    """Raises `WorkshedError` where it cannot be done; then nothing has changed."""
    is_one: bool = True
    """All in one transaction, the audit included; else `conn` is in autocommit."""
    needs: str = "workshed"
