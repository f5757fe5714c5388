"""Console pages for reports: the stored numbers of each business day, with charts."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from shop import reports
from shop.reports import Sales, StoredReport, business_days, money
from shop.reports.numbers import TREND_DAYS
from workshed.console.errors import NotFoundError
from workshed.console.web.view.page import (
    ROWS,
    Action,
    BadQueryError,
    Download,
    DownloadContent,
    Page,
    PageRequest,
)


def load_list(ask: PageRequest) -> Mapping[str, Any]:
    """Show the reports of the latest days."""
    found = reports.list_reports(ask.conn, ROWS + 1, before=_parse_date(ask, "before"))
    older = str(found[ROWS - 1].day.date) if len(found) > ROWS else None
    shown = [
        _as_data(one)
        | {
            "revenue": [_revenue_data(sales) for sales in one.numbers.chart_series],
            "more": _count_uncharted(one),
        }
        for one in found[:ROWS]
    ]
    return {"reports": shown, "older": older}


def load_detail(ask: PageRequest) -> Mapping[str, Any]:
    """Show the report of one day."""
    found = _requested_report(ask)
    dates = [str(one) for one in business_days.range_ending(found.day.date, TREND_DAYS)]
    return {
        "report": _as_data(found),
        "sales": [_sales_data(sales, dates) for sales in found.numbers.sales],
        "drawn": [sales.currency for sales in found.numbers.chart_series],
    }


def download_numbers(ask: PageRequest) -> DownloadContent:
    """Send the CSV that is attached to the emails of a day's report."""
    found = _requested_report(ask)
    return DownloadContent("text/csv", f"report-{found.day.date}.csv", reports.render_csv(found))


def _requested_report(ask: PageRequest) -> StoredReport:
    of = _parse_date(ask, "date")
    found = None if of is None else reports.find_report(ask.conn, of)
    if found is None:
        raise NotFoundError(f"There is no report of {of or 'a day that is not named'}.")
    return found


def _parse_date(ask: PageRequest, name: str) -> date | None:
    text = ask.text(name)
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise BadQueryError(f"{text!r} is no date like 2026-03-01", name) from None


def _as_data(found: StoredReport) -> dict[str, Any]:
    return {
        "date": str(found.day.date),
        "zone": found.day.zone,
        "starts_at": found.day.starts_at,
        "ends_at": found.day.ends_at,
        "made_at": found.made_at,
        "new_users": found.numbers.new_users,
        "active_users": found.numbers.active_users,
    }


def _revenue_data(sales: Sales) -> dict[str, str]:
    """Return the revenue with the amount as a string, so that no client reads it as a float."""
    return {"currency": sales.currency, "amount": money.format_exact(sales.revenue, sales.currency)}


def _sales_data(sales: Sales, dates: list[str]) -> dict[str, Any]:
    code = sales.currency
    return _revenue_data(sales) | {
        "trend": [
            {"date": day, "amount": money.format_exact(amount, code)}
            for day, amount in zip(dates, sales.trend, strict=True)
        ],
        "top": [
            {"name": one.name, "units": one.units, "amount": money.format_exact(one.revenue, code)}
            for one in sales.top
        ],
    }


def _count_uncharted(found: StoredReport) -> int:
    return len(found.numbers.sales) - len(found.numbers.chart_series)


PAGES: tuple[Page, ...] = (
    Page(
        "/reports",
        "Reports",
        "shop.web.pages:reports.html",
        load_list,
        group="Product",
        required_schema="shop",
    ),
    Page("/report", "Report", "shop.web.pages:report.html", load_detail, required_schema="shop"),
)
ACTIONS: tuple[Action, ...] = ()
DOWNLOADS: tuple[Download, ...] = (
    Download("/report/numbers.csv", download_numbers, required_schema="shop"),
)
