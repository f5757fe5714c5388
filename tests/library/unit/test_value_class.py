"""Classes that hold values: what `dataclass(frozen=True, slots=True)` would make of them."""

import copy
import inspect
import pickle
from dataclasses import KW_ONLY, FrozenInstanceError, asdict, dataclass, field, replace

import pytest

from workshed.value_class import COMPILE_AFTER, frozen_class, state_class, value_class

FROZEN = dataclass(frozen=True, slots=True)


def make(decorator):
    """Return the same class, made by one of the two decorators."""

    @decorator
    class Point:
        """A point."""

        x: int
        y: int = 2
        secret: str = field(default="s", repr=False)
        seen: int = field(default=0, compare=False)
        tags: tuple[str, ...] = field(default_factory=tuple)

    return Point


def compiled(decorator):
    """Return a decorator whose classes have had enough instances for a compiled `__init__`."""

    def decorate(cls):
        made = decorator(cls)
        for _ in range(COMPILE_AFTER):
            made(0)
        return made

    return decorate


@pytest.fixture(
    params=[FROZEN, value_class, compiled(value_class), frozen_class],
    ids=["dataclass", "value_class", "compiled", "frozen_class"],
)
def point(request):
    return make(request.param)


def test_instances_are_equal_if_their_fields_are(point):
    assert point(1) == point(1, seen=9)
    assert point(1) != point(2)
    assert point(1) != make(value_class)(1)
    assert point(1) != (1, 2)


def test_the_text_hides_what_is_secret(point):
    assert repr(point(1)).endswith("Point(x=1, y=2, seen=0, tags=())")


def test_equal_instances_have_one_hash(point):
    assert {point(1), point(1, seen=9), point(2)} == {point(1), point(2)}


def test_it_has_slots_and_no_dictionary(point):
    assert not hasattr(point(1), "__dict__")
    with pytest.raises((AttributeError, TypeError)):
        point(1).z = 3


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        ((), {}, "missing 1 required positional argument: 'x'"),
        ((1, 2, "", 0, (), 9), {}, "takes from 2 to 6 positional arguments but 7 were given"),
        ((1,), {"x": 2}, "got multiple values for argument 'x'"),
        ((1,), {"z": 2}, "got an unexpected keyword argument 'z'"),
    ],
)
def test_a_wrong_call_is_refused_as_python_does(point, args, named, message):
    with pytest.raises(TypeError, match=message):
        point(*args, **named)


def test_its_signature_is_known(point):
    assert list(inspect.signature(point).parameters) == ["x", "y", "secret", "seen", "tags"]
    assert inspect.signature(point).parameters["y"].default == 2


def test_each_instance_has_a_value_of_its_own_from_a_factory():
    @state_class
    class Basket:
        items: list[int] = field(default_factory=list)
        count: int = field(default=0, init=False)

    for _ in range(COMPILE_AFTER + 1):
        basket = Basket()
        basket.items.append(1)
        basket.count += 1
        assert (basket.items, basket.count) == ([1], 1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'count'"):
        Basket(count=1)


def test_objects_with_a_state_equal_only_themselves():
    @state_class
    class Light:
        is_on: bool = False

    light = Light()
    light.is_on = True
    assert light == light != Light(is_on=True)  # noqa: PLR0124
    assert {light: 1}[light] == 1
    assert repr(light).endswith("Light(is_on=True)")


@frozen_class
class Rule:
    """Refuses assignments; at module level, as `pickle` needs it."""

    _: KW_ONLY
    name: str
    size: int = 1


def test_a_frozen_object_refuses_assignments():
    rule = Rule(name="a")
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'size'"):
        rule.size = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'size'"):
        del rule.size
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        Rule("a")
    for _ in range(2 * COMPILE_AFTER):
        rule = replace(rule, size=rule.size + 1)
    assert copy.deepcopy(rule) == pickle.loads(pickle.dumps(rule)) == rule  # noqa: S301
    assert copy.copy(rule).size == 2 * COMPILE_AFTER + 1


def test_the_functions_of_dataclasses_know_it(point):
    assert asdict(point(1)) == {"x": 1, "y": 2, "secret": "s", "seen": 0, "tags": ()}
    assert replace(point(1), y=5) == point(1, 5)
    assert point.__match_args__ == ("x", "y", "secret", "seen", "tags")


def test_what_a_class_defines_itself_is_kept():
    @value_class
    class Named:
        name: str

        def __repr__(self):
            return "hidden"

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 7

    assert repr(Named("a")) == "hidden"
    assert Named("a") == Named("b")
    assert hash(Named("a")) == 7


def test_a_class_with_its_own_comparison_can_still_be_hashed():
    @value_class
    class Name:  # noqa: PLW1641 -- `value_class` adds it
        text: str

        def __eq__(self, other):
            return self.text.lower() == other.text.lower()

    assert Name("a") == Name("A")
    assert hash(Name("a")) == hash(Name("a"))


@value_class
class Pair:
    """At module level, as `pickle` needs it."""

    left: int
    right: int


def test_it_can_be_copied_and_pickled():
    pair = Pair(1, 2)

    assert copy.copy(pair) == pickle.loads(pickle.dumps(pair)) == pair  # noqa: S301


@value_class
class Checked:
    """Refuses some values."""

    number: int

    def __post_init__(self):
        if self.number < 0:
            raise ValueError("below zero")


@value_class
class Named(Checked):
    """Inherits the check."""

    name: str = field(kw_only=True)


def test_a_check_is_inherited():
    assert Named(1, name="a").name == "a"
    with pytest.raises(ValueError, match="below zero"):
        Named(-1, name="a")
    with pytest.raises(TypeError, match=r"Named\.__init__\(\) missing 1 required"):
        Named(1)
