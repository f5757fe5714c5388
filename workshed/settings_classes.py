"""What holds for any class of settings: Workshed's, and an application's of `pydantic_settings`."""

import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from workshed.environment import EnvironmentSettings, InvalidSettingsError
from workshed.errors import SettingsError

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

    SettingsClass = type[EnvironmentSettings | BaseSettings]

S = TypeVar("S")


def read_settings(kind: type[S]) -> S:
    """Return the settings of a class; raises `SettingsError`, which lists every problem at once."""
    known = cast("SettingsClass", kind)
    found, wrong = _try_read(known)
    problems = find_unknown_names(os.environ, known) + [f"{name}: {why}" for name, why in wrong]
    if problems:
        lines = "\n".join(f"  - {one}" for one in problems)
        raise SettingsError(f"the environment cannot be used:\n{lines}")
    return cast("S", found)


def list_invalid_settings(kind: "SettingsClass") -> list[tuple[str, str]]:
    """Return the settings that cannot be read, each with the reason and without its value.

    Each is named by its variable or, if a rule about several is broken, by the class.
    """
    return _try_read(kind)[1]


def list_defaults(kind: "SettingsClass") -> dict[str, Any]:
    """Return the default of each setting by its name; `...` if it has none."""
    if issubclass(kind, EnvironmentSettings):
        return {name: field.default for name, field in kind.fields().items()}
    return {
        name: ... if field.is_required() else field.default
        for name, field in kind.model_fields.items()
    }


def get_prefix(kind: "SettingsClass") -> str:
    """Return the prefix of a class's variables, in capitals, in which names are compared."""
    if issubclass(kind, EnvironmentSettings):
        return kind.prefix
    return kind.model_config.get("env_prefix", "").upper()


def find_unknown_names(environ: Mapping[str, str], kind: "SettingsClass") -> list[str]:
    """Return a message for each unknown variable with the prefix, with the closest known name."""
    prefix, nested = get_prefix(kind), ""
    if not prefix:
        return []
    if not issubclass(kind, EnvironmentSettings):
        nested = (kind.model_config.get("env_nested_delimiter") or "").upper()
    known = [name.upper() for name in list_defaults(kind)]
    problems = []
    for name in sorted(environ):
        # Compared without the prefix, which would make any two names similar.
        ours = name.upper().removeprefix(prefix)
        ours = ours.partition(nested)[0] if nested else ours
        if name.upper().startswith(prefix) and ours not in known:
            # Imported for an error only: it takes a third of a megabyte of each process.
            close = importlib.import_module("difflib").get_close_matches(ours, known, n=1)
            hint = f"; did you mean {prefix}{close[0]}?" if close else ""
            problems.append(f"{name} is not a setting{hint}")
    return problems


def _try_read(kind: "SettingsClass") -> tuple[object, list[tuple[str, str]]]:
    if not get_prefix(kind):
        return None, [(kind.__name__, "needs an env_prefix, for example SHOP_")]
    try:
        return kind(), []
    except InvalidSettingsError as err:
        return None, [(_variable_name(name, kind), why) for name, why in err.problems]
    except ValueError as err:
        return None, _list_problems(err, kind)


def _list_problems(error: ValueError, kind: "SettingsClass") -> list[tuple[str, str]]:
    """Return the problems of an error that pydantic raised."""
    list_errors = getattr(error, "errors", None)
    if list_errors is None:  # a list or the like, which must be JSON
        return [(kind.__name__, str(error))]
    return [
        (
            _variable_name(one["loc"][0], kind) if one["loc"] else kind.__name__,
            one["msg"].removeprefix("Value error, "),
        )
        for one in list_errors(include_input=False, include_url=False)  # they quote secrets
    ]


def _variable_name(name: object, kind: "SettingsClass") -> str:
    return f"{get_prefix(kind)}{str(name).upper()}"
