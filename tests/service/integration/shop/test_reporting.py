"""The report that a user starts by the button, and what the page shows of it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from actors import daily_report
from shop import orders, reports
from shop.orders import OrderLine
from workshed import db


@pytest.fixture
def yesterday(jobs):
    with db.transaction() as conn:
        return reports.resolve_day(conn, None, "UTC")


@pytest.fixture
def sold(yesterday, ada, rows):
    """Three clocks and a desk, paid yesterday."""
    ((user_id,),) = rows("SELECT id FROM shop.users")
    at = yesterday.starts_at + timedelta(hours=1)
    with db.transaction() as conn:
        clock, desk = (
            orders.get_or_create_product(conn, name) for name in ("Wall clock", "Walnut desk")
        )
        lines = [OrderLine(clock, 3, Decimal("54.00")), OrderLine(desk, 3, Decimal("449.90"))]
        orders.place_order(conn, user_id, "EUR", lines, at)


def reported(jobs):
    return [job for job in jobs.enqueued if job.actor == daily_report.actor_name]


def test_the_button_makes_the_report_of_yesterday(ada, jobs, sold, yesterday):
    assert f"The report of {yesterday.date} was not made yet." in ada.see()

    page = ada.submit("/reports", {"date": ""})
    assert 'id="reported" class="live" data-moving>' in page
    assert f"The report of {yesterday.date} is being made" in page
    jobs.drain()

    for path in (f"/?report={yesterday.date}", "/"):
        page = ada.see(path)
        assert 'id="reported" class="live">' in page
        assert f"<h3>{yesterday.date}, UTC</h3>" in page
        assert "New users: 0. Active users: 1." in page
        assert "Revenue: 1,511.70 EUR" in page
        assert "<td><bdi>Walnut desk</bdi></td><td>3</td><td>1,349.70 EUR</td>" in page


def test_a_chosen_day_is_reported(ada, jobs):
    page = ada.submit("/reports", {"date": "2026-03-01"})
    assert "The report of 2026-03-01 is being made" in page
    jobs.drain()

    page = ada.see("/?report=2026-03-01")

    assert "<h3>2026-03-01, UTC</h3>" in page
    assert "Nothing was sold." in page


def test_a_second_press_shows_the_stored_numbers(ada, jobs, sold):
    ada.submit("/reports")
    jobs.drain()

    page = ada.submit("/reports")

    assert "Revenue: 1,511.70 EUR" in page
    assert "data-moving" not in page


@pytest.mark.parametrize(
    ("date", "problem"),
    [
        ("9999-12-31", "that day is not over yet in UTC"),
        ("1969-12-31", "days are reported from 1970-01-01 on"),
        ("yesterday", "that is not a date; write YYYY-MM-DD"),
        ("<b>", "that is not a date; write YYYY-MM-DD"),
    ],
)
def test_a_day_that_cannot_be_reported_is_refused(ada, jobs, date, problem):
    page = ada.refused("/reports", {"date": date})

    assert f"No report: {problem}" in page
    assert reported(jobs) == []


@pytest.mark.parametrize("day", ["9999-12-31", "x", "<b>", "", "%00"])
def test_an_address_of_a_day_that_cannot_be_reported_waits_for_nothing(ada, day):
    page = ada.see(f"/?report={day}")

    assert "data-moving" not in page
    assert "was not made yet" in page
