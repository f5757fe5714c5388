"""What of a list somebody has ticked, and which of its pages they want to see again."""

from collections.abc import Callable, Mapping

from workshed.console.web.auth.csrf import ActionForm
from workshed.console.web.view.page import BadQueryError

QUERY = "query"
"""The field with what stands behind the address of the list."""


def chosen(form: ActionForm, field: str, most: int) -> list[str]:
    """Return what was ticked; raises `BadQueryError` for nothing, or too much for one press."""
    found = form.all(field)
    if not found:
        raise BadQueryError("Nothing is chosen: tick the boxes of those that are meant.")
    if len(found) > most:
        raise BadQueryError(f"{len(found)} are chosen; at most {most} at once.")
    return found


def back(form: ActionForm, path: str) -> str:
    """Return the address of the list, with its filters."""
    query = form.one(QUERY)
    return path + query if query.startswith("?") else path


def asked(form: ActionForm, field: str) -> list[tuple[str, str]]:
    """Return the fields by which somebody who agrees means the same."""
    same = [(name, value) for name in (field, QUERY) for value in form.all(name)]
    return [*same, ("sure", "yes")]


def told(fates: Mapping[str, int]) -> str:
    """Say what became of how many: `2 moved, 1 on its way`."""
    return ", ".join(f"{number} {fate}" for fate, number in fates.items() if number)


def sorted_out(ids: list[str], do: Callable[[str], str]) -> dict[str, int]:
    """Do it with each, and count by what became of it; in one order, as others lock them too."""
    fates: dict[str, int] = {}
    for one in sorted(ids):
        fate = do(one)
        fates[fate] = fates.get(fate, 0) + 1
    return fates
