"""The selected rows of a list, and the page of the list to return to."""

from collections.abc import Callable, Mapping

from workshed.console.operations.operation import (
    Operation,
    Target,
    id_details,
    summarize_answers,
)
from workshed.console.web.auth.csrf import ActionForm
from workshed.console.web.view.page import ActionRequest, ActionResult, BadQueryError

QUERY = "query"
"""The form field with the query of the list."""
MOST_PER_CLICK = 1_000
"""Objects per click: each changed job holds a lock until all are changed, and PostgreSQL has room
for some 6 000 locks."""


def run_operation(
    deed: ActionRequest, operation: Operation[Target], field: str, path: str
) -> ActionResult:
    """Run an operation on the objects selected in the form's `field`; `path`: the page to show."""
    found = operation.find(deed.conn, selected_ids(deed.form, field))
    answers = {name: operation.run(deed.conn, one) for name, one in found.items()}
    changed = [name for name, answer in answers.items() if operation.has_changed(answer)]
    said = f"{summarize_answers(operation.kind, answers)} {operation.effect if changed else ''}"
    details = id_details(operation.kind, changed)
    return ActionResult(said.rstrip(), len(changed), details, return_url(deed.form, path))


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


def confirmed_fields(form: ActionForm, field: str) -> list[tuple[str, str]]:
    """Return the form fields that repeat the selection once the user confirms."""
    same = [(name, value) for name in (field, QUERY) for value in form.all(name)]
    return [*same, ("sure", "yes")]


def describe_results(fates: Mapping[str, int]) -> str:
    """Format results with their counts: `2 moved, 1 on its way`."""
    return ", ".join(f"{number} {fate}" for fate, number in fates.items() if number)


def apply_each(ids: list[str], do: Callable[[str], str]) -> dict[str, int]:
    """Call `do` with each id and count the results; sorted, because callers lock in that order."""
    fates: dict[str, int] = {}
    for one in sorted(ids):
        fate = do(one)
        fates[fate] = fates.get(fate, 0) + 1
    return fates
