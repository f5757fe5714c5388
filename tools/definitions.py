"""The definitions in the source of the library, as `ast` reads them."""

import ast
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
Definition = ast.FunctionDef | ast.AsyncFunctionDef
CALLED_BY_SYNTAX = {"__init__", "__call__", "__enter__", "__exit__"}
PROPERTIES = {"property", "functools.cached_property"}


def find_definitions(value: Any) -> list[Any]:
    """Return the definitions of a function or class in its source; several for overloads.

    It is empty for an object of another package.
    """
    file = inspect.getsourcefile(value)
    if file is None or not Path(file).is_relative_to(ROOT / "workshed"):
        return []
    wanted = ast.ClassDef if inspect.isclass(value) else Definition
    body = ast.parse(Path(file).read_text("utf-8")).body
    return [
        node
        for node in body
        if isinstance(node, wanted) and node.name == value.__qualname__.partition(".")[0]
    ]


def list_methods(kind: type) -> list[Definition]:
    """Return the methods in the source of a class of this repository."""
    return [
        node
        for definition in find_definitions(kind)
        for node in definition.body
        if isinstance(node, Definition)
    ]


def find_methods(kind: type, names: tuple[str, ...]) -> list[Definition]:
    """Return methods of a class by their names, each from the nearest class that has it."""
    methods = {
        definition.name: definition
        for base in reversed(kind.__mro__[:-1])
        for definition in list_methods(base)
    }
    return [methods[name] for name in names]


def is_public(name: str) -> bool:
    """Return whether a member of a class belongs to its public interface."""
    return not name.startswith("_") or name in CALLED_BY_SYNTAX


def is_property(definition: Definition) -> bool:
    """Return whether a method is read as an attribute."""
    return not PROPERTIES.isdisjoint(ast.unparse(one) for one in definition.decorator_list)


def read_annotation(name: str, value: Any, module: ModuleType) -> str:
    """Return how a variable is annotated in its module, or its type."""
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
            return ast.unparse(node.annotation)
    # An alias such as `Literal["ok", "failed"]` has no name of its own.
    return (
        repr(value).replace("typing.", "") if hasattr(value, "__args__") else type(value).__name__
    )
