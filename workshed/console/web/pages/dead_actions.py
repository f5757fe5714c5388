"""Retry and discard dead jobs: one, the selected ones, or a group."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from workshed.console.operations import dead_jobs
from workshed.console.operations.operation import Operation, filter_details
from workshed.console.web.auth.csrf import ActionForm
from workshed.console.web.view import known_names, responses
from workshed.console.web.view.page import (
    ActionRequest,
    ActionResult,
    BadQueryError,
    parse_span,
)
from workshed.console.web.view.selection import confirm_and_run
from workshed.database.postgres import Connection, database_now
from workshed.errors import WorkshedError
from workshed.jobs.dead import dead_jobs as dead
from workshed.jobs.dead.dead_jobs import DeadFilter
from workshed.jobs.names import Names
from workshed.value_class import value_class

MOST_PER_CLICK = 5_000
"""Jobs per click; all are in one transaction."""
FILTERS = ("queue", "actor", "error", "since", "error_location")


@value_class
class DeadSelection:
    """The jobs that a form selects."""

    ids: Sequence[str]
    repeat_fields: Sequence[tuple[str, str]]
    """The form fields that select the same jobs, and none that has died since."""
    back: str
    details: Mapping[str, Any] | None = None
    """The filter that selected them, for the audit."""
    remaining: int = 0
    """How many more match, beyond those of one click."""

    def run(self, deed: ActionRequest, operation: Operation[str]) -> ActionResult:
        """Run an operation on these jobs, after confirmation."""
        again = [*self.repeat_fields, ("back", self.back)]
        return confirm_and_run(
            deed,
            operation,
            self.ids,
            self.back,
            again,
            details=self.details,
            remaining=self.remaining,
        )


def retry_dead(deed: ActionRequest) -> ActionResult:
    """Retry dead jobs; a single one without confirmation."""
    chosen = select_dead(deed)
    is_one = chosen.details is None and len(chosen.ids) == 1
    return chosen.run(deed, replace(dead_jobs.RETRY, preview=None) if is_one else dead_jobs.RETRY)


def discard_dead(deed: ActionRequest) -> ActionResult:
    """Delete dead jobs; their attempts record the discard and the user."""
    return select_dead(deed).run(deed, dead_jobs.discard(f"by {deed.user.name} on the console"))


def select_dead(deed: ActionRequest) -> DeadSelection:
    """Return the jobs that a form selects; raises `WorkshedError` for none or too many."""
    form = deed.form
    back = responses.safe_path(form.one("back"), "/dead")
    if form.has("every") and not form.has("one"):
        return _select_group(deed, back)
    ids = [form.one("one")] if form.has("one") else form.all("id")
    if not ids:
        raise WorkshedError("No job is selected. Go back and select some.")
    if len(ids) > MOST_PER_CLICK:
        raise WorkshedError(
            f"{len(ids)} jobs are selected; at most {MOST_PER_CLICK} are allowed at once."
        )
    return DeadSelection(ids, [("id", message_id) for message_id in ids], back)


def _select_group(deed: ActionRequest, back: str) -> DeadSelection:
    form = deed.form
    fields = {name: form.one(name) for name in FILTERS if form.has(name)}
    until = _parse_until(form) or database_now(deed.conn)
    which = DeadFilter(
        queue=_match_queue(deed.conn, fields.get("queue")),
        # Exact names, because the group may have none left, and others may begin with its names.
        actor=fields.get("actor"),
        error=fields.get("error"),
        since=parse_span(fields["since"], "since") if "since" in fields else None,
        error_location=fields.get("error_location"),
    )
    ids = dead.list_ids(deed.conn, which, until=until, limit=MOST_PER_CLICK)
    left = (
        dead.count_dead_jobs(deed.conn, which) - MOST_PER_CLICK if len(ids) == MOST_PER_CLICK else 0
    )
    again = [("every", "yes"), *fields.items(), ("until", until.isoformat())]
    return DeadSelection(ids, again, back, filter_details(which), left)


def _match_queue(conn: Connection, text: str | None) -> Names:
    """Return the queue of this name, or for `charge*` all that begin so."""
    if text is None or not text.endswith(known_names.ALL):
        return text
    return known_names.match_names(text, known_names.list_queue_names(conn)).names


def _parse_until(form: ActionForm) -> datetime | None:
    text = form.one("until")
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        raise BadQueryError(f"{text!r} is not a time", "until") from None
