"""Check arguments, in their JSON form, against the annotations of an actor."""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from workshed.middleware.options.signatures import read_signature
from workshed.transport.arguments.annotations import cached_annotations
from workshed.transport.arguments.mismatch import Mismatch

Check = Callable[[object], Mismatch | None]
"""Returns what is wrong with a value; `None` if nothing is."""
Checks = Mapping[str, Check]

SINGLE_VALUE_KINDS = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)
_EXACT_TYPES: dict[object, tuple[type, ...]] = {
    int: (int,),
    str: (str,),
    bool: (bool,),
    float: (float, int),
    NoneType: (NoneType,),
    None: (NoneType,),
}


def build_checks(function: Callable[..., Any]) -> Checks:
    """Return a check for each annotated parameter.

    Parameters have no check if their annotation is missing, has no JSON form, or cannot be
    resolved, for example a name imported only for type checkers. `None` is always accepted if it is
    the default.
    """
    hints = cached_annotations(function)
    found = {}
    for name, parameter in read_signature(function).parameters.items():
        if (
            name in hints
            and parameter.kind in SINGLE_VALUE_KINDS
            and hints[name] not in (Any, object)
        ):
            fitting = _fitting_types(hints[name])
            if parameter.default is None:
                fitting |= {NoneType}
            found[name] = functools.partial(_find_problem, hints[name], fitting)
    return found


def find_mismatch(value: object, hint: Any) -> Mismatch | None:
    """Return why the JSON form of a value does not fit an annotation; `None` if it fits.

    The value is never quoted, because an argument may be secret.
    """
    if _fits(value, hint):
        return None
    # On first use, because most programs that send jobs need no pydantic, which takes 6 MB.
    validation = importlib.import_module("workshed.transport.arguments.validation")
    found: Mismatch | None = validation.find_mismatch(value, hint)
    return found


def _fits(value: object, hint: Any) -> bool:
    """Return whether a value of a common type fits its annotation; `False` if that is unknown.

    It saves most sends the time of pydantic.
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind is None:
        return isinstance(hint, type | None) and type(value) in _EXACT_TYPES.get(hint, ())
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if kind is list and inner and isinstance(value, list):
        return all(_fits(item, inner[0]) for item in value)
    if kind is dict and isinstance(value, dict) and inner[:1] == (str,):
        return all(_fits(item, inner[1]) for item in value.values())
    return False


def _fitting_types(hint: Any) -> frozenset[type]:
    """Return types all of whose values fit an annotation; it may accept others, too."""
    if get_origin(hint) in (Union, UnionType):
        return frozenset().union(*map(_fitting_types, get_args(hint)))
    return frozenset(_EXACT_TYPES.get(hint, ()) if isinstance(hint, type | None) else ())


def _find_problem(hint: Any, fitting: frozenset[type], value: object) -> Mismatch | None:
    return None if type(value) in fitting else find_mismatch(value, hint)
