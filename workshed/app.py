"""What an application adds to Workshed: one `App` object, which each of its processes loads."""

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from workshed.errors import SettingsError
from workshed.queues import Queue

APP_VARIABLE = "WORKSHED_APP"
"""Not in `settings`, so that the command line can list its commands without reading them all."""
PROJECT_FILE = "pyproject.toml"
PROJECT_KEY = "`app` of [tool.workshed]"


@dataclass(frozen=True, kw_only=True)
class App:
    """An application: its queues, and what it adds to the processes of Workshed.

    Fields name code as `"module:name"`. Only the processes that need it import it: a relay loads no
    pages, and a sender no checks. Set `WORKSHED_APP=package:app` to name the object, or
    `app = "package:app"` under `[tool.workshed]` in the `pyproject.toml` of the working directory.
    Every process imports the object's module, so that module should import nothing else of yours.
    """

    queues: tuple[Queue, ...] = (Queue("default"),)
    """Queues, with weights and kinds, that are declared before any actor is imported."""
    settings: str | None = None
    """Your own settings, a `pydantic_settings` class with a prefix. `workshed doctor` and
    `workshed.settings.settings_of` report values that cannot be read."""
    middleware: str | None = None
    """Your own middleware chain, instead of the library's: a sequence of library classes, each
    built from the settings, and of your own middleware. It must contain everything that jobs depend
    on, in the library's order (`workshed.transport.build.CHAIN`)."""
    actors: tuple[str, ...] = ()
    """Modules that declare actors. `workshed worker`, other commands and the console import them
    when you name none."""
    migrations: Mapping[str, str] = field(default_factory=dict)
    """Additional migration streams by name. Each is a package whose folder `sql` has numbered
    files. `workshed migrate` applies them after Workshed's own."""
    grants: tuple[str, ...] = ()
    """Rights of the roles of `workshed roles` on more tables: each a `workshed.roles.Grants`."""
    relay_tasks: tuple[str, ...] = ()
    """Tasks that each relay runs, for example measurements. A task is a function that takes a
    connection and returns the seconds until its next call, or a class without arguments whose
    instances are such functions. All tasks share one thread and one connection, separate from the
    relay's own work."""
    checks: tuple[str, ...] = ()
    """Additional checks of `workshed doctor`: each a `workshed.console.doctor.run.Check`, or a
    tuple of them."""
    metrics: tuple[str, ...] = ()
    """Modules that declare your meters (`workshed.metrics`). Each process with a broker imports
    them; in workers a counter without labels begins at 0."""
    pages: tuple[str, ...] = ()
    """Modules with additional console pages."""
    commands: Mapping[str, str] = field(default_factory=dict)
    """Additional commands of `workshed`, by name: each a function, or a `typer.Typer`."""


@cache
def get_app() -> App:
    """Return the application of this process, or an empty `App` if none is named.

    Raises `SettingsError` if one is named but does not exist.
    """
    if name := os.environ.get(APP_VARIABLE):
        return _load_app(name, f"{APP_VARIABLE}={name}")
    if name := read_app_name(Path(PROJECT_FILE)):
        return _load_app(name, f"{PROJECT_KEY} in {PROJECT_FILE}, {name!r}")
    return App()


def load_object(name: str) -> Any:
    """Import the object named `module:name`, also from the working directory.

    Raises `SettingsError` if it does not exist. Errors that its module raises propagate.
    """
    place, colon, attribute = name.partition(":")
    if not (place and colon and attribute):
        raise SettingsError("write it as package.module:name")
    found = load_module(place)
    if not hasattr(found, attribute):
        raise SettingsError(f"module {place!r} has no {attribute!r}")
    return getattr(found, attribute)


def _load_app(name: str, said: str) -> App:
    try:
        found = load_object(name)
    except SettingsError as err:
        raise SettingsError(f"{said}: {err}") from None
    if not isinstance(found, App):
        raise SettingsError(f"{said}: it is of type {type(found).__name__}, and not a workshed.App")
    return found


def load_module(name: str) -> ModuleType:
    """Import a module, also from the working directory.

    Raises `SettingsError` if it does not exist. Errors that the module raises propagate.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as err:
        if err.name is None or not f"{name}.".startswith(f"{err.name}."):
            raise
        missing = err.name
    here = str(Path.cwd())
    if here not in sys.path and missing == name.partition(".")[0]:
        sys.path.insert(0, here)  # as the `dramatiq` command does
        return load_module(name)
    raise SettingsError(
        f"there is no module {name!r}; it is looked for where Workshed is installed and in {here}"
    )


def read_app_name(file: Path) -> str | None:
    """Return the `app` that a project file names, or `None` if there is no file or no such key."""
    try:
        text = file.read_text("utf-8")
    except OSError:
        return None
    tomllib = importlib.import_module("tomllib")  # a program that names its App needs none
    try:
        found: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise SettingsError(
            f"{PROJECT_FILE} of the working directory cannot be read: {err}"
        ) from None
    for key in ("tool", "workshed", "app"):
        found = found.get(key) if isinstance(found, dict) else None
    if found is not None and not isinstance(found, str):
        raise SettingsError(
            f"{PROJECT_KEY} in {PROJECT_FILE} must be a string such as 'package:app'"
        )
    return found
