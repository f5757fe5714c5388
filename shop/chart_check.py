"""Check of `workshed doctor`: whether the daily report's emails can have a chart."""

from collections.abc import Iterator

from shop.reports.files import drawing
from workshed.console.doctor.run import Check
from workshed.console.doctor.surroundings import DoctorContext
from workshed.console.operations.finding import Finding, ok, warning


def check(_here: DoctorContext) -> Iterator[Finding]:
    """Load Matplotlib as the job does."""
    if drawing() is None:
        said = "Matplotlib is missing, so the mails of the daily report have no chart"
        yield warning(said, "pip install matplotlib")
    else:
        yield ok("the mails of the daily report have a chart")


CHECKS = (Check("charts", check),)
