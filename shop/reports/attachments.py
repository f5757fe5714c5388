"""The files of a report's emails, chart and CSV; their contents are stored once for all emails."""

import logging
from collections.abc import Callable

from shop.reports import csv_table
from shop.reports.snapshots import StoredReport
from workshed.contrib.mail import File
from workshed.contrib.mail.sender import get_sender
from workshed.contrib.storage import blobs, storage

logger = logging.getLogger(__name__)

DrawChart = Callable[[StoredReport], bytes]


def store_attachments(report: StoredReport) -> tuple[File, ...]:
    """Store the files of a report and return them; without Matplotlib there is no chart."""
    name = f"report-{report.day.date}"
    attached = File(f"{name}.csv", "text/csv", _store_content(csv_table.render_csv(report)))
    draw = load_draw_chart()
    if draw is None:
        logger.warning("the report has no chart: pip install matplotlib")
        return (attached,)
    content_id = f"{name}@{get_sender().domain}"
    return File(f"{name}.png", "image/png", _store_content(draw(report)), content_id), attached


def load_draw_chart() -> DrawChart | None:
    """Return the function that draws charts; `None` without Matplotlib, which loads in a second."""
    try:
        from shop.reports.chart import draw_chart  # noqa: PLC0415 -- an extra
    except ImportError:
        return None
    return draw_chart


def _store_content(content: bytes) -> str:
    with storage().draft() as draft:
        draft.write(content)
        return blobs.keep(draft).sha256
