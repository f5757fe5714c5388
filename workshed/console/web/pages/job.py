"""Job: everything known about one job, wherever it is; cancel, retry or run it now."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from workshed.console.errors import NotFoundError
from workshed.console.operations import history, message_body, relations, resend_as_code, timeline
from workshed.console.operations.attempts import list_attempts
from workshed.console.operations.cancel import CANCEL_ONE
from workshed.console.operations.dead_jobs import RETRY
from workshed.console.operations.environment import has_rabbitmq
from workshed.console.operations.operation import Operation
from workshed.console.operations.scheduled import RUN
from workshed.console.operations.timeline import KnownJob
from workshed.console.web.view import templates
from workshed.console.web.view.page import (
    ROWS,
    Action,
    ActionRequest,
    ActionResult,
    Page,
    PageRequest,
)
from workshed.console.web.view.selection import confirm_and_run
from workshed.jobs import traces
from workshed.jobs.batches import progress
from workshed.jobs.dead import dead_jobs
from workshed.jobs.outcomes import FINAL
from workshed.settings import settings

SKIPPED_HINT = (
    ". If it is on RabbitMQ, `workshed job ID cancel` makes workers skip it when it starts."
)
ENDED_OUTCOMES = tuple(kind for kind in FINAL if kind != "dead")


def load_job_page(ask: PageRequest) -> Mapping[str, Any]:
    """Show the state of a job, its timeline, and its relations."""
    message_id = ask.text("id")
    if message_id is None:
        raise NotFoundError("Which job? Put its id into the address: /job?id=…")
    known = timeline.load_job(ask.conn, message_id)
    if not known.is_known:
        raise NotFoundError(
            timeline.describe_unknown(message_id) + (SKIPPED_HINT if has_rabbitmq() else "")
        )
    children = relations.list_children(ask.conn, message_id, ROWS + 1)
    return {
        **_job_facts(known),
        **_message_facts(known),
        "timeline": known.timeline,
        "attempts": list_attempts(known),
        "keys": relations.list_keys(ask.conn, message_id),
        "batch": progress.get_membership(ask.conn, message_id),
        "children": children[:ROWS],
        "more_children": len(children) > ROWS,
        "may": _allowed_actions(known),
    }


def _job_facts(known: KnownJob) -> dict[str, Any]:
    last = known.runs[-1] if known.runs else None
    one = known.row or last or known.running or (known.attempts[-1] if known.attempts else None)
    options = known.options
    trace = last.trace if last else _trace_id(options)
    return {
        "id": known.message_id,
        "state": known.state,
        "cancelled": known.cancelled,
        "actor": one.actor if one else None,
        "queue": one.queue if one else None,
        "tags": last.tags if last else _as_strings(options.get("tags")),
        "release": last.release or None if last else None,
        "parent": _as_string(options.get("parent")) or (last.parent if last else None),
        "trace": trace,
        "due_at": known.waiting.due_at if known.waiting else None,
        "stored_as": known.waiting.reason if known.waiting else None,
        "died_of": known.dead.reason if known.dead else None,
        "links": {
            "trace": _fill_link(settings().trace_link, "{trace}", trace),
            "sentry": _fill_link(settings().sentry_link, "{message_id}", known.message_id),
        },
    }


def _message_facts(known: KnownJob) -> dict[str, Any]:
    sent, row = resend_as_code.find_send_call(known), known.row
    return {
        "call": _format_call(known),
        "send": sent.python_call if sent else None,
        "command": sent.command if sent else None,
        "body": message_body.decode_body(row.body) if row else None,
        "text": message_body.body_as_text(row.body) if row else None,
    }


def _format_call(known: KnownJob) -> str | None:
    if known.runs:
        return history.run_as_call(known.runs[-1])
    return message_body.body_as_call(known.row.actor, known.row.body) if known.row else None


def _allowed_actions(known: KnownJob) -> dict[str, bool]:
    """Return which actions make sense for a job."""
    return {
        "cancel": known.state != "dead" and known.state not in ENDED_OUTCOMES,
        "run": known.state == "scheduled",
        "retry": known.dead is not None
        and (known.dead.actor is not None or known.dead.error_class == dead_jobs.UNDECODED_CLASS),
    }


def _trace_id(options: Mapping[str, Any]) -> str | None:
    headers = options.get("trace")
    return traces.find_trace_id(options) if traces.headers_problem(headers) is None else None


def _as_strings(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _as_string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _fill_link(address: str, name: str, value: str | None) -> str | None:
    return address.replace(name, quote(value, safe="")) if address and value else None


def cancel_job(deed: ActionRequest) -> ActionResult:
    """Cancel a job, so that it does not run, or not again; after confirmation."""
    message_id, _ = _job_of_form(deed)
    return _run_operation(deed, CANCEL_ONE, details={"id": message_id})


def run_job_now(deed: ActionRequest) -> ActionResult:
    """Make a waiting job due now."""
    return _run_operation(deed, RUN)


def retry_job(deed: ActionRequest) -> ActionResult:
    """Retry a dead job, from attempt 1."""
    return _run_operation(deed, replace(RETRY, preview=None))


def _run_operation(
    deed: ActionRequest, operation: Operation[str], details: Mapping[str, Any] | None = None
) -> ActionResult:
    message_id, back = _job_of_form(deed)
    again = [("id", message_id)]
    return confirm_and_run(deed, operation, [message_id], back, again, details=details)


def _job_of_form(deed: ActionRequest) -> tuple[str, str]:
    """Return the id of the job in a form, and the address of its page."""
    message_id = deed.form.one("id")
    if not message_id:
        raise NotFoundError("Which job? The form lacks its id.")
    return message_id, f"/job{templates.format_query({'id': message_id})}"


PAGES: tuple[Page, ...] = (Page("/job", "Job", "job.html", load_job_page, is_live=True),)
ACTIONS: tuple[Action, ...] = (
    Action("/job/cancel", "job.cancel", cancel_job),
    Action("/job/run", RUN.name, run_job_now),
    Action("/job/retry", RETRY.name, retry_job),
)
