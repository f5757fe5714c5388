"""Public names say what they are for, and which of our errors they raise."""

import ast
import builtins
import importlib
import inspect
import itertools
import re
import textwrap
from pathlib import Path

from workshed.errors import WorkshedError
from workshed.jobs import Signal
from workshed.transport.rabbitmq import RabbitMQBroker

PACKAGES = (
    "workshed",
    "workshed.testing",
    "workshed.middleware",
    "workshed.cronspec",
    "workshed.duration",
    "workshed.jobs",
)
TREES = {one.partition(".")[0] for one in PACKAGES}
OURS = (WorkshedError, Signal)
RAISES = re.compile(r"\braises ((?:[^.`]|`[^`]*`)*)", re.IGNORECASE)
NAMED = re.compile(r"`([A-Z]\w+)`")


def public(packages=PACKAGES):
    """Each public name of a package and its object; for a class or module also its functions."""
    for package in map(importlib.import_module, packages):
        for name in package.__all__:
            found = RabbitMQBroker if name == "broker" else getattr(package, name)
            title = f"{package.__name__}.{name}"
            yield title, getattr(found, "fn", found)  # the function of an actor
            for part, member in itertools.chain(*(vars(owner).items() for owner in owners(found))):
                if not part.startswith("_") and (function := plain(member)):
                    yield f"{title}.{part}", function


def owners(found):
    """A module itself, or a class with those of our classes that it inherits from."""
    if inspect.isclass(found):
        return [one for one in found.mro() if one.__module__.partition(".")[0] in TREES]
    return [found] if inspect.ismodule(found) else []


def plain(member):
    """The function behind a member of a class or module, without its wrappers."""
    function = inspect.unwrap(getattr(member, "__func__", member))
    return function if inspect.isfunction(function) else None


def functions(packages=PACKAGES):
    return [(title, one) for title, one in public(packages) if inspect.isfunction(one)]


def words(function):
    """The docstring of a function, and of its class."""
    owner, _, _ = function.__qualname__.rpartition(".")
    return f"{function.__doc__} {function.__globals__[owner].__doc__ if owner else ''}"


def said(title, found):
    """The docstring of a name; for a constant, the text below its assignment."""
    if inspect.isclass(found) or inspect.isfunction(found) or inspect.ismodule(found):
        return found.__doc__
    package, _, name = title.rpartition(".")
    for path in Path(importlib.import_module(package).__file__).parent.rglob("*.py"):
        body = ast.parse(path.read_text("utf-8")).body
        for one, after in itertools.pairwise(body):
            match one, after:
                case ast.Assign([ast.Name(id=there)]), ast.Expr(ast.Constant(str(text))):
                    if there == name:
                        return text
    return None


def itself(body):
    """All nodes of a function, without those inside nested functions."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from itself(ast.iter_child_nodes(node))


def raised(function, seen=()):
    """Our errors that a function raises, itself or in a private part of its module."""
    owner = function.__globals__.get(function.__qualname__.rpartition(".")[0])
    for node in itself(ast.parse(textwrap.dedent(inspect.getsource(function))).body[0].body):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name)) | ast.Name(id=name)):
                error = function.__globals__.get(name)
                if inspect.isclass(error) and issubclass(error, OURS):
                    yield error
            case ast.Call(func=ast.Name(id=name)):
                part = function.__globals__.get(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                part = getattr(owner, name, None)
            case _:
                continue
        if name.startswith("_") and (below := plain(part)) and below not in seen:
            yield from raised(below, (*seen, function, below))


def errors_of_ours():
    """The names of all our errors."""
    found, todo = set(), list(OURS)
    while todo:
        one = todo.pop()
        found.add(one.__name__)
        todo += one.__subclasses__()
    return found


def silent(packages=PACKAGES):
    """The public names that do not say what they are for."""
    return [title for title, found in public(packages) if not said(title, found)]


def unsaid(packages=PACKAGES):
    """Our errors that functions raise and do not name."""
    return {
        f"{title}: {error.__name__}"
        for title, function in functions(packages)
        for error in raised(function)
        if not any(f"`{base.__name__}`" in words(function) for base in error.__mro__)
    }


def gone(packages=PACKAGES):
    """The errors that functions name and that do not exist."""
    known = errors_of_ours() | set(vars(builtins))
    return {
        f"{title}: {name}"
        for title, function in functions(packages)
        for sentence in RAISES.findall(function.__doc__)
        for name in NAMED.findall(sentence)
        if name not in known and name not in function.__globals__
    }


def test_each_public_name_says_what_it_is_for():
    assert silent() == []


def test_each_function_names_the_errors_of_ours_that_it_raises():
    assert unsaid() == set()


def test_each_error_that_is_named_exists():
    assert gone() == set()
