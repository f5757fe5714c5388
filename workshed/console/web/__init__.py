"""The web console: an ASGI application, rendered on the server."""

import importlib
from typing import TYPE_CHECKING

from workshed.extras import SERVER_MODULES, require_modules

if TYPE_CHECKING:
    from workshed.console.web.app import create_app
    from workshed.console.web.auth.roles import Who

__all__ = ["Who", "create_app"]

require_modules("server", *SERVER_MODULES)


def __getattr__(name: str) -> object:
    match name:
        case "create_app":
            return importlib.import_module("workshed.console.web.app").create_app
        case "Who":
            return importlib.import_module("workshed.console.web.auth.roles").Who
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
