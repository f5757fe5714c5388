"""The numbers of a report as CSV: one value per row, so that programs can add them up."""

import csv
import io
from collections.abc import Iterator

from shop.reports import business_days, money
from shop.reports.numbers import TREND_DAYS, Sales
from shop.reports.snapshots import StoredReport
from shop.spreadsheet_safety import escape_formula

HEADER = ("date", "measure", "item", "currency", "value")


def render_csv(report: StoredReport) -> bytes:
    """Return the CSV in UTF-8 with a byte-order mark, by which spreadsheets detect it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(HEADER)
    writer.writerows(_rows(report))
    return out.getvalue().encode("utf-8-sig")


def _rows(report: StoredReport) -> Iterator[tuple[str, str, str, str, object]]:
    """Yield the numbers of the day, then the revenue of the days before it."""
    of, numbers = str(report.day.date), report.numbers
    yield of, "new users", "", "", numbers.new_users
    yield of, "active users", "", "", numbers.active_users
    for sales in numbers.sales:
        yield of, "revenue", "", sales.currency, money.format_exact(sales.revenue, sales.currency)
        for product in sales.top:
            item, code = escape_formula(product.name), sales.currency
            yield of, "units of product", item, code, product.units
            yield of, "revenue of product", item, code, money.format_exact(product.revenue, code)
    for sales in numbers.sales:
        yield from _trend(report, sales)


def _trend(report: StoredReport, sales: Sales) -> Iterator[tuple[str, str, str, str, object]]:
    dates = business_days.range_ending(report.day.date, TREND_DAYS)
    for date, amount in list(zip(dates, sales.trend, strict=True))[:-1]:
        yield str(date), "revenue", "", sales.currency, money.format_exact(amount, sales.currency)
