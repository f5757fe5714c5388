"""What an application adds to Workshed: one object, which each of its processes finds."""

import importlib
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from workshed.errors import SettingsError
from workshed.queues import Queue

APP = "WORKSHED_APP"
"""Not of `settings`: a command line is to list its commands without reading all of them."""
PROJECT = "pyproject.toml"
TABLE = "`app` of [tool.workshed]"


@dataclass(frozen=True, kw_only=True)
class App:
    """An application: its queues, and what it adds to the processes of Workshed.

    What is code is named as `"module:name"` and imported by the process that needs it, so that a
    relay loads no page and a sender no check. `WORKSHED_APP=package:app` says where the object is,
    else `app = "package:app"` under `[tool.workshed]` in the `pyproject.toml` of the working
    directory. Every process imports its module, so let it import nothing else of yours.
    """

    queues: tuple[Queue, ...] = (Queue("default"),)
    """What is declared before any actor is imported, with weights and kinds."""
    settings: str | None = None
    """Your own settings, a class of `pydantic_settings` with a prefix: `workshed doctor` says which
    cannot be read, as `workshed.settings.settings_of` does."""
    middleware: str | None = None
    """The chain around each job, if it is not that of the library: a sequence of classes of the
    library, each made from the settings, and of middleware of yours. What jobs depend on must be
    in it, in the library's order (`workshed.transport.build.CHAIN`)."""
    actors: tuple[str, ...] = ()
    """Modules in which actors are declared: what `workshed worker` runs, and commands and the
    console import, where none is named."""
    migrations: Mapping[str, str] = field(default_factory=dict)
    """More streams of migrations, each by its name: a package, whose folder `sql` has numbered
    files. `workshed migrate` applies them after those of Workshed."""
    grants: tuple[str, ...] = ()
    """What the roles of `workshed roles` may do to more tables: each a `workshed.roles.Grants`."""
    relay_tasks: tuple[str, ...] = ()
    """Tasks of each relay, for example measurements. A task is a function that takes a connection
    and returns the seconds until its next call, or a class without arguments whose instances are
    such functions. All share one thread and one connection, apart from the relay's own work."""
    checks: tuple[str, ...] = ()
    """More checks of `workshed doctor`: each a `workshed.console.doctor.run.Check`, or several."""
    metrics: tuple[str, ...] = ()
    """Modules in which your meters are declared (`workshed.metrics`). Each process with a broker
    imports them; in workers a counter without labels begins at 0."""
    pages: tuple[str, ...] = ()
    """Modules with more pages of the console."""
    commands: Mapping[str, str] = field(default_factory=dict)
    """More commands of `workshed`, by name: each a function, or a `typer.Typer`."""


@cache
def app() -> App:
    """Return the application of this process; one without additions where none is named.

    Raises `SettingsError` where it is named and not there.
    """
    if name := os.environ.get(APP):
        return _found(name, f"{APP}={name}")
    if name := _named(Path(PROJECT)):
        return _found(name, f"{TABLE} in {PROJECT}, {name!r}")
    return App()


def load(name: str) -> Any:
    """Import what is named `module:name`, also from the working directory.

    Raises `SettingsError` where it is not there; what its module raises by itself is let through.
    """
    place, colon, attribute = name.partition(":")
    if not (place and colon and attribute):
        raise SettingsError("write it as package.module:name")
    found = module(place)
    if not hasattr(found, attribute):
        raise SettingsError(f"module {place!r} has no {attribute!r}")
    return getattr(found, attribute)


def _found(name: str, said: str) -> App:
    try:
        found = load(name)
    except SettingsError as err:
        raise SettingsError(f"{said}: {err}") from None
    if not isinstance(found, App):
        raise SettingsError(f"{said}: it is of type {type(found).__name__}, and not a workshed.App")
    return found


def module(name: str) -> ModuleType:
    """Import a module, also from the working directory.

    Raises `SettingsError` where it is not there; what it raises by itself is let through.
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
        return module(name)
    raise SettingsError(
        f"there is no module {name!r}; it is looked for where Workshed is installed and in {here}"
    )


def _named(file: Path) -> str | None:
    """Return what a project names; `None` where there is no project, or it names nothing."""
    try:
        text = file.read_text("utf-8")
    except OSError:
        return None
    try:
        found: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise SettingsError(f"{PROJECT} of the working directory cannot be read: {err}") from None
    for key in ("tool", "workshed", "app"):
        found = found.get(key) if isinstance(found, dict) else None
    if found is not None and not isinstance(found, str):
        raise SettingsError(f"{TABLE} in {PROJECT} must be a string such as 'package:app'")
    return found
