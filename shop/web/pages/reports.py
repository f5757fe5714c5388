"""Console pages for reports: the stored numbers of each business day, with charts."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from shop import reports
from shop.reports import Sales, StoredReport, days, money
from shop.reports.numbers import TREND
from workshed.console.errors import NotFoundError
from workshed.console.web.view.page import (
    ROWS,
    Action,
    BadQueryError,
    Download,
    Downloaded,
    Page,
    PageRequest,
)


def look(ask: PageRequest) -> Mapping[str, Any]:
    """Show the reports of the latest days."""
    found = reports.every(ask.conn, ROWS + 1, before=_date(ask, "before"))
    older = str(found[ROWS - 1].day.date) if len(found) > ROWS else None
    shown = [
        _as_data(one)
        | {"revenue": [_revenue(sales) for sales in one.numbers.drawn], "more": _not_drawn(one)}
        for one in found[:ROWS]
    ]
    return {"reports": shown, "older": older}


def look_at_one(ask: PageRequest) -> Mapping[str, Any]:
    """Show the report of one day."""
    found = _known(ask)
    dates = [str(one) for one in days.up_to(found.day.date, TREND)]
    return {
        "report": _as_data(found),
        "sales": [_with_trend(sales, dates) for sales in found.numbers.sales],
        "drawn": [sales.currency for sales in found.numbers.drawn],
    }


def numbers(ask: PageRequest) -> Downloaded:
    """Send the CSV that is attached to the emails of a day's report."""
    found = _known(ask)
    return Downloaded("text/csv", f"report-{found.day.date}.csv", reports.as_csv(found))


def _known(ask: PageRequest) -> StoredReport:
    of = _date(ask, "date")
    found = None if of is None else reports.find(ask.conn, of)
    if found is None:
        raise NotFoundError(f"There is no report of {of or 'a day that is not named'}.")
    return found


def _date(ask: PageRequest, name: str) -> date | None:
    text = ask.text(name)
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise BadQueryError(f"{name}: {text!r} is no date like 2026-03-01") from None


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


def _revenue(sales: Sales) -> dict[str, str]:
    """Return the revenue with the amount as a string, so that no client reads it as a float."""
    return {"currency": sales.currency, "amount": money.plain(sales.revenue, sales.currency)}


def _with_trend(sales: Sales, dates: list[str]) -> dict[str, Any]:
    code = sales.currency
    return _revenue(sales) | {
        "trend": [
            {"date": day, "amount": money.plain(amount, code)}
            for day, amount in zip(dates, sales.trend, strict=True)
        ],
        "top": [
            {"name": one.name, "units": one.units, "amount": money.plain(one.revenue, code)}
            for one in sales.top
        ],
    }


def _not_drawn(found: StoredReport) -> int:
    return len(found.numbers.sales) - len(found.numbers.drawn)


PAGES: tuple[Page, ...] = (
    Page("/reports", "Reports", "shop.web.pages:reports.html", look, group="Product", needs="shop"),
    Page("/report", "Report", "shop.web.pages:report.html", look_at_one, needs="shop"),
)
ACTIONS: tuple[Action, ...] = ()
DOWNLOADS: tuple[Download, ...] = (Download("/report/numbers.csv", numbers, needs="shop"),)
