"""The page of the shop: the sign-up form, or everything that a user can do here."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from shop import people, reports
from shop.demo.shop import page_rows
from shop.demo.shop.forms import MAX_FORM_BYTES
from shop.demo.shop.offers import MAX_QUANTITY, OFFERS
from shop.reports import DayRefusedError, StoredReport, money
from shop.settings import settings
from shop.web import responses
from shop.web.token_auth import COOKIE_NAME, QUERY_PARAMETER, AuthenticatedUser, authenticate
from shop.web.token_cookie import set_from_url
from shop.web.uploads import format_mb
from workshed import db
from workshed.contrib.notifications import TokenError
from workshed.db import Connection
from workshed.jobs import RecordMissing


async def show_front_page(request: Request) -> Response:
    """Show the shop to a signed-up user, and the sign-up form to everyone else."""
    try:
        user = authenticate(request)
        if not user.is_from_cookie and "authorization" not in request.headers:
            return set_from_url(request, user)
        return await show_shop(request, user)
    except TokenError as err:
        was_here = COOKIE_NAME in request.cookies or QUERY_PARAMETER in request.query_params
        return show_sign_up(problems={"token": f"Your token {err.reason}."} if was_here else {})


def show_sign_up(
    given: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    """Show the sign-up form, with the previous input and what is wrong with it."""
    about = {"name": "", "email": "", **(given or {}), "problems": problems or {}}
    return _set_referrer_policy(responses.render_page("sign_up.html", about, status))


async def show_shop(
    request: Request,
    user: AuthenticatedUser,
    problems: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    """Show the shop, with problems of the last form; raises `TokenError` for a deleted user."""
    asked = request.query_params.get("report")
    about = await run_in_threadpool(_page_variables, user.user_id, asked)
    return _set_referrer_policy(
        responses.render_page("shop.html", {**about, "problems": problems or {}}, status)
    )


def _set_referrer_policy(answer: HTMLResponse) -> HTMLResponse:
    """Let browsers send the origin of a page's forms, which they would otherwise leave out."""
    answer.headers["Referrer-Policy"] = "same-origin"
    return answer


def _page_variables(user_id: int, day_text: str | None) -> dict[str, Any]:
    with db.transaction() as conn:
        try:
            user = people.get_user(conn, user_id)
        except RecordMissing:
            raise TokenError("belongs to a deleted user") from None
        day, yesterday = (
            _parse_day(conn, day_text),
            reports.resolve_day(conn, None, settings().report_zone).date,
        )
        found = reports.find_report(conn, day or yesterday)
        return {
            "user": user,
            "offers": OFFERS,
            "most": MAX_QUANTITY,
            "max_size": format_mb(MAX_FORM_BYTES),
            "ordered": page_rows.list_order_lines(conn, user_id),
            "imported": page_rows.find_newest_import(conn, user_id),
            "yesterday": yesterday,
            "awaited": day if found is None else None,
            "report": found,
            "sales": _format_sales(found) if found else [],
        }


def _parse_day(conn: Connection, day_text: str | None) -> date | None:
    """Return the date in a query parameter, if that day can be reported."""
    try:
        return (
            reports.resolve_day(conn, day_text, settings().report_zone).date if day_text else None
        )
    except DayRefusedError:
        return None


def _format_sales(report: StoredReport) -> list[dict[str, Any]]:
    return [
        {
            "currency": one.currency,
            "revenue": money.format_grouped(one.revenue, one.currency),
            "top": [
                (product.name, product.units, money.format_grouped(product.revenue, one.currency))
                for product in one.top
            ],
        }
        for one in report.numbers.sales
    ]
