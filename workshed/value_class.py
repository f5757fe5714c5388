"""Decorators for classes that mainly hold values."""

import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import (
    MISSING,
    Field,
    FrozenInstanceError,
    dataclass,
    field,
    fields,
    make_dataclass,
)
from typing import Any, TypeVar, cast, dataclass_transform

Class = TypeVar("Class", bound=type[Any])

COMPILE_AFTER = 20
"""A class with more instances than these gets a compiled `__init__`: compiling takes as long as
some 100 instances without it."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: Class) -> Class:
    """Make a class a slotted dataclass whose fields are not assigned, which type checkers verify.

    `dataclass(frozen=True)` compiles six methods of each class when it is imported. For the 66
    classes that a program imports to send its first job, that took a quarter of the time. This
    compiles one method, `__init__`, and only once many instances are made; all classes share the
    rest. `field(hash=…)` has no effect.
    """
    return _make(cls, __eq__, __hash__, __repr__)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen_class(cls: Class) -> Class:
    """Make a `value_class` that refuses assignments also when it runs, for classes that are public.

    Its `__init__` is never compiled, so it is for classes with few instances.
    """
    methods = (__eq__, __hash__, __repr__, __setattr__, __delattr__, __setstate__)
    built = _make(cls, *methods, compile_after=None)
    built.__dataclass_params__.frozen = True  # so that frozen dataclasses can inherit from it
    return built


@dataclass_transform(field_specifiers=(field,))
def state_class(cls: Class) -> Class:
    """Make a class a slotted dataclass whose fields change, and which is equal only to itself.

    It costs as little as a `value_class`.
    """
    return _make(cls, __repr__)


def _make(
    cls: Class, *methods: Callable[..., Any], compile_after: int | None = COMPILE_AFTER
) -> Class:
    """Make a class a dataclass, with those methods that it does not define itself."""
    own = vars(cls)
    for method in methods:
        # Python sets `__hash__` to `None` in a class that defines only `__eq__`.
        if own.get(method.__name__) is None:
            setattr(cls, method.__name__, method)
    built: Any = dataclass(slots=True, eq=False, repr=False, init=False)(cls)
    count = 0

    def __init__(self: Any, *args: Any, **named: Any) -> None:  # noqa: N807
        """Set the fields."""
        nonlocal count
        count += 1
        if compile_after is not None and count >= compile_after:
            built.__init__ = _compile_init(built)
            built.__init__(self, *args, **named)
        elif not _set_fields(self, fields(built), args, named):
            _compile_init(built)(self, *args, **named)  # It raises the error of a wrong call.

    built.__init__, built.__signature__ = __init__, _Signature(built)
    return cast("Class", built)


class _Signature:
    """Gives `help` and editors the arguments of the compiled `__init__`."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls

    def __get__(self, instance: object, owner: Any) -> inspect.Signature:
        """Return the signature of a call of the class."""
        if instance is not None or owner.__init__ is not self._cls.__init__:
            raise AttributeError("__signature__")  # that of the instance, or of a subclass
        found = inspect.signature(_compile_init(owner))
        return found.replace(parameters=list(found.parameters.values())[1:])


def _set_fields(
    self: Any, of_class: tuple[Field[Any], ...], args: tuple[Any, ...], named: dict[str, Any]
) -> bool:
    """Set the fields as a compiled `__init__` would; return false where that would raise."""
    given = [each for each in of_class if each.init]
    by_place = [each.name for each in given if not each.kw_only]
    values = dict(zip(by_place, args, strict=False))
    is_wrong = len(args) > len(by_place) or not values.keys().isdisjoint(named)
    if is_wrong or not named.keys() <= {each.name for each in given}:
        return False
    values |= named
    for each in of_class:
        if each.name not in values:
            built = each.default if each.default_factory is MISSING else each.default_factory()
            if built is MISSING:
                return False
            values[each.name] = built
    for name, value in values.items():
        object.__setattr__(self, name, value)
    if check := getattr(self, "__post_init__", None):
        check()
    return True


def _compile_init(cls: Any) -> Callable[..., None]:
    """Return the `__init__` that `dataclass` would give a class that is already one."""
    hook = getattr(cls, "__post_init__", None)
    like: Any = make_dataclass(
        cls.__qualname__,
        [(each.name, each.type, copy(each)) for each in fields(cls)],
        namespace={} if hook is None else {"__post_init__": hook},
        slots=True,
        eq=False,
        repr=False,
    )
    compiled: Callable[..., None] = like.__init__
    return compiled


def __eq__(self: Any, other: object) -> bool:  # noqa: N807 -- see `value_class`
    """Compare the fields of two instances of one class."""
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _values(self) == _values(other)


def __hash__(self: Any) -> int:  # noqa: N807
    """Hash the fields."""
    return hash(_values(self))


def __repr__(self: Any) -> str:  # noqa: N807
    """Return the class and the fields, without those that `field(repr=False)` hides."""
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, each.name) for each in fields(self) if each.compare)


def __setattr__(self: Any, name: str, value: object) -> None:  # noqa: N807
    """Raise `FrozenInstanceError` for a field; a subclass may have other attributes."""
    if name in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(self, name, value)


def __delattr__(self: Any, name: str) -> None:  # noqa: N807
    """Raise `FrozenInstanceError` likewise."""
    if name in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot delete field {name!r}")
    object.__delattr__(self, name)


def __setstate__(self: Any, state: tuple[dict[str, Any] | None, dict[str, Any]]) -> None:  # noqa: N807
    """Set the fields of a copy, which `copy` and `pickle` would assign."""
    others, values = state
    for name, value in {**(others or {}), **values}.items():
        object.__setattr__(self, name, value)
