"""A decorator for classes that hold values."""

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, cast, dataclass_transform

Class = TypeVar("Class", bound=type[Any])


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: Class) -> Class:
    """Make a class a slotted dataclass whose fields are not assigned, which type checkers verify.

    `dataclass(frozen=True)` compiles six methods of each class when it is imported. For the 66
    classes that a program imports to send its first job, that took a quarter of the time. This
    compiles one, and the rest is shared by all classes. `field(hash=…)` has no effect.
    """
    own = vars(cls)
    for method in (__eq__, __hash__, __repr__):
        # Python sets `__hash__` to `None` in a class that defines only `__eq__`.
        if own.get(method.__name__) is None:
            setattr(cls, method.__name__, method)
    return cast("Class", dataclass(slots=True, eq=False, repr=False)(cls))


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
