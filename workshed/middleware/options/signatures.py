"""Read the signature of a function."""

import inspect
import sys
from collections.abc import Callable
from typing import Any

if sys.version_info >= (3, 14):
    import annotationlib


def read_signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return a function's signature, even if a name in its annotations does not exist.

    From Python 3.14 on, `inspect` evaluates annotations, and raises `NameError` for a name that is
    imported only for type checkers.
    """
    if sys.version_info >= (3, 14):
        try:
            return inspect.signature(function)
        except NameError:
            return inspect.signature(function, annotation_format=annotationlib.Format.STRING)
    return inspect.signature(function)
