"""The page of the shop: the sign-up form, or everything that a user can do here."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from shop import people, reports
from shop.demo.shop import shown
from shop.demo.shop.forms import MOST_BYTES
from shop.demo.shop.offers import MOST, OFFERS
from shop.reports import DayRefusedError, StoredReport, money
from shop.settings import settings
from shop.web import answers
from shop.web.token_auth import COOKIE, QUERY, Caller, caller
from shop.web.token_cookie import enter
from shop.web.uploads import in_mb
from workshed import db
from workshed.contrib.notifications import TokenError
from workshed.db import Connection
from workshed.jobs import RecordMissing


async def front(request: Request) -> Response:
    """Show the shop to a signed-up user, and the sign-up form to everyone else."""
    try:
        who = caller(request)
        if not who.by_cookie and "authorization" not in request.headers:
            return enter(request, who)
        return await shop(request, who)
    except TokenError as err:
        was_here = COOKIE in request.cookies or QUERY in request.query_params
        return sign_up(problems={"token": f"Your token {err.reason}."} if was_here else {})


def sign_up(
    given: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    """Show the sign-up form, with the previous input and what is wrong with it."""
    about = {"name": "", "email": "", **(given or {}), "problems": problems or {}}
    return _ours(answers.page("sign_up.html", about, status))


async def shop(
    request: Request, who: Caller, problems: Mapping[str, str] | None = None, status: int = 200
) -> Response:
    """Show the shop, with problems of the last form; raises `TokenError` for a deleted user."""
    asked = request.query_params.get("report")
    about = await run_in_threadpool(_about, who.user_id, asked)
    return _ours(answers.page("shop.html", {**about, "problems": problems or {}}, status))


def _ours(answer: HTMLResponse) -> HTMLResponse:
    """Let browsers send the origin of a page's forms, which they would otherwise leave out."""
    answer.headers["Referrer-Policy"] = "same-origin"
    return answer


def _about(user_id: int, asked: str | None) -> dict[str, Any]:
    with db.transaction() as conn:
        try:
            user = people.find(conn, user_id)
        except RecordMissing:
            raise TokenError("belongs to a deleted user") from None
        day, yesterday = _day(conn, asked), reports.asked(conn, None, settings().report_zone).date
        found = reports.find(conn, day or yesterday)
        return {
            "user": user,
            "offers": OFFERS,
            "most": MOST,
            "max_size": in_mb(MOST_BYTES),
            "ordered": shown.ordered(conn, user_id),
            "imported": shown.newest_import(conn, user_id),
            "yesterday": yesterday,
            "awaited": day if found is None else None,
            "report": found,
            "sales": _sales(found) if found else [],
        }


def _day(conn: Connection, asked: str | None) -> date | None:
    """Return the date in a query parameter, if that day can be reported."""
    try:
        return reports.asked(conn, asked, settings().report_zone).date if asked else None
    except DayRefusedError:
        return None


def _sales(report: StoredReport) -> list[dict[str, Any]]:
    return [
        {
            "currency": one.currency,
            "revenue": money.grouped(one.revenue, one.currency),
            "top": [
                (product.name, product.units, money.grouped(product.revenue, one.currency))
                for product in one.top
            ],
        }
        for one in report.numbers.sales
    ]
