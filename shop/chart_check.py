"""What draws the chart of the daily report: an extra, without which its mails have none."""

from collections.abc import Iterator

from shop.reports.files import drawing
from workshed.console.doctor.run import Check
from workshed.console.doctor.surroundings import DoctorContext
from workshed.console.operations.finding import Finding, ok, warning


def check(_here: DoctorContext) -> Iterator[Finding]:
    """Load it as the job does."""
    if drawing() is None:
        said = "Matplotlib is missing, so the mails of the daily report have no chart"
        yield warning(said, "pip install matplotlib")
    else:
        yield ok("the mails of the daily report have a chart")


CHECKS = (Check("charts", check),)
