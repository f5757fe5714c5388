"""Retry and discard dead jobs: one, the selected ones, or a group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import typer

from workshed.console.errors import NotFoundError
from workshed.console.formatting import jobs, span
from workshed.console.operations import dead_jobs
from workshed.console.web.auth.csrf import ActionForm
from workshed.console.web.view import responses
from workshed.console.web.view.page import ActionRequest, ActionResult
from workshed.errors import WorkshedError
from workshed.jobs.dead import dead_jobs as dead
from workshed.jobs.dead import retry_preview
from workshed.jobs.dead.dead_jobs import DeadFilter, UnreadableJobError
from workshed.jobs.outbox.claims import database_now
from workshed.transport.messages.envelope import decode

MOST = 5_000
"""Jobs per click; all are in one transaction."""
FILTERS = ("queue", "actor", "error", "since", "error_location")
NOBODY = "None of these is dead any longer: another operator was first, or they have expired."


@dataclass(frozen=True, slots=True)
class DeadSelection:
    """The jobs that a form selects."""

    ids: Sequence[str]
    about: Mapping[str, Any]
    """For the audit."""
    again: Sequence[tuple[str, str]]
    """The form fields that select the same jobs, and none that has died since."""
    back: str
    left: int = 0
    """How many more match, beyond those of one click."""

    @property
    def is_one(self) -> bool:
        """Tell whether the user has selected exactly one job."""
        return "ids" in self.about and len(self.ids) == 1

    @property
    def rest(self) -> str:
        """Say how many jobs remain."""
        verb = "remains" if self.left == 1 else "remain"
        return f"{self.left} more {verb} for another click." if self.left else ""

    def asking(self, said: str, count: int, verb: str) -> ActionResult:
        """Return a result that asks for confirmation."""
        again = [*self.again, ("back", self.back), ("sure", "yes")]
        button = f"{verb} {jobs(count)}"
        return ActionResult(said, count, self.about, self.back, confirm=again, button=button)


def retry_dead(deed: ActionRequest) -> ActionResult:
    """Retry dead jobs; those that cannot be read stay dead."""
    chosen = select_dead(deed)
    if not (deed.form.has("sure") or chosen.is_one):
        return _would_retry(deed, chosen)
    done = unreadable = 0
    for message_id in chosen.ids:
        try:
            done += dead.retry_job(deed.conn, message_id, decode)
        except UnreadableJobError:
            if chosen.is_one:
                raise
            unreadable += 1
    if not done:
        raise NotFoundError(dead_jobs.unreadable_text(unreadable) or NOBODY)
    gone = _gone(len(chosen.ids) - done - unreadable)
    said = _sentences(
        f"{jobs(done)} retried.", dead_jobs.unreadable_text(unreadable), gone, chosen.rest
    )
    return ActionResult(said, done, chosen.about, chosen.back)


def discard_dead(deed: ActionRequest) -> ActionResult:
    """Delete dead jobs; their attempts record the discard and the user."""
    chosen = select_dead(deed)
    if not deed.form.has("sure"):
        return _would_discard(deed, chosen)
    reason = f"by {deed.who.name} on the console"
    done = sum(dead.discard_job(deed.conn, message_id, reason) for message_id in chosen.ids)
    if not done:
        raise NotFoundError(NOBODY)
    gone = _gone(len(chosen.ids) - done)
    said = _sentences(f"{jobs(done)} discarded.", gone, chosen.rest)
    return ActionResult(said, done, chosen.about, chosen.back)


def select_dead(deed: ActionRequest) -> DeadSelection:
    """Return the jobs that a form selects; raises `WorkshedError` for none or too many."""
    form = deed.form
    back = responses.safe_path(form.one("back"), "/dead")
    if form.has("every") and not form.has("one"):
        return _group(deed, back)
    ids = [form.one("one")] if form.has("one") else form.all("id")
    if not ids:
        raise WorkshedError("No job is selected. Go back and select some.")
    if len(ids) > MOST:
        raise WorkshedError(f"{len(ids)} jobs are selected; at most {MOST} are allowed at once.")
    return DeadSelection(ids, {"ids": ids}, [("id", message_id) for message_id in ids], back)


def _group(deed: ActionRequest, back: str) -> DeadSelection:
    form = deed.form
    fields = {name: form.one(name) for name in FILTERS if form.has(name)}
    until = _instant(form) or database_now(deed.conn)
    which = DeadFilter(
        queue=fields.get("queue"),
        actor=fields.get("actor"),
        error=fields.get("error"),
        since=_span(form),
        error_location=fields.get("error_location"),
    )
    ids = dead.list_ids(deed.conn, which, until=until, limit=MOST)
    left = dead.count_dead_jobs(deed.conn, which) - MOST if len(ids) == MOST else 0
    again = [("every", "yes"), *fields.items(), ("until", until.isoformat())]
    return DeadSelection(ids, fields, again, back, left)


def _would_retry(deed: ActionRequest, chosen: DeadSelection) -> ActionResult:
    prospect = retry_preview.preview_retry(deed.conn, chosen.ids, decode)
    if not prospect.jobs:
        raise NotFoundError(dead_jobs.unreadable_text(prospect.unreadable) or NOBODY)
    said = _sentences(
        f"This would retry {jobs(prospect.jobs)}.",
        dead_jobs.waits_text(prospect),
        dead_jobs.unreadable_text(prospect.unreadable),
        chosen.rest,
    )
    return chosen.asking(said, prospect.jobs, "Retry")


def _would_discard(deed: ActionRequest, chosen: DeadSelection) -> ActionResult:
    count = dead.count_of(deed.conn, chosen.ids)
    if not count:
        raise NotFoundError(NOBODY)
    for_good = (
        "It can then no longer be retried." if count == 1 else "They can then no longer be retried."
    )
    said = _sentences(f"This would discard {jobs(count)}.", for_good, chosen.rest)
    return chosen.asking(said, count, "Discard")


def _gone(number: int) -> str:
    if not number:
        return ""
    return f"{jobs(number)} {'was' if number == 1 else 'were'} no longer dead."


def _sentences(*said: str) -> str:
    return " ".join(filter(None, said))


def _instant(form: ActionForm) -> datetime | None:
    text = form.one("until")
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        raise WorkshedError(f"until: {text!r} is not a time") from None


def _span(form: ActionForm) -> timedelta | None:
    text = form.one("since")
    try:
        return span(text) if text else None
    except typer.BadParameter as err:
        raise WorkshedError(f"since: {err}") from None
