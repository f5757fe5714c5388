"""Retry and discard dead jobs: one, the selected ones, or a group."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from workshed.console.errors import NotFoundError
from workshed.console.formatting import format_job_count
from workshed.console.operations import dead_jobs
from workshed.console.web.auth.csrf import ActionForm
from workshed.console.web.view import known_names, responses
from workshed.console.web.view.page import (
    ActionRequest,
    ActionResult,
    BadQueryError,
    parse_span,
)
from workshed.database.postgres import Connection, database_now
from workshed.errors import WorkshedError
from workshed.jobs.dead import dead_jobs as dead
from workshed.jobs.dead import retry_preview
from workshed.jobs.dead.dead_jobs import DeadFilter, UnreadableJobError
from workshed.jobs.names import Names
from workshed.transport.messages.envelope import decode_message
from workshed.value_class import value_class

MOST_PER_CLICK = 5_000
"""Jobs per click; all are in one transaction."""
FILTERS = ("queue", "actor", "error", "since", "error_location")
NONE_DEAD = "None of these is dead any longer: another operator was first, or they have expired."


@value_class
class DeadSelection:
    """The jobs that a form selects."""

    ids: Sequence[str]
    details: Mapping[str, Any]
    """For the audit."""
    repeat_fields: Sequence[tuple[str, str]]
    """The form fields that select the same jobs, and none that has died since."""
    back: str
    remaining: int = 0
    """How many more match, beyond those of one click."""

    @property
    def is_one(self) -> bool:
        """Tell whether the user has selected exactly one job."""
        return "ids" in self.details and len(self.ids) == 1

    @property
    def rest_sentence(self) -> str:
        """Say how many jobs remain."""
        verb = "remains" if self.remaining == 1 else "remain"
        return f"{self.remaining} more {verb} for another click." if self.remaining else ""

    def ask_to_confirm(self, said: str, count: int, verb: str) -> ActionResult:
        """Return a result that asks for confirmation."""
        again = [*self.repeat_fields, ("back", self.back), ("sure", "yes")]
        button = f"{verb} {format_job_count(count)}"
        return ActionResult(said, count, self.details, self.back, confirm=again, button=button)


def retry_dead(deed: ActionRequest) -> ActionResult:
    """Retry dead jobs; those that cannot be read stay dead."""
    chosen = select_dead(deed)
    if not (deed.form.has("sure") or chosen.is_one):
        return _preview_retry(deed, chosen)
    done = unreadable = 0
    for message_id in chosen.ids:
        try:
            done += dead.retry_job(deed.conn, message_id, decode_message)
        except UnreadableJobError:
            if chosen.is_one:
                raise
            unreadable += 1
    if not done:
        raise NotFoundError(dead_jobs.unreadable_text(unreadable) or NONE_DEAD)
    gone = _gone_sentence(len(chosen.ids) - done - unreadable)
    said = _join_sentences(
        f"{format_job_count(done)} retried.",
        dead_jobs.unreadable_text(unreadable),
        gone,
        chosen.rest_sentence,
    )
    return ActionResult(said, done, chosen.details, chosen.back)


def discard_dead(deed: ActionRequest) -> ActionResult:
    """Delete dead jobs; their attempts record the discard and the user."""
    chosen = select_dead(deed)
    if not deed.form.has("sure"):
        return _preview_discard(deed, chosen)
    reason = f"by {deed.who.name} on the console"
    done = sum(dead.discard_job(deed.conn, message_id, reason) for message_id in chosen.ids)
    if not done:
        raise NotFoundError(NONE_DEAD)
    gone = _gone_sentence(len(chosen.ids) - done)
    said = _join_sentences(f"{format_job_count(done)} discarded.", gone, chosen.rest_sentence)
    return ActionResult(said, done, chosen.details, chosen.back)


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
    return DeadSelection(ids, {"ids": ids}, [("id", message_id) for message_id in ids], back)


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
    return DeadSelection(ids, fields, again, back, left)


def _match_queue(conn: Connection, text: str | None) -> Names:
    """Return the queue of this name, or for `charge*` all that begin so."""
    if text is None or not text.endswith(known_names.ALL):
        return text
    return known_names.match_names(text, known_names.list_queue_names(conn)).names


def _preview_retry(deed: ActionRequest, chosen: DeadSelection) -> ActionResult:
    prospect = retry_preview.preview_retry(deed.conn, chosen.ids, decode_message)
    if not prospect.jobs:
        raise NotFoundError(dead_jobs.unreadable_text(prospect.unreadable) or NONE_DEAD)
    said = _join_sentences(
        f"This would retry {format_job_count(prospect.jobs)}.",
        dead_jobs.waits_text(prospect),
        dead_jobs.unreadable_text(prospect.unreadable),
        chosen.rest_sentence,
    )
    return chosen.ask_to_confirm(said, prospect.jobs, "Retry")


def _preview_discard(deed: ActionRequest, chosen: DeadSelection) -> ActionResult:
    count = dead.count_dead_ids(deed.conn, chosen.ids)
    if not count:
        raise NotFoundError(NONE_DEAD)
    for_good = (
        "It can then no longer be retried." if count == 1 else "They can then no longer be retried."
    )
    said = _join_sentences(
        f"This would discard {format_job_count(count)}.", for_good, chosen.rest_sentence
    )
    return chosen.ask_to_confirm(said, count, "Discard")


def _gone_sentence(number: int) -> str:
    if not number:
        return ""
    return f"{format_job_count(number)} {'was' if number == 1 else 'were'} no longer dead."


def _join_sentences(*said: str) -> str:
    return " ".join(filter(None, said))


def _parse_until(form: ActionForm) -> datetime | None:
    text = form.one("until")
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        raise BadQueryError(f"{text!r} is not a time", "until") from None
