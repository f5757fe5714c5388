"""Read classes of settings from environment variables, and report every problem at once."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from workshed.duration import format_duration, parse_duration
from workshed.value_class import value_class

Reader = Callable[[object], object]
"""Returns a value for a text, or for a value of its type; raises `ValueError`."""
Check = Callable[[Any], None]
"""Raises `ValueError` if a value cannot be used."""

TRUE_WORDS = frozenset({"1", "true", "t", "yes", "y", "on"})
FALSE_WORDS = frozenset({"0", "false", "f", "no", "n", "off"})
WHOLE = re.compile(r"\.0+$")
"""What may follow a whole number, as in `8.0`."""


class Secret:
    """A text that neither `str` nor `repr` shows."""

    def __init__(self, text: str) -> None:
        """Keep the text."""
        self._text = text

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        """Show only whether there is one."""
        return "Secret('**********')" if self._text else "Secret('')"

    def __eq__(self, other: object) -> bool:
        """Compare the texts."""
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        """Return the hash of the text."""
        return hash(self._text)

    def __bool__(self) -> bool:
        """Return whether it is not empty."""
        return bool(self._text)


class InvalidSettingsError(ValueError):
    """Settings that cannot be used."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        """Take the name of each wrong setting, with the reason."""
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        """List the problems on one line."""
        return "; ".join(f"{name}: {why}" for name, why in self.problems)


@value_class
class SettingField:
    """One setting of a class."""

    default: object
    read: Reader


@dataclass_transform(kw_only_default=True, frozen_default=True)
class EnvironmentSettings:
    """Base of a class of settings: each annotated attribute is one, and has a default.

    Types are `str`, `Secret`, `bool`, `int`, `float`, `Path`, `Literal` and `timedelta`, each also
    as `| None`, or with checks: `Annotated[int, at_least(1)]`. Pydantic would do this, too, but
    every process of Workshed reads settings, and importing it takes 9 MB and half of the time of a
    program that sends a job.
    """

    prefix: ClassVar[str]
    """Of the variables, in capitals."""

    def __init__(self, **values: object) -> None:
        """Take `values`, also as texts, and all others from the environment.

        An empty variable counts as not set. Raises `InvalidSettingsError` with every problem.
        """
        fields = self.fields()
        if unknown := values.keys() - fields.keys():
            raise TypeError(f"there is no setting {min(unknown)!r}")
        texts = {name.upper(): text for name, text in os.environ.items() if text}
        variables = {name: f"{self.prefix}{name.upper()}" for name in fields}
        given = {name: texts[key] for name, key in variables.items() if key in texts} | values
        found: dict[str, object] = {}
        problems: list[tuple[str, str]] = []
        for name, field in fields.items():
            try:
                found[name] = field.read(given[name]) if name in given else field.default
            except ValueError as err:
                problems.append((name, str(err)))
        problems += self.find_conflicts(found)
        if problems:
            raise InvalidSettingsError(problems)
        self.__dict__.update(found, _given=frozenset(given))

    @classmethod
    @cache
    def fields(cls) -> Mapping[str, SettingField]:
        """Return all settings of this class by name."""
        return {
            name: SettingField(getattr(cls, name), _build_reader(hint))
            for name, hint in get_type_hints(cls, include_extras=True).items()
            if get_origin(hint) is not ClassVar
        }

    @classmethod
    def find_conflicts(cls, found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:  # noqa: ARG003 -- for subclasses
        """Yield problems that only several settings together show; unreadable ones are missing."""
        yield from ()

    @property
    def given(self) -> frozenset[str]:
        """Names of the settings that were set."""
        names: frozenset[str] = self.__dict__["_given"]
        return names

    def replace(self, **changes: object) -> Self:
        """Return a copy with some other values."""
        made = type(self)(**{name: getattr(self, name) for name in self.fields()} | changes)
        made.__dict__["_given"] = self.given | changes.keys()
        return made

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse to change a setting."""
        raise AttributeError("settings are frozen; `replace` returns a copy with other values")

    def __delattr__(self, name: str) -> None:
        """Refuse to delete a setting."""
        self.__setattr__(name, None)

    def __repr__(self) -> str:
        """Show all settings, without secrets."""
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.fields())
        return f"{type(self).__name__}({values})"


def at_least(minimum: Any) -> Check:
    """Return a check of numbers and durations."""

    def check(value: Any) -> None:
        if not value >= minimum:
            raise ValueError(f"must be at least {_format_limit(minimum)}")

    return check


def at_most(maximum: Any) -> Check:
    """Return a check of numbers and durations."""

    def check(value: Any) -> None:
        if not value <= maximum:
            raise ValueError(f"must be at most {_format_limit(maximum)}")

    return check


def more_than(minimum: Any) -> Check:
    """Return a check of numbers and durations."""

    def check(value: Any) -> None:
        if not value > minimum:
            raise ValueError(f"must be more than {_format_limit(minimum)}")

    return check


def _format_limit(limit: object) -> str:
    return format_duration(limit) if isinstance(limit, timedelta) else f"{limit:,}"


def _build_reader(hint: Any) -> Reader:
    """Return the reader for an annotation."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return partial(_read_checked, _build_reader(inner[0]), inner[1:])
    if kind in (Union, UnionType):
        [needed] = [one for one in inner if one is not NoneType]
        return partial(_read_optional, _build_reader(needed))
    if kind is Literal:
        return partial(_read_choice, inner)
    return _READERS[hint]


def _read_checked(read: Reader, checks: tuple[Check, ...], value: object) -> object:
    found = read(value)
    for check in checks:
        check(found)
    return found


def _read_optional(read: Reader, value: object) -> object:
    return None if value is None else read(value)


def _read_choice(choices: tuple[str, ...], value: object) -> object:
    if value not in choices:
        raise ValueError(f"must be {', '.join(choices[:-1])} or {choices[-1]}")
    return value


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")  # noqa: TRY004 -- like other problems
    return value


def _read_secret(value: object) -> Secret:
    if not isinstance(value, str | Secret):
        raise ValueError("must be text")  # noqa: TRY004 -- like other problems
    return value if isinstance(value, Secret) else Secret(value)


def _read_path(value: object) -> Path:
    return value if isinstance(value, Path) else Path(_read_text(value))


def _read_bool(value: object) -> bool:
    word = f"{value}".strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError("must be true or false")


def _read_int(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return int(WHOLE.sub("", _read_text(value)))
    except ValueError:
        raise ValueError("must be a whole number") from None


def _read_float(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        return float(_read_text(value))
    except ValueError:
        raise ValueError("must be a number") from None


def read_duration(value: object) -> timedelta:
    """Read `90d`, `15s`, `250ms` or `1h30m`; a number without a unit is seconds.

    Raises `ValueError`.
    """
    if isinstance(value, timedelta):
        return value
    try:
        try:
            return timedelta(seconds=_read_float(value))
        except ValueError:
            return parse_duration(_read_text(value))
    except (ValueError, OverflowError):
        raise ValueError("must be a duration such as 90d, 15s or 250ms") from None


_READERS: dict[object, Reader] = {
    str: _read_text,
    Secret: _read_secret,
    Path: _read_path,
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    timedelta: read_duration,
}
