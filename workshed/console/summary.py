"""The one line about a command, read from its source: to list all, none has to be imported."""

import ast
from importlib.util import find_spec
from pathlib import Path


def read_summary(place: str) -> str | None:
    """Return the first paragraph about a command at `module:name`; `None` where there is none.

    That is the docstring of a function, and of a `typer.Typer` its `help`, or the docstring of its
    callback.
    """
    module, _, name = place.partition(":")
    spec = find_spec(module)
    source = Path(spec.origin) if spec is not None and spec.origin is not None else None
    if source is None or not source.is_file():
        return None
    for node in ast.parse(source.read_text("utf-8")).body:
        if text := _text_about(name, node):
            return " ".join(text.partition("\n\n")[0].split())
    return None


def _text_about(name: str, node: ast.stmt) -> str | None:
    match node:
        case ast.FunctionDef():
            decorators = [ast.unparse(each) for each in node.decorator_list]
            is_it = node.name == name or f"{name}.callback()" in decorators
            return ast.get_docstring(node) if is_it else None
        case ast.Assign(targets=[ast.Name(id=found)], value=ast.Call(keywords=keywords)):
            texts = [each.value for each in keywords if found == name and each.arg == "help"]
            return str(ast.literal_eval(texts[0])) if texts else None
    return None
