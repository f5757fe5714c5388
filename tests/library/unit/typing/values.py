"""Fields of values are read, and not assigned."""

from workshed.value_class import value_class


@value_class
class Point:
    """A value."""

    x: int
    y: int = 0


point = Point(1)
total: int = point.x + point.y
point.x = 2  # E: misc
Point("1")  # E: arg-type
Point(1, z=3)  # E: call-arg
