"""Extras: optional dependencies, which a plain install does not include."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from workshed.errors import WorkshedError

SERVER_MODULES = (
    "argon2",
    "itsdangerous",
    "jinja2",
    "rich",
    "sse_starlette",
    "starlette",
    "typer",
    "uvicorn",
)
"""The modules of the extra. An application may have installed some of them itself."""


class MissingExtraError(WorkshedError, ImportError):
    """A part of Workshed needs an extra that is not installed.

    It is also an `ImportError`, because an import raises it.
    """

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(
            f"this part of Workshed needs {module}: pip install 'workshed[{extra}]'", name=module
        )
        self.extra = extra


@contextmanager
def require_extra(extra: str) -> Iterator[None]:
    """Wrap imports that need an extra; raises `MissingExtraError` without it."""
    try:
        yield
    except ImportError as err:
        # SQLAlchemy raises an error of its own without greenlet, which names no extra of ours.
        missing = err if isinstance(err, ModuleNotFoundError) else err.__cause__
        if not isinstance(missing, ModuleNotFoundError):
            raise
        raise MissingExtraError(extra, str(missing.name)) from err


def require_modules(extra: str, *modules: str) -> None:
    """Raise `MissingExtraError` if a module is not installed; imports none of them."""
    for module in modules:
        if not find_spec(module):
            raise MissingExtraError(extra, module)
