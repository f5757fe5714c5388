"""Check the environment: unknown variables, and values that cannot be read."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NamedTuple

from workshed.app import APP_VARIABLE, App, get_app, load_object
from workshed.console.doctor.context import DoctorContext
from workshed.console.operations.finding import Finding, failed, ok
from workshed.console.rabbitmq.management_api import ManagementApi
from workshed.duration import format_duration
from workshed.errors import WorkshedError
from workshed.queues import weigh_queues
from workshed.settings import PREFIX, Settings
from workshed.settings_classes import (
    find_unknown_names,
    get_prefix,
    list_defaults,
    list_invalid_settings,
)
from workshed.transport.amqp import url as address
from workshed.transport.build import POSTGRESQL_URL, STUB_URL

if TYPE_CHECKING:
    from workshed.settings_classes import SettingsClass


class EnvironmentReport(NamedTuple):
    """The settings and the App, with defaults in place of values that cannot be read."""

    settings: Settings
    app: App
    problems: list[Finding]
    unreadable: frozenset[str]
    """Names of settings."""


def read_environment() -> EnvironmentReport:
    """Read the settings and the application."""
    problems = find_unknown(Settings)
    without_value: set[str] = set()
    found_app = App()
    try:
        found_app = get_app()
    except WorkshedError as err:
        problems.append(failed(str(err), f"correct it, or unset {APP_VARIABLE}"))
    for variable_name, why in list_invalid_settings(Settings):
        without_value.add(variable_name.removeprefix(PREFIX).lower())
        problems.append(report_invalid(variable_name, why))
    defaults = list_defaults(Settings)
    found = Settings(**{name: defaults[name] for name in without_value})
    for name, use in build_parsers(found, found_app).items():
        try:
            use()
        except WorkshedError as err:
            without_value.add(name)
            problems.append(report_unreadable(name, err))
    problems += check_app_settings(found_app)
    return EnvironmentReport(found, found_app, problems, frozenset(without_value))


def check_app_settings(found: App) -> list[Finding]:
    """Check the settings class of the application."""
    if found.settings is None:
        return []
    try:
        kind = load_object(found.settings)
        problems = find_unknown(kind)
        return [
            *problems,
            *(report_invalid(name, why, kind) for name, why in list_invalid_settings(kind)),
        ]
    except Exception as err:  # noqa: BLE001 -- the other checks must still run
        said = f"your App's settings, {found.settings!r}: {type(err).__name__}: {err}"
        return [failed(said, "correct `settings` of your App")]


def find_unknown(kind: "SettingsClass") -> list[Finding]:
    """Find variables with a known prefix that are not settings."""
    return [
        failed(said, f"unset {said.split()[0]}") for said in find_unknown_names(os.environ, kind)
    ]


def build_parsers(settings: Settings, app: App) -> dict[str, Callable[[], object]]:
    """Return functions that parse settings which are otherwise parsed only on first use."""
    api = settings.management_url
    found: dict[str, Callable[[], object]] = {
        "queues": lambda: weigh_queues(app.queues, settings.queues),
    }
    urls = [url.strip() for url in settings.broker_url.get_secret_value().split(";")]
    if STUB_URL not in urls and POSTGRESQL_URL not in urls:
        found["broker_url"] = lambda: [address.connection_parameters(url, "doctor") for url in urls]
    if api is not None:
        found["management_url"] = lambda: ManagementApi(api.get_secret_value(), "/")
    return found


def report_unreadable(name: str, error: WorkshedError) -> Finding:
    """Return a finding for a value that its parser refuses."""
    return report_invalid(
        environment_variable(name), str(error).removeprefix(f"{environment_variable(name)}: ")
    )


def report_invalid(variable_name: str, why: str, kind: "SettingsClass" = Settings) -> Finding:
    """Return a finding for a setting that cannot be read; it never shows the value."""
    name = variable_name.removeprefix(get_prefix(kind)).lower()
    fix = "correct it"
    if name in (defaults := list_defaults(kind)):
        usual = format_default(defaults[name]).strip("`")
        fix = f"correct it, or use the default ({usual}): unset {variable_name}"
    return failed(f"{variable_name}: {why}", fix)


def environment_variable(name: str, kind: "SettingsClass" = Settings) -> str:
    """Return the environment variable of a setting."""
    return f"{get_prefix(kind)}{name.upper()}"


def format_default(value: Any) -> str:
    """Format a default as in the environment."""
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    match value:
        case timedelta():
            return f"`{format_duration(value)}`"
        case EllipsisType():
            return "needed"
        case None | "":
            return "not set"
    return f"`{value}`"


def check_environment(here: DoctorContext) -> Iterator[Finding]:
    """Yield the problems that `read_environment` found."""
    yield from here.problems or [ok("every setting is known, and its value can be read")]
