"""Check of `workshed doctor`: whether the daily report's emails can have a chart."""

from collections.abc import Iterator

from shop.reports.attachments import load_draw_chart
from workshed.console.doctor.context import DoctorContext
from workshed.console.doctor.run import Check
from workshed.console.operations.finding import Finding, ok, warning


def check_charts(_here: DoctorContext) -> Iterator[Finding]:
    """Load Matplotlib as the job does."""
    if load_draw_chart() is None:
        said = "Matplotlib is missing, so the mails of the daily report have no chart"
        yield warning(said, "pip install matplotlib")
    else:
        yield ok("the mails of the daily report have a chart")


CHECKS = (Check("charts", check_charts),)
