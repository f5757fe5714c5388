"""The version of an actor's arguments, which its messages carry."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dramatiq

VERSION = "arguments_version"
"""Option of a message; one without it has version 1."""
FIRST_VERSION = 1

Upgrade = Callable[[int, Sequence[Any], Mapping[str, Any]], tuple[Sequence[Any], Mapping[str, Any]]]
"""Takes the version of older arguments, the positional ones and those by name, all as plain JSON;
returns both in the form of the current version."""


def read_version(message: dramatiq.Message[Any]) -> int:
    """Return the version of a message's arguments."""
    return int(message.options.get(VERSION, FIRST_VERSION))


def actor_version(actor: dramatiq.Actor[..., Any]) -> int:
    """Return the version of an actor's arguments; those of stock dramatiq have the first."""
    arguments = getattr(actor, "arguments", None)
    return FIRST_VERSION if arguments is None else int(arguments.version)


def check_version(actor: str, version: object, upgrade: object) -> None:
    """Raise `ValueError` unless an actor has the first version, or a later one and an upgrade."""
    if type(version) is not int or version < FIRST_VERSION:
        raise ValueError(f"{actor}: version={version!r} is not a whole number from 1 on")
    if version == FIRST_VERSION and upgrade is not None:
        raise ValueError(f"{actor}: upgrade= needs version=2 or more: there is nothing older")
    if version > FIRST_VERSION and not callable(upgrade):
        raise ValueError(
            f"{actor}: version={version} needs upgrade=, a function of the older version, its "
            "positional arguments and those by name, for jobs that still wait"
        )
