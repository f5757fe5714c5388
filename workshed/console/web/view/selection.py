"""What of a list somebody has ticked, and which of its pages they want to see again."""

from collections.abc import Callable, Mapping

from workshed.console.web.auth.csrf import ActionForm
from workshed.console.web.view.page import BadQueryError

QUERY = "query"
"""The field with what stands behind the address of the list."""


def selected_ids(form: ActionForm, field: str, most: int) -> list[str]:
    """Return what was ticked; raises `BadQueryError` for nothing, or too much for one press."""
    found = form.all(field)
    if not found:
        raise BadQueryError("Nothing is chosen: tick the boxes of those that are meant.")
    if len(found) > most:
        raise BadQueryError(f"{len(found)} are chosen; at most {most} at once.")
    return found


def return_url(form: ActionForm, path: str) -> str:
    """Return the address of the list, with its filters."""
    query = form.one(QUERY)
    return path + query if query.startswith("?") else path


def confirmed_fields(form: ActionForm, field: str) -> list[tuple[str, str]]:
    """Return the fields by which somebody who agrees means the same."""
    same = [(name, value) for name in (field, QUERY) for value in form.all(name)]
    return [*same, ("sure", "yes")]


def describe_results(fates: Mapping[str, int]) -> str:
    """Say what became of how many: `2 moved, 1 on its way`."""
    return ", ".join(f"{number} {fate}" for fate, number in fates.items() if number)


def sorted_out(ids: list[str], do: Callable[[str], str]) -> dict[str, int]:
    """Do it with each, and count by what became of it; in one order, as others lock them too."""
    fates: dict[str, int] = {}
    for one in sorted(ids):
        fate = do(one)
        fates[fate] = fates.get(fate, 0) + 1
    return fates
