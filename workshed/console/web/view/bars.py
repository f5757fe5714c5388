"""Bars with a part for each outcome."""

from collections.abc import Mapping

from workshed.value_class import value_class

SMALLEST_PERCENT = 1.5
"""The least width of a part, so that one dead job of a million is visible."""


@value_class
class BarPart:
    """A part of a bar; `start` and `width` are percent of the bar."""

    name: str
    count: int
    start: float
    width: float


def divide_bar(counts: Mapping[str, int], total: int) -> list[BarPart]:
    """Return a part for each count that is not 0; the largest one makes room for small ones."""
    shares = {
        name: max(100 * count / total, SMALLEST_PERCENT) for name, count in counts.items() if count
    }
    excess = sum(shares.values()) - 100
    if excess > 0:
        largest = max(shares, key=lambda name: shares[name])
        shares[largest] -= excess
    parts, start = [], 0.0
    for name, width in shares.items():
        parts.append(BarPart(name, counts[name], round(start, 2), round(width, 2)))
        start += width
    return parts
