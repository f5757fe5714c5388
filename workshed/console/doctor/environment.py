"""The environment: names that mean nothing, values that cannot be read."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from workshed.app import APP, App, app, load
from workshed.console.doctor.surroundings import Surroundings
from workshed.console.operations.finding import Finding, failed, ok
from workshed.console.rabbitmq.management_api import Management
from workshed.errors import WorkshedError
from workshed.queues import weighted
from workshed.settings import Settings, prefix_of, unknown_names
from workshed.transport.amqp import url as address
from workshed.transport.build import STUB


class Environment(NamedTuple):
    """What was read, with the default in place of what cannot be."""

    settings: Settings
    app: App
    problems: list[Finding]
    unreadable: frozenset[str]
    """Names of settings."""


def read() -> Environment:
    """Read the settings and the application."""
    problems = unknown(Settings)
    without_value: set[str] = set()
    found_app = App()
    try:
        found_app = app()
        own = None if found_app.settings is None else load(found_app.settings)
    except WorkshedError as err:
        own = None
        problems.append(failed(str(err), f"correct it, or unset {APP}"))
    for name, why in invalid(Settings):
        without_value.add(name)
        problems.append(wrong(name, why))
    found = Settings(**{name: Settings.model_fields[name].default for name in without_value})
    for name, use in uses(found, found_app).items():
        try:
            use()
        except WorkshedError as err:
            without_value.add(name)
            problems.append(unreadable(name, err))
    if own is not None:
        problems += [*unknown(own), *(wrong(*one, kind=own) for one in invalid(own))]
    return Environment(found, found_app, problems, frozenset(without_value))


def unknown(kind: type[BaseSettings]) -> list[Finding]:
    """Name the variables that mean nothing."""
    return [failed(said, f"unset {said.split()[0]}") for said in unknown_names(os.environ, kind)]


def invalid(kind: type[BaseSettings]) -> list[tuple[str, str]]:
    """Return the settings whose values cannot be read, each with the reason."""
    try:
        kind()
    except ValidationError as err:
        found = err.errors(include_input=False, include_url=False)  # they quote secrets
        return [(str(one["loc"][0]), one["msg"].removeprefix("Value error, ")) for one in found]
    return []


def uses(settings: Settings, app: App) -> dict[str, Callable[[], object]]:
    """Return what reads a setting only when it is used, so that it is not found out only then."""
    api = settings.management_url
    found: dict[str, Callable[[], object]] = {
        "queues": lambda: weighted(app.queues, settings.queues),
    }
    urls = [url.strip() for url in settings.broker_url.get_secret_value().split(";")]
    if STUB not in urls:
        found["broker_url"] = lambda: [address.parameters(url, "doctor") for url in urls]
    if api is not None:
        found["management_url"] = lambda: Management(api.get_secret_value(), "/")
    return found


def unreadable(name: str, error: WorkshedError) -> Finding:
    """Say what whoever uses a setting has against its value."""
    return wrong(name, str(error).removeprefix(f"{variable(name)}: "))


def wrong(name: str, why: str, kind: type[BaseSettings] = Settings) -> Finding:
    """Say which value cannot be read, never the value itself."""
    usual = default(kind.model_fields[name].default).strip("`")
    mend = f"correct it, or take the default ({usual}): unset {variable(name, kind)}"
    return failed(f"{variable(name, kind)}: {why}", mend)


def variable(name: str, kind: type[BaseSettings] = Settings) -> str:
    """Return the variable of a setting."""
    return f"{prefix_of(kind)}{name.upper()}"


def default(value: Any) -> str:
    """Write a default as it would stand in the environment."""
    match value:
        case SecretStr():
            return default(value.get_secret_value())
        case timedelta():
            return f"`{value.total_seconds():g}`"
        case None | "":
            return "not set"
    return "needed" if value is PydanticUndefined else f"`{value}`"


def check(here: Surroundings) -> Iterator[Finding]:
    """Show what `read` found."""
    yield from here.problems or [ok("every WORKSHED_ name is known, every value can be read")]
