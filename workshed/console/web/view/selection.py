"""The selected rows of a list, and the page of the list to return to."""

from collections.abc import Mapping, Sequence
from typing import Any

from workshed.console.operations.operation import CHANGED_UNASKED, Operation, Preview, Target
from workshed.console.web.auth.csrf import ActionForm
from workshed.console.web.view.page import Action, ActionRequest, ActionResult, BadQueryError
from workshed.errors import WorkshedError

QUERY = "query"
"""The form field with the query of the list."""
MOST_PER_CLICK = 1_000
"""Objects per click: each changed job holds a lock until all are changed, and PostgreSQL has room
for some 6 000 locks."""


def create_action(path: str, operation: Operation[Target], field: str, page: str) -> Action:
    """Return the action that runs an operation on the rows selected in `page`."""

    def run(deed: ActionRequest) -> ActionResult:
        return run_operation(deed, operation, field, page)

    return Action(path, operation.name, run)


def run_operation(
    deed: ActionRequest, operation: Operation[Target], field: str, path: str
) -> ActionResult:
    """Run an operation on the objects selected in the form's `field`; `path`: the page to show."""
    names = selected_ids(deed.form, field)
    same = [(name, value) for name in (field, QUERY) for value in deed.form.all(name)]
    return confirm_and_run(deed, operation, names, return_url(deed.form, path), same)


def confirm_and_run(
    deed: ActionRequest,
    operation: Operation[Target],
    names: Sequence[str],
    back: str,
    repeat_fields: Sequence[tuple[str, str]],
    *,
    details: Mapping[str, Any] | None = None,
    remaining: int = 0,
) -> ActionResult:
    """Run an operation, or ask for confirmation if it needs one and would change something.

    `repeat_fields` select the same objects again, `details` replace the ids in the audit, and
    `remaining` objects are left for another click.
    """
    verb = "remains" if remaining == 1 else "remain"
    rest = f"{remaining} more {verb} for another click." if remaining else ""
    found = operation.find(deed.conn, names)
    is_confirmed = operation.preview is None or deed.form.has("sure")
    if operation.preview is not None and not is_confirmed:
        preview = operation.preview(deed.conn, found)
        if preview.count:
            return ask_to_confirm(
                operation.confirm_text(preview), preview, back, repeat_fields, rest
            )
    result = operation.perform(deed.conn, found, details)
    if result.count and not is_confirmed:
        raise WorkshedError(CHANGED_UNASKED)
    said = _join_sentences(result.message, rest)
    return ActionResult(said, result.count, result.details, back)


def ask_to_confirm(
    text: str, preview: Preview, back: str, repeat_fields: Sequence[tuple[str, str]], rest: str = ""
) -> ActionResult:
    """Return a result that asks the user to confirm `text`: `Retry 3 jobs`."""
    said = _join_sentences(f"This would {text[0].lower()}{text[1:]}.", preview.notes, rest)
    again = [*repeat_fields, ("sure", "yes")]
    return ActionResult(said, preview.count, back=back, confirm=again, button=text)


def selected_ids(form: ActionForm, field: str, most: int = MOST_PER_CLICK) -> list[str]:
    """Return the selected ids; raises `BadQueryError` for none, or more than `most`."""
    found = form.all(field)
    if not found:
        raise BadQueryError("Nothing is selected. Go back and select some rows.")
    if len(found) > most:
        raise BadQueryError(f"{len(found)} are selected; at most {most} are allowed at once.")
    return found


def return_url(form: ActionForm, path: str) -> str:
    """Return the address of the list, with its filters."""
    query = form.one(QUERY)
    return path + query if query.startswith("?") else path


def _join_sentences(*sentences: str) -> str:
    return " ".join(filter(None, sentences))
