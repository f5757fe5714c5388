"""The chart of thirty days of revenue, for emails."""

import io
import threading
from collections.abc import Sequence
from datetime import date

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from shop.reports import business_days, money
from shop.reports.numbers import TREND_DAYS, Sales
from shop.reports.snapshots import StoredReport

WIDTH_PX, PANEL_PX, EDGE_PX = 600, 200, 16
DOTS_PER_PX = 2
"""For high-resolution screens."""
PX_PER_INCH = 100
MAX_AMOUNT_LENGTH = 24
"""Characters of the longest amount that the chart shows; a longer one is only in the email."""
INK, PALE, DAY, OTHER = "#24292f", "#d0d5da", "#1f5fbf", "#b3c7e6"
SCALES = ((10**12, "trillion "), (10**9, "billion "), (10**6, "million "), (10**3, "thousand "))

_matplotlib_lock = threading.Lock()
"""Matplotlib's settings and font cache are shared by all threads."""


def draw_chart(report: StoredReport) -> bytes:
    """Draw the revenue as a PNG, one panel per currency; the same report gives the same bytes."""
    out = io.BytesIO()
    with _matplotlib_lock, mpl.rc_context():
        _style()
        _figure(report).savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _style() -> None:
    """Make the chart look the same on every host, regardless of local settings."""
    mpl.rcdefaults()
    mpl.rc("font", family="DejaVu Sans", size=9)  # it comes with Matplotlib
    mpl.rc("text", color=INK)
    mpl.rc("axes", labelcolor=INK, titlecolor=INK, edgecolor=PALE)
    mpl.rc("xtick", color=INK)
    mpl.rc("ytick", color=INK)


def _figure(report: StoredReport) -> Figure:
    dates, currencies = (
        business_days.range_ending(report.day.date, TREND_DAYS),
        report.numbers.chart_series,
    )
    height_px = EDGE_PX + PANEL_PX * len(currencies)
    figure = Figure(
        figsize=(WIDTH_PX / PX_PER_INCH, height_px / PX_PER_INCH),
        dpi=PX_PER_INCH * DOTS_PER_PX,
        facecolor="white",
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1),  # inches
    )
    panels = figure.subplots(len(currencies), squeeze=False)
    for axes, sales in zip(panels.flat, currencies, strict=True):
        _draw(axes, sales, dates)
    panels.flat[-1].set_xlabel(f"business day, {report.day.zone}")
    return figure


def _draw(axes: Axes, sales: Sales, dates: Sequence[date]) -> None:
    """Draw one currency: a bar for each day, the reported one in another colour."""
    heights = [float(amount) for amount in sales.trend]
    colours = [OTHER] * (len(heights) - 1) + [DAY]
    axes.bar(range(len(heights)), heights, color=colours, width=0.75, zorder=2)
    axes.set_title(
        f"Revenue per day in {sales.currency}", loc="left", fontsize=10, fontweight="bold", pad=10
    )
    amount = money.format_grouped(sales.revenue, sales.currency)
    if len(amount) <= MAX_AMOUNT_LENGTH:
        said = f"{_short(dates[-1])}: {amount} {sales.currency}"
        axes.set_title(said, loc="right", fontsize=10, color=DAY, fontweight="bold", pad=10)
    axes.set_xlim(-0.6, len(heights) - 0.4)
    axes.set_xticks(weekly := range(len(heights) - 1, -1, -7), [_short(dates[at]) for at in weekly])
    _scale(axes, max(heights), sales.currency)
    axes.tick_params(length=0)
    axes.grid(axis="y", color=PALE, linewidth=0.6, zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _scale(axes: Axes, highest: float, currency: str) -> None:
    """Label large amounts in thousands or more, and name the unit."""
    size, word = next((one for one in SCALES if highest >= 2 * one[0]), (1, ""))
    axes.set_ylim(0, highest * 1.08 or 1)
    axes.yaxis.set_major_locator(MaxNLocator(4) if highest else FixedLocator([0]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / size:,.6g}"))
    axes.set_ylabel(f"{word}{currency}")


def _short(day: date) -> str:
    return f"{day.day} {day:%b}"
