"""Measurements of a run, in the form in which they are printed, stored and drawn."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from bench.peers import find_peer_version


class MedianFigure(float):
    """The median of a figure over the rounds of a run; it also has the least and the most.

    Arithmetic makes it a plain number, because a difference of medians has no known range.
    """

    minimum: float
    maximum: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Take the figure of each round."""
        made = cls(statistics.median(values))
        made.minimum, made.maximum = float(min(values)), float(max(values))
        made.rounds = len(values)
        return made


@dataclass(frozen=True)
class Measurement:
    """One figure of Workshed, optionally compared with a peer's."""

    name: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    """`value` divided by `peer_value`."""
    target: str | None = None
    """What the figure or the ratio should reach; `None` if it has no target."""
    met: bool | None = None
    peer_version: str | None = None
    rounds: int | None = None
    """How many `value` and `peer_value` are the median of; `None` if they are not medians."""
    minimum: float | None = None
    maximum: float | None = None
    peer_minimum: float | None = None
    peer_maximum: float | None = None

    @property
    def is_rate(self) -> bool:
        """Whether more is better; of all other units, less is."""
        return self.unit.endswith("/s")

    @property
    def is_close(self) -> bool:
        """Whether the worse side was, in its best round, as good as the better one in its worst."""
        match self.minimum, self.maximum, self.peer_minimum, self.peer_maximum:
            case float(low), float(high), float(peer_low), float(peer_high):
                return self.rounds != 1 and max(low, peer_low) <= min(high, peer_high)
            case _:
                return False

    @property
    def verdict(self) -> str | None:
        """Which side is better, in words; `None` without a peer."""
        if self.ratio is None:
            return None
        if self.is_close:
            return "too close, the ranges overlap"
        if self.ratio == 1:
            return "equal"
        better = "ours" if (self.ratio > 1) == self.is_rate else self.peer
        return f"{better} is faster" if self.is_rate else f"{better} takes less"

    def as_json(self) -> dict[str, Any]:
        """Return it with figures rounded to their significant digits."""
        named = asdict(self) | {"verdict": self.verdict}
        return {name: round_figure(v) for name, v in named.items()}


def round_figure(value: object) -> object:
    """Round a number to four significant digits."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def compare_with_peer(
    name: str,
    value: float,
    unit: str,
    peer: str,
    peer_value: float,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Measurement:
    """Compare a figure with a peer's; the target applies to their ratio."""
    ratio = value / peer_value
    target = met = None
    if at_least is not None:
        target, met = f">= {at_least:g} x", ratio >= at_least
    elif at_most is not None:
        target, met = f"<= {at_most:g} x", ratio <= at_most
    made = Measurement(name, float(value), unit, peer, float(peer_value), ratio, target, met,
                       find_peer_version(peer))  # fmt: skip
    made = add_range(made, value)
    if isinstance(peer_value, MedianFigure):
        made = replace(made, peer_minimum=peer_value.minimum, peer_maximum=peer_value.maximum)
    return made


def report_alone(
    name: str,
    value: float,
    unit: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Measurement:
    """Report a figure without a peer; the target applies to the figure itself."""
    target = met = None
    if at_least is not None:
        target, met = f">= {at_least:g} {unit}", value >= at_least
    elif at_most is not None:
        target, met = f"<= {at_most:g} {unit}", value <= at_most
    return add_range(Measurement(name, float(value), unit, target=target, met=met), value)


def add_range(measurement: Measurement, value: float) -> Measurement:
    """Add the least and the most of our figure, if it is a median."""
    if not isinstance(value, MedianFigure):
        return measurement
    return replace(measurement, rounds=value.rounds, minimum=value.minimum, maximum=value.maximum)


def alternate_rounds(
    rounds: int, contenders: Sequence[str], measure: Callable[[str], dict[str, float]]
) -> dict[str, dict[str, MedianFigure]]:
    """Measure all contenders in each round; return the median of each figure per contender.

    Each round begins with the next contender, so that none always runs first.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for number in range(rounds):
        turn = number % len(contenders)
        for name in [*contenders[turn:], *contenders[:turn]]:
            found[name].append(measure(name))
    return {name: median_figures(figures) for name, figures in found.items()}


def median_figures(figures: Iterable[dict[str, float]]) -> dict[str, MedianFigure]:
    """Return the median of each figure."""
    all_of = list(figures)
    return {name: MedianFigure.of([one[name] for one in all_of]) for name in all_of[0]}
