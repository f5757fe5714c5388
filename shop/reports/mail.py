"""The emails of a report: one to each active admin, all with the same stored numbers."""

import re
import unicodedata
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from shop import compose, people
from shop.reports import money
from shop.reports.business_days import A_DAY, Day
from shop.reports.numbers import ProductSales, Sales
from shop.reports.snapshots import StoredReport
from workshed.contrib.mail import File, stored_mails
from workshed.contrib.mail.filters import shorten_name
from workshed.db import Connection
from workshed.pruning import delete_old_rows

KIND = "daily_report"
"""Kind of these emails; their date distinguishes those to the same person."""
MAX_NAME_LENGTH = 80
"""Characters of a product's name in an email; the CSV has the full name."""
REORDERING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
LINE_BREAK_CATEGORIES = ("Cc", "Zl", "Zp")


def store_mails(conn: Connection, report: StoredReport, files: tuple[File, ...]) -> list[int]:
    """Store the email to each active admin, once even if called again; return the emails' ids."""
    found = _template_variables(report, files)
    return [
        stored_mails.store(
            conn,
            compose.write_email(admin, KIND, about=str(report.day.date), found=found, files=files),
        )
        for admin in people.lock_admins(conn)
    ]


def prune_mails(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete mails of reports stored so long ago that wait for nothing more; return how many."""
    condition = "kind = 'daily_report' AND state NOT IN ('pending', 'sending')"
    return delete_old_rows(conn, "workshed_mail.emails", "created_at", older_than, limit, condition)


def format_product_name(name: str) -> str:
    """Return a product's name in one short line, without characters that reorder text around it."""
    plain = REORDERING.sub("", name)
    spaced = "".join(" " if unicodedata.category(c) in LINE_BREAK_CATEGORIES else c for c in plain)
    return shorten_name(" ".join(spaced.split()), MAX_NAME_LENGTH) or "(no name)"


def _template_variables(report: StoredReport, files: tuple[File, ...]) -> dict[str, Any]:
    """Return the variables of the templates."""
    day, numbers = report.day, report.numbers
    return {
        "title": f"{day.date:%A}, {day.date.day} {day.date:%B} {day.date.year}",
        "zone": day.zone,
        "starts_at": _format_time(day.starts_at, day.zone),
        "ends_at": _format_time(day.ends_at, day.zone),
        "length": _length_note(day),
        "made_at": f"{_format_time(report.made_at, day.zone)}, {day.zone}",
        "new_users": f"{numbers.new_users:,}",
        "active_users": f"{numbers.active_users:,}",
        "sales": [_format_sales(one) for one in numbers.sales],
        "sold": any(one.top for one in numbers.sales),
        "chart": next((file.content_id for file in files if file.content_id), None),
    }


def _format_sales(sales: Sales) -> dict[str, Any]:
    return {
        "currency": sales.currency,
        "revenue": money.format_grouped(sales.revenue, sales.currency),
        "top": [_format_product(one, sales.currency) for one in sales.top],
    }


def _format_product(product: ProductSales, currency: str) -> dict[str, str]:
    return {
        "name": format_product_name(product.name),
        "units": f"{product.units:,}",
        "revenue": money.format_grouped(product.revenue, currency),
    }


def _format_time(instant: datetime, zone: str) -> str:
    return f"{instant.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"


def _length_note(day: Day) -> str:
    """Return a note on the length of a day on which the clocks changed; empty for other days."""
    length = day.ends_at - day.starts_at
    if length == A_DAY:
        return ""
    return f": {length / timedelta(hours=1):g} hours, since the clocks were changed"
