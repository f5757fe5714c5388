"""Write the list of public names, with their signatures: `python -m tools.public_api [--check]`.

What this list holds is kept between releases. It is written from the source and not from the
loaded objects, so that it is the same on every Python.
"""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tools.definitions import (
    ROOT,
    Definition,
    find_definitions,
    find_methods,
    is_property,
    is_public,
    read_annotation,
)
from workshed.transport.actors.configured_actor import AsyncConfiguredActor, ConfiguredActor
from workshed.transport.actors.typed_actor import Actor
from workshed.transport.rabbitmq import RabbitMQBroker

FILE = ROOT / "docs" / "public-api.txt"
CHANGELOG = ROOT / "CHANGELOG.md"
PUBLIC = (
    "workshed",
    "workshed.testing",
    "workshed.middleware",
    "workshed.jobs",
    "workshed.errors",
    "workshed.transport.errors",
    "workshed.metrics",
    "workshed.console.doctor",
    "workshed.console.web",
    "workshed.contrib.mail",
    "workshed.contrib.notifications",
    "workshed.contrib.sqlalchemy",
    "workshed.contrib.storage",
)
"""The modules whose `__all__` is public; all other modules may change in any release."""
BROKER = (
    "add_middleware",
    "add_queue",
    "defaults",
    "enqueue",
    "enqueue_at",
    "enqueue_many",
    "flush",
    "flush_all",
    "get_queue_message_counts",
    "join",
    "send_async",
)
"""The methods of the broker that applications call; the others are for the library itself."""
RETURNED = {"workshed.actor": (Actor, ConfiguredActor, AsyncConfiguredActor)}
"""Classes without a public name whose objects public functions return."""
HEAD = """\
The public names of Workshed, written by `make reference`. A change needs an entry in CHANGELOG.md.
"""


def main(words: list[str]) -> int:
    """Write the list, or with `--check` compare it; return the exit code.

    It is 1 if the list is not that of the source, or has changed and the changelog has not.
    """
    content = render_api()
    if words == ["--check"] and FILE.read_text("utf-8") != content:
        sys.stderr.write(f"{FILE.name} is not that of the source: run `make reference`\n")
        return 1
    FILE.write_text(content, "utf-8")
    if lacks_changelog_line(ROOT):
        sys.stderr.write(f"{FILE.name} has changed: say in {CHANGELOG.name} what users must do\n")
        return 1
    return 0


def render_api() -> str:
    """Return the content of the list."""
    return HEAD + "".join(f"\n{block}\n" for block in map("\n".join, _blocks()))


def lacks_changelog_line(root: Path) -> bool:
    """Return whether the list differs from the last commit while the changelog does not.

    If neither differs, the commit that changed the list last is looked at.
    """
    api, changelog = (str(path.relative_to(ROOT)) for path in (FILE, CHANGELOG))
    changed = set(_git(root, "diff", "--name-only", "HEAD", "--", api, changelog))
    if not changed:
        [last] = _git(root, "log", "-1", "--format=%H", "--", api) or [""]
        changed = set(_git(root, "show", "--name-only", "--format=", last)) if last else set()
    return api in changed and changelog not in changed


def _git(root: Path, *words: str) -> list[str]:
    done = subprocess.run(  # noqa: S603 -- this file wrote the command
        ["git", *words],  # noqa: S607 -- whichever git the developer has
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


def _blocks() -> Iterator[list[str]]:
    """Yield the lines of each public object."""
    for name in PUBLIC:
        module = importlib.import_module(name)
        for public in sorted(module.__all__):
            yield list(_lines(f"{name}.{public}", getattr(module, public), module))
            for kind in RETURNED.get(f"{name}.{public}", ()):
                yield list(_class_lines(kind.__name__, kind))


def _lines(name: str, value: Any, module: ModuleType) -> Iterator[str]:
    if isinstance(value, ModuleType):
        for function in value.__all__:
            yield from _lines(f"{name}.{function}", getattr(value, function), value)
    elif inspect.isclass(value):
        yield from _class_lines(name, value)
    elif inspect.isfunction(inspect.unwrap(value)):
        yield from (f"{name}{_signature(one)}" for one in find_definitions(inspect.unwrap(value)))
    else:
        yield f"{name}: {read_annotation(name.rpartition('.')[2], value, module)}"
        if name == "workshed.broker":
            methods = find_methods(RabbitMQBroker, BROKER)
            yield from (f"    {method.name}{_signature(method)}" for method in methods)


def _class_lines(name: str, kind: type) -> Iterator[str]:
    found = find_definitions(kind)
    if not found:
        yield f"{name}: {kind.__module__}.{kind.__qualname__}"
        return
    [definition] = found
    bases = ", ".join(ast.unparse(base) for base in definition.bases)
    yield f"class {name}({bases})" if bases else f"class {name}"
    for node in definition.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=field)) if not field.startswith("_"):
                default = f" = {ast.unparse(node.value)}" if node.value else ""
                yield f"    {field}: {ast.unparse(node.annotation)}{default}"
            case ast.FunctionDef() | ast.AsyncFunctionDef() if is_public(node.name):
                if is_property(node):
                    returns = ast.unparse(node.returns) if node.returns else "Any"
                    yield f"    {node.name}: {returns}"
                else:
                    yield f"    {node.name}{_signature(node)}"


def _signature(node: Definition) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){returns}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
