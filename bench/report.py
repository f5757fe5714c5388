"""The measurements of a run as a table, as JSON, and as a plot."""

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import sidekiq
from bench.measurement import Measurement, round_figure

PACKAGES = (
    *("dramatiq", "pika", "psycopg", "celery"),
    *("procrastinate", "taskiq", "taskiq-aio-pika"),
)


def describe_surroundings(rabbitmq: str, postgresql: str) -> dict[str, Any]:
    """Return the hardware and the versions that the figures were measured with."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "rabbitmq": rabbitmq,
        "postgresql": postgresql,
        **{name: version(name) for name in PACKAGES},
        **sidekiq.describe_versions(),
    }


def as_json(found: Sequence[Measurement], surrounding: dict[str, Any]) -> str:
    """Format the measurements as JSON, for programs."""
    return json.dumps(
        {"measurements": [one.as_json() for one in found], "surroundings": surrounding}, indent=2
    )


def as_table(found: Sequence[Measurement]) -> str:
    """Format the measurements as a Markdown table: ours, the peer's, the ratio, the target.

    A figure that is a median is followed by the least and the most of its rounds.
    """
    lines = ["| what | ours | peer | ratio | target |", "|---|--:|---|--:|---|"]
    for one in found:
        ratio = "" if one.ratio is None else f"{one.ratio:.2f} x, {one.verdict}"
        target = "" if one.target is None else f"{one.target} {'met' if one.met else '**missed**'}"
        ours = f"{_with_range(one.value, one.minimum, one.maximum)} {one.unit}"
        lines.append(f"| {one.name} | {ours} | {_describe_peer(one)} | {ratio} | {target} |")
    return "\n".join(lines)


def draw_plot(found: Sequence[Measurement], path: Path) -> None:
    """Draw each ratio that has a target, with the target, as a PNG."""
    import matplotlib as mpl  # noqa: PLC0415 -- slow to import, and only needed at the end

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    shown = [one for one in found if one.ratio is not None and one.target is not None]
    if not shown:
        return
    names = [f"{one.name}\nvs. {one.peer}" for one in shown]
    ratios = [one.ratio or 0.0 for one in shown]
    targets = [float((one.target or "0").split()[1]) for one in shown]
    figure, axes = plt.subplots(figsize=(9, 0.6 * len(shown) + 1.2), layout="constrained")
    places = range(len(shown))
    colours = ["#2a7f62" if one.met else "#c1462b" for one in shown]
    axes.barh(places, ratios, color=colours, height=0.6)
    axes.scatter(targets, places, marker="|", s=300, color="black", label="target", zorder=3)
    for place, ratio in zip(places, ratios, strict=True):
        axes.text(ratio, place, f" {ratio:.2f} x", va="center", fontsize=8)
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("ours / peer")
    axes.margins(x=0.1)
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _describe_peer(one: Measurement) -> str:
    if one.peer is None:
        return ""
    name = one.peer if one.peer_version is None else f"{one.peer} ({one.peer_version})"
    return f"{name}: {_with_range(one.peer_value, one.peer_minimum, one.peer_maximum)}"


def _with_range(value: float | None, minimum: float | None, maximum: float | None) -> str:
    if minimum == maximum:  # a single round, or no rounds
        return _number(value)
    return f"{_number(value)} ({_number(minimum)}–{_number(maximum)})"  # noqa: RUF001 -- a range


def _number(value: float | None) -> str:
    if value is None:
        return ""
    known = round_figure(float(value))
    return f"{known:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{known:g}"  # noqa: PLR2004
