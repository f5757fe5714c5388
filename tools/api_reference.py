"""The reference of the public API: signatures and docstrings, as Markdown."""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise, zip_longest
from types import ModuleType
from typing import Any

from tools.definitions import (
    Definition,
    find_definitions,
    find_methods,
    is_property,
    is_public,
    read_annotation,
)
from tools.public_api import BROKER, PUBLIC, RETURNED
from workshed.transport.rabbitmq import RabbitMQBroker

WIDTH = 80
"""The longest line of a signature; a longer one has a line for each parameter."""
ROOT_PACKAGE = "workshed"
OWN_PAGES = (ROOT_PACKAGE, "workshed.testing")
OTHERS = tuple(name for name in PUBLIC if name not in OWN_PAGES)
OPTION_PAGES = {
    "ActorOptions": "reference-options.md#options-of-an-actor",
    "MessageOptions": "reference-options.md#options-of-one-job",
}
BINDINGS = {"classmethod", "staticmethod"}
CODE = re.compile(r"`[^`]+`")


def render_modules(names: Sequence[str]) -> str:
    """Return a section for each public name of these modules."""
    return "\n".join(part for name in names for part in _module_parts(name))


def _module_parts(name: str) -> Iterator[str]:
    module = importlib.import_module(name)
    summary = (inspect.getdoc(module) or "").partition("\n\n")[0]
    yield f"## {name}\n\n{format_text(summary)}\n"
    own = [one for one in sorted(module.__all__) if not _is_shown_elsewhere(one, module)]
    if len(own) < len(module.__all__):
        others = ", ".join(f"`{one}`" for one in sorted({*module.__all__} - {*own}))
        yield f"It also has {others}: see the [Python API](reference-api.md).\n"
    prefix = "" if name in OWN_PAGES else f"{name.rpartition('.')[2]}."
    for public in own:
        value = getattr(module, public)
        if isinstance(value, ModuleType):
            yield f"### {prefix}{public}\n\n{format_text(inspect.getdoc(value) or '')}\n"
            for function in value.__all__:
                yield render_name(f"{public}.{function}", getattr(value, function), value)
        else:
            yield render_name(public, value, module, title=f"{prefix}{public}")
        for kind in RETURNED.get(f"{name}.{public}", ()):
            yield render_name(kind.__name__, kind, module, title=f"{kind.__name__} (class)")


def _is_shown_elsewhere(public: str, module: ModuleType) -> bool:
    """Return whether `workshed` has the same object, whose section is on its page."""
    root = importlib.import_module(ROOT_PACKAGE)
    return (
        module is not root
        and public in root.__all__
        and getattr(root, public) is getattr(module, public)
    )


def render_name(name: str, value: Any, module: ModuleType, *, title: str = "") -> str:
    """Return the section of a class, a function or a variable."""
    if name in OPTION_PAGES:
        return f"### {title or name}\n\nSee [{name}]({OPTION_PAGES[name]}).\n"
    if inspect.isclass(value):
        definitions = find_definitions(value)
        lines = [line for one in definitions for line in _class_lines(name, one)]
        text = inspect.getdoc(value) or ""
        members = [pair for one in definitions for pair in _explain_members(one)]
    elif inspect.isfunction(inspect.unwrap(value)):
        functions = leave_out_implementations(find_definitions(inspect.unwrap(value)))
        lines = [line for one in functions for line in _function_lines(one, name)]
        text = inspect.getdoc(value) or ""
        members = []
    else:
        lines = [f"{name}: {read_annotation(name, value, module)}"]
        text = _read_comment(name, module)
        methods = find_methods(RabbitMQBroker, BROKER) if name == "broker" else []
        lines += [f"    {line}" for one in methods for line in _method_lines(one)]
        members = [(one.name, ast.get_docstring(one) or "") for one in methods]
    code = "\n".join(["~~~python", *(lines or [f"class {name}"]), "~~~"])
    explained = "\n".join(f"- `{member}`: {_flatten(meaning)}" for member, meaning in members)
    parts = (f"### {title or name}", code, format_text(text), explained)
    return "\n\n".join(filter(None, parts)) + "\n"


def format_text(text: str) -> str:
    """Return a docstring as Markdown: its indented lines are code, and each paragraph one line."""
    paragraphs = text.replace("*Order:*", "\n\n*Order:*").replace("*Options:*", "\n\n*Options:*")
    return "\n\n".join(map(_format_paragraph, filter(str.strip, paragraphs.split("\n\n"))))


def _format_paragraph(paragraph: str) -> str:
    paragraph = paragraph.strip("\n")
    if paragraph.startswith("    "):
        return f"~~~python\n{textwrap.dedent(paragraph)}\n~~~"
    return _flatten(paragraph)


def _flatten(text: str) -> str:
    """Return a text on one line, without what Markdown would take for HTML."""
    line = " ".join(text.split())
    prose, codes = CODE.split(line), CODE.findall(line)
    kept = (one.replace("<", "\\<") for one in prose)
    return "".join(f"{one}{code}" for one, code in zip_longest(kept, codes, fillvalue=""))


def leave_out_implementations(nodes: Sequence[ast.stmt]) -> list[Any]:
    """Return the nodes without the functions whose overloads are among them."""
    functions = [node for node in nodes if isinstance(node, Definition)]
    overloaded = {node.name for node in functions if _is_overload(node)}
    return [
        node
        for node in nodes
        if not isinstance(node, Definition) or node.name not in overloaded or _is_overload(node)
    ]


def _is_overload(node: Definition) -> bool:
    return "overload" in map(ast.unparse, node.decorator_list)


def _class_lines(name: str, definition: ast.ClassDef) -> Iterator[str]:
    bases = ", ".join(ast.unparse(base) for base in definition.bases)
    yield f"class {name}({bases}):" if bases else f"class {name}:"
    for node in leave_out_implementations(definition.body):
        match node:
            case ast.AnnAssign(target=ast.Name(id=field)) if not field.startswith("_"):
                default = f" = {ast.unparse(node.value)}" if node.value else ""
                yield f"    {field}: {ast.unparse(node.annotation)}{default}"
            case ast.FunctionDef() | ast.AsyncFunctionDef() if is_public(node.name):
                yield from (f"    {line}" for line in _method_lines(node))


def _method_lines(node: Definition) -> Iterator[str]:
    if is_property(node):
        yield f"{node.name}: {ast.unparse(node.returns) if node.returns else 'Any'}"
        return
    for mark in map(ast.unparse, node.decorator_list):
        if mark in BINDINGS:
            yield f"@{mark}"
    keyword = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    yield from _function_lines(node, f"{keyword} {node.name}")


def _function_lines(node: Definition, name: str) -> Iterator[str]:
    """Yield a signature, with a line for each parameter if it is long."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{name}({ast.unparse(node.args)}){returns}"
    if len(line) <= WIDTH:
        yield line
        return
    yield f"{name}("
    yield from (f"    {one}," for one in _list_parameters(node.args))
    yield f"){returns}"


def _list_parameters(args: ast.arguments) -> Iterator[str]:
    """Yield each parameter of a signature, with `/` and `*` where they belong."""
    positional = [*args.posonlyargs, *args.args]
    padding = [None] * (len(positional) - len(args.defaults))
    for number, (one, default) in enumerate(
        zip(positional, [*padding, *args.defaults], strict=True), start=1
    ):
        yield _format_parameter(one, default)
        if number == len(args.posonlyargs):
            yield "/"
    if args.vararg:
        yield f"*{ast.unparse(args.vararg)}"
    elif args.kwonlyargs:
        yield "*"
    for one, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield _format_parameter(one, default)
    if args.kwarg:
        yield f"**{ast.unparse(args.kwarg)}"


def _format_parameter(one: ast.arg, default: ast.expr | None) -> str:
    if default is None:
        return ast.unparse(one)
    return f"{ast.unparse(one)}{' = ' if one.annotation else '='}{ast.unparse(default)}"


def _explain_members(definition: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield each public member of a class that has a docstring, and the docstring."""
    for node, below in pairwise([*definition.body, ast.Pass()]):
        match node, below:
            case (
                ast.AnnAssign(target=ast.Name(id=field)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ) if not field.startswith("_"):
                yield field, text
            case (ast.FunctionDef() | ast.AsyncFunctionDef(), _) if is_public(node.name):
                if docstring := ast.get_docstring(node):
                    yield node.name, docstring


def _read_comment(name: str, module: ModuleType) -> str:
    """Return the docstring below a variable in its module, if there is one."""
    for node, below in pairwise(ast.parse(inspect.getsource(module)).body):
        match node, below:
            case (
                ast.Assign(targets=[ast.Name(id=variable)])
                | ast.AnnAssign(target=ast.Name(id=variable)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ) if variable == name:
                return inspect.cleandoc(text)
    return ""
