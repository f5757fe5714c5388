"""Check the environment: unknown variables, and values that cannot be read."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from workshed.app import APP, App, app, load
from workshed.console.doctor.surroundings import DoctorContext
from workshed.console.operations.finding import Finding, failed, ok
from workshed.console.rabbitmq.management_api import Management
from workshed.errors import WorkshedError
from workshed.queues import weigh_queues
from workshed.settings import PREFIX, Settings, invalid, prefix_of, unknown_names
from workshed.transport.amqp import url as address
from workshed.transport.build import STUB


class Environment(NamedTuple):
    """The settings and the App, with defaults in place of values that cannot be read."""

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
    except WorkshedError as err:
        problems.append(failed(str(err), f"correct it, or unset {APP}"))
    for variable_name, why in invalid(Settings):
        without_value.add(variable_name.removeprefix(PREFIX).lower())
        problems.append(wrong(variable_name, why))
    found = Settings(**{name: Settings.model_fields[name].default for name in without_value})
    for name, use in uses(found, found_app).items():
        try:
            use()
        except WorkshedError as err:
            without_value.add(name)
            problems.append(unreadable(name, err))
    problems += of_application(found_app)
    return Environment(found, found_app, problems, frozenset(without_value))


def of_application(found: App) -> list[Finding]:
    """Check the settings class of the application."""
    if found.settings is None:
        return []
    try:
        kind = load(found.settings)
        problems = unknown(kind)
        return [*problems, *(wrong(name, why, kind) for name, why in invalid(kind))]
    except Exception as err:  # noqa: BLE001 -- the other checks must still run
        said = f"your App's settings, {found.settings!r}: {type(err).__name__}: {err}"
        return [failed(said, "correct `settings` of your App")]


def unknown(kind: type[BaseSettings]) -> list[Finding]:
    """Find variables with a known prefix that are not settings."""
    return [failed(said, f"unset {said.split()[0]}") for said in unknown_names(os.environ, kind)]


def uses(settings: Settings, app: App) -> dict[str, Callable[[], object]]:
    """Return functions that parse settings which are otherwise parsed only on first use."""
    api = settings.management_url
    found: dict[str, Callable[[], object]] = {
        "queues": lambda: weigh_queues(app.queues, settings.queues),
    }
    urls = [url.strip() for url in settings.broker_url.get_secret_value().split(";")]
    if STUB not in urls:
        found["broker_url"] = lambda: [address.connection_parameters(url, "doctor") for url in urls]
    if api is not None:
        found["management_url"] = lambda: Management(api.get_secret_value(), "/")
    return found


def unreadable(name: str, error: WorkshedError) -> Finding:
    """Return a finding for a value that its parser refuses."""
    return wrong(variable(name), str(error).removeprefix(f"{variable(name)}: "))


def wrong(variable_name: str, why: str, kind: type[BaseSettings] = Settings) -> Finding:
    """Return a finding for a setting that cannot be read; it never shows the value."""
    field = kind.model_fields.get(variable_name.removeprefix(prefix_of(kind)).lower())
    fix = "correct it"
    if field is not None:
        usual = default(field.default).strip("`")
        fix = f"correct it, or use the default ({usual}): unset {variable_name}"
    return failed(f"{variable_name}: {why}", fix)


def variable(name: str, kind: type[BaseSettings] = Settings) -> str:
    """Return the environment variable of a setting."""
    return f"{prefix_of(kind)}{name.upper()}"


def default(value: Any) -> str:
    """Format a default as in the environment."""
    match value:
        case SecretStr():
            return default(value.get_secret_value())
        case timedelta():
            return f"`{value.total_seconds():g}`"
        case None | "":
            return "not set"
    return "needed" if value is PydanticUndefined else f"`{value}`"


def check(here: DoctorContext) -> Iterator[Finding]:
    """Yield the problems that `read` found."""
    yield from here.problems or [ok("every setting is known, and its value can be read")]
