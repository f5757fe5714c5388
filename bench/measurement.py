"""Measurements of a run, in the form in which they are printed, stored and drawn."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


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

    def as_json(self) -> dict[str, Any]:
        """Return it with figures rounded to their significant digits."""
        return {name: round_figure(v) for name, v in asdict(self).items()}


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
    if at_least is not None:
        return Measurement(name, value, unit, peer, peer_value, ratio, f">= {at_least:g} x",
                           ratio >= at_least)  # fmt: skip
    if at_most is not None:
        return Measurement(name, value, unit, peer, peer_value, ratio, f"<= {at_most:g} x",
                           ratio <= at_most)  # fmt: skip
    return Measurement(name, value, unit, peer, peer_value, ratio)


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
    return Measurement(name, value, unit, target=target, met=met)


def alternate_rounds(
    rounds: int, contenders: Sequence[str], measure: Callable[[str], dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Measure all contenders in each round; return the median of each figure per contender.

    Each round begins with the next contender, so that none always runs first.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for number in range(rounds):
        turn = number % len(contenders)
        for name in [*contenders[turn:], *contenders[:turn]]:
            found[name].append(measure(name))
    return {name: median_figures(figures) for name, figures in found.items()}


def median_figures(figures: Iterable[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    all_of = list(figures)
    return {name: statistics.median(one[name] for one in all_of) for name in all_of[0]}
