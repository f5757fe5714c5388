"""Run the report of a day."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from actors import daily_report
from shop import reports
from shop.demo.shop import forms, page
from shop.reports import DayRefusedError
from shop.settings import settings
from workshed import db, schedule


async def request_report(request: Request) -> Response:
    """Send the job that reports a day, by default yesterday, and redirect to its numbers."""
    user, form = await forms.read_user_form(request)
    try:
        date = await run_in_threadpool(_send, form.fields.get("date") or None)
    except DayRefusedError as err:
        return await page.show_shop(request, user, {"report": f"No report: {err.reason}."}, 400)
    return RedirectResponse(f"./?report={date}#report", 303)


def _send(date: str | None) -> str:
    with db.transaction() as conn:
        day = reports.resolve_day(conn, date, settings().report_zone)
        schedule.send(conn, daily_report.message(str(day.date)))
    return str(day.date)
