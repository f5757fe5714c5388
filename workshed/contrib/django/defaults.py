"""Defaults of all actors, from `WORKSHED["DEFAULTS"]` of a Django project."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured
from django.utils.module_loading import import_string

from workshed.contrib.django import configuration
from workshed.errors import WorkshedError
from workshed.transport.base import WorkshedBroker

ERROR_CLASSES = ("discard_on", "throws")
"""Options whose exceptions may be dotted paths, because settings cannot import everything."""


def apply_defaults(broker: WorkshedBroker) -> None:
    """Set the project's defaults, before the modules of its actors are imported.

    Raises `ImproperlyConfigured`, which names the key, for an unknown option and a wrong value.
    """
    given = configuration.actor_defaults()
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(
            f"{configuration.name_key()} is of type {type(given).__name__}: write a dict of options"
        )
    for name, value in given.items():
        try:
            options: Any = {name: _load_errors(name, value) if name in ERROR_CLASSES else value}
            broker.defaults(**options)
        except (TypeError, ValueError, WorkshedError) as err:
            raise ImproperlyConfigured(f"{configuration.name_key(name)}: {err}") from None


def _load_errors(name: str, value: Any) -> tuple[type[BaseException], ...]:
    classes = value if isinstance(value, list | tuple) else (value,)
    return tuple(_load_error(name, each) for each in classes)


def _load_error(name: str, value: Any) -> type[BaseException]:
    try:
        found = import_string(value) if isinstance(value, str) else value
    except AppRegistryNotReady:
        raise ValueError(
            f"{value!r} is in a module of models, and these are not loaded yet: name an exception "
            "of another module, such as 'django.core.exceptions.ObjectDoesNotExist' for all of "
            f"them, or set {name}= at the actor"
        ) from None
    except ImportError as err:
        raise ValueError(f"{value!r} cannot be imported: {err}") from None
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise ValueError(f"{value!r} is not an exception class")  # noqa: TRY004 -- as every option
    return found
