"""The reference of the options of actors and jobs, from their docstrings."""

import ast
import inspect
from itertools import pairwise

from workshed.middleware import ActorOptions, MessageOptions


def render_actor_options() -> str:
    """Return one row per option of an actor."""
    of_jobs = read_options(MessageOptions)
    rows = [
        f"| `{name}` | {kind} | {'yes' if name in of_jobs else ''} | {meaning} |"
        for name, (kind, meaning) in read_options(ActorOptions).items()
    ]
    heads = ["| option | type | of a job too | meaning |", "|---|---|---|---|"]
    return "\n".join([*heads, *rows, ""])


def render_job_options() -> str:
    """Return one row per option that only a job has."""
    of_actors = read_options(ActorOptions)
    rows = [
        f"| `{name}` | {kind} | {meaning} |"
        for name, (kind, meaning) in read_options(MessageOptions).items()
        if name not in of_actors
    ]
    return "\n".join(["| option | type | meaning |", "|---|---|---|", *rows, ""])


def read_options(kind: type) -> dict[str, tuple[str, str]]:
    """Return the type and the docstring of each field of a `TypedDict`, for a table."""
    [definition] = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 -- for mypy
    found = {}
    for field, below in pairwise(definition.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name), annotation=annotation),
                ast.Expr(value=ast.Constant(value=text)),
            ):
                found[name] = f"`{_escape(ast.unparse(annotation))}`", _escape(str(text))
    return found


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
