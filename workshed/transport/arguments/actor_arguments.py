"""The arguments of one actor: encoded by `send`, decoded when a job starts."""

import contextlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_origin

import dramatiq

from workshed.middleware.options.signatures import read_signature
from workshed.transport.arguments.annotations import cached_annotations
from workshed.transport.arguments.checks import SINGLE_VALUE_KINDS, build_checks
from workshed.transport.arguments.json_kinds import plain_kinds
from workshed.transport.arguments.mismatch import Mismatch, MismatchError
from workshed.transport.arguments.versions import (
    FIRST_VERSION,
    VERSION,
    Upgrade,
    check_version,
    read_version,
)
from workshed.transport.errors import AmbiguousUnionError, ArgumentTypeError, InvalidArgumentError

if TYPE_CHECKING:
    from workshed.transport.arguments.codec import ArgumentCodec

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Codecs = dict[str, "ArgumentCodec"]

POSITIONAL_KINDS = SINGLE_VALUE_KINDS[:2]


class ActorArguments:
    """The codecs of an actor by parameter, and the version of its arguments."""

    def __init__(
        self, actor: str, function: Callable[..., Any], version: int, upgrade: Upgrade | None
    ) -> None:
        """Read the annotations; raises like `build_arguments`."""
        self.version = version
        self.codecs = _build_codecs(actor, function)
        self._actor = actor
        self._upgrade = upgrade
        self._signature = read_signature(function)
        self._checks = build_checks(function)
        parameters = self._signature.parameters.values()
        self._names = [one.name for one in parameters if one.kind in POSITIONAL_KINDS]
        self.default_forms = self._encode_defaults()
        """The defaults of typed parameters as plain JSON, for keys that are made of arguments."""
        self._rest = next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), "")
        self._rest_by_name = next(
            (one.name for one in parameters if one.kind is one.VAR_KEYWORD), ""
        )

    @property
    def options(self) -> dict[str, int]:
        """The options of a message with such arguments."""
        return {} if self.version == FIRST_VERSION else {VERSION: self.version}

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Args, Kwargs]:
        """Return the arguments as plain JSON, however many there are.

        Raises `ArgumentTypeError` for a value that does not fit.
        """
        placed = tuple(
            self._encode(*self._name_place(place), value) for place, value in enumerate(args)
        )
        named = {
            name: self._encode(self._parameter_of(name), name, value)
            for name, value in kwargs.items()
        }
        return placed, named

    def decode(self, message: dramatiq.Message[Any]) -> tuple[Args, Kwargs]:
        """Return the arguments that the function of the actor takes.

        Raises `InvalidArgumentError`, which names the argument that does not fit.
        """
        args, kwargs = self.upgrade(message)
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as err:
            raise InvalidArgumentError(f"{self._actor}{self._signature}: {err}") from None
        placed = tuple(
            self._decode(*self._name_place(place), value) for place, value in enumerate(args)
        )
        named = {
            name: self._decode(self._parameter_of(name), name, value)
            for name, value in kwargs.items()
        }
        return placed, named

    def find_unknown(self, message: dramatiq.Message[Any]) -> str | None:
        """Return an argument that the function does not take; `None` if there is none.

        A newer release may have added it. Older arguments are for `upgrade` to read.
        """
        if read_version(message) != self.version:
            return None
        if len(message.args) > len(self._names) and not self._rest:
            return f"number {len(self._names) + 1}"
        names = (repr(name) for name in message.kwargs if not self._parameter_of(name))
        return next(names, None)

    def upgrade(self, message: dramatiq.Message[Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return a message's arguments, still plain JSON, in the form of this version.

        Raises `InvalidArgumentError`.
        """
        version = read_version(message)
        if version == self.version:
            return message.args, message.kwargs
        if version > self.version or self._upgrade is None:
            raise InvalidArgumentError(
                f"{self._actor}: its arguments have version {version}, and this release knows "
                f"{self.version}"
            )
        try:
            args, kwargs = self._upgrade(version, message.args, message.kwargs)
            return tuple(args), dict(kwargs)
        except Exception as err:
            raise InvalidArgumentError(
                f"{self._actor}: upgrade of its arguments from version {version} to "
                f"{self.version} raised {type(err).__name__}"
            ) from err

    def _encode_defaults(self) -> Kwargs:
        found = {}
        for name, codec in self.codecs.items():
            default = self._signature.parameters[name].default
            with contextlib.suppress(MismatchError):  # of a parameter without one, or a sentinel
                found[name] = codec.encode(default)
        return found

    def _encode(self, parameter: str, field: str, value: Any) -> Any:
        codec = self.codecs.get(parameter)
        if codec is None:
            return value
        try:
            return codec.encode(value)
        except MismatchError as err:
            raise self._error(field, err.mismatch) from None

    def _decode(self, parameter: str, field: str, form: Any) -> Any:
        codec = self.codecs.get(parameter)
        if codec is None:
            check = self._checks.get(parameter)
            if check is not None and (mismatch := check(form)):
                raise self._error(field, mismatch)
            return form
        try:
            return codec.decode(form)
        except MismatchError as err:
            raise self._error(field, err.mismatch) from err.__cause__

    def _error(self, field: str, mismatch: Mismatch) -> ArgumentTypeError:
        place = field + mismatch.path
        return ArgumentTypeError(self._actor, place, mismatch.given, mismatch.expected)

    def _name_place(self, place: int) -> tuple[str, str]:
        """Return the parameter at a place, and the name of that argument in errors."""
        if place < len(self._names):
            return self._names[place], self._names[place]
        return self._rest, f"{self._rest}[{place - len(self._names)}]"

    def _parameter_of(self, name: str) -> str:
        parameter = self._signature.parameters.get(name)
        is_own = parameter is not None and parameter.kind in SINGLE_VALUE_KINDS[1:]
        return name if is_own else self._rest_by_name


def build_arguments(
    actor: str,
    function: Callable[..., Any],
    version: int = FIRST_VERSION,
    upgrade: Upgrade | None = None,
) -> ActorArguments | None:
    """Return the arguments of an actor; `None` if all are sent and received as they are.

    Raises `AmbiguousUnionError`, and `ValueError` for a version without an upgrade.
    """
    check_version(actor, version, upgrade)
    found = ActorArguments(actor, function, version, upgrade)
    return found if found.codecs or version > FIRST_VERSION else None


def _build_codecs(actor: str, function: Callable[..., Any]) -> Codecs:
    hints = cached_annotations(function)
    found: Codecs = {}
    for name, parameter in read_signature(function).parameters.items():
        if name not in hints or plain_kinds(hints[name]) is not None:
            continue
        # Imported for typed arguments only, because pydantic takes 6 MB.
        library = importlib.import_module("workshed.transport.arguments.codec")
        codec = library.build_codec(
            hints[name], _title(hints[name]), takes_none=parameter.default is None
        )
        if codec is None:
            continue
        unions = importlib.import_module("workshed.transport.arguments.unions")
        if members := unions.find_ambiguous_union(hints[name]):
            raise AmbiguousUnionError(actor, name, members)
        found[name] = codec
    return found


def _title(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint)
