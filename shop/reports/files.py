"""The files of a report's emails, chart and CSV; their contents are stored once for all emails."""

import logging
from collections.abc import Callable

from shop.reports import table
from shop.reports.snapshots import StoredReport
from workshed.contrib.mail import File
from workshed.contrib.mail.sender import sender
from workshed.contrib.storage import blobs, storage

logger = logging.getLogger(__name__)

Draw = Callable[[StoredReport], bytes]


def of(report: StoredReport) -> tuple[File, ...]:
    """Store the files of a report and return them; without Matplotlib there is no chart."""
    name = f"report-{report.day.date}"
    attached = File(f"{name}.csv", "text/csv", _kept(table.written(report)))
    draw = drawing()
    if draw is None:
        logger.warning("the report has no chart: pip install matplotlib")
        return (attached,)
    content_id = f"{name}@{sender().domain}"
    return File(f"{name}.png", "image/png", _kept(draw(report)), content_id), attached


def drawing() -> Draw | None:
    """Return the function that draws charts; `None` without Matplotlib, which loads in a second."""
    try:
        from shop.reports.chart import drawn  # noqa: PLC0415 -- an extra
    except ImportError:
        return None
    return drawn


def _kept(content: bytes) -> str:
    with storage().draft() as draft:
        draft.write(content)
        return blobs.keep(draft).sha256
