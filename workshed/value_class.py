"""A decorator for classes that hold values."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, TypeVar, cast, dataclass_transform

Class = TypeVar("Class", bound=type[Any])


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: Class) -> Class:
    """Make a class a slotted dataclass whose fields are not assigned, which type checkers verify.

    `dataclass(frozen=True)` compiles six methods of each class when it is imported. For the 66
    classes that a program imports to send its first job, that took a quarter of the time. This
    compiles one method, `__init__`, when the first instance is made, and all classes share the
    rest. `field(hash=…)` has no effect.
    """
    own = vars(cls)
    for method in (__eq__, __hash__, __repr__):
        # Python sets `__hash__` to `None` in a class that defines only `__eq__`.
        if own.get(method.__name__) is None:
            setattr(cls, method.__name__, method)
    made = dataclass(slots=True, eq=False, repr=False, init=False)(cls)

    def __init__(self: Any, *args: Any, **named: Any) -> None:  # noqa: N807
        """Compile the method that replaces this one, and call it."""
        made.__init__ = _compile_init(made)
        made.__init__(self, *args, **named)

    made.__init__ = __init__
    return cast("Class", made)


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
