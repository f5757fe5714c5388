"""Reports on the console: the stored numbers of days, with charts."""

import csv
import io
import re
from datetime import date, timedelta
from decimal import Decimal

import pytest

from shop.reports import ProductSales, ReportNumbers, Sales, business_days, snapshots

SCRIPT = "<script>alert(1)</script>"
FIRST = date(2026, 3, 1)


def sales(currency="EUR", *, before="10.00", revenue="12345678901234567.05", top=()):
    return Sales(currency, (Decimal(before),) * 29 + (Decimal(revenue),), tuple(top))


@pytest.fixture
def stored(database, conn):
    """`stored(FIRST, sales(…), …)`: store the report of a day."""

    def store(of=FIRST, *currencies):
        day = business_days.day_of(of, "Europe/Paris")
        snapshots.store_snapshot(conn, day, ReportNumbers(3, 2, currencies or (sales(),)))
        return of

    return store


def test_without_reports_the_page_says_how_to_make_one(reader):
    assert "workshed enqueue daily_report" in reader.get("/reports").text
    assert reader.json("/reports") == {"reports": [], "older": None}


def test_a_report_is_listed_with_its_main_numbers(reader, stored):
    stored(FIRST, sales(), sales("JPY", revenue="300"))

    [found] = reader.json("/reports")["reports"]

    assert (found["date"], found["new_users"], found["active_users"]) == ("2026-03-01", 3, 2)
    assert found["revenue"] == [
        {"currency": "EUR", "amount": "12345678901234567.05"},
        {"currency": "JPY", "amount": "300"},
    ]
    text = reader.get("/reports").text
    assert "12 345 678 901 234 567.05 EUR".replace(" ", "\N{NARROW NO-BREAK SPACE}", 5) in text
    assert "/report?date=2026-03-01" in text


def test_the_list_goes_on(reader, stored):
    dates = [str(stored(FIRST + timedelta(days=n))) for n in range(51)]

    first = reader.json("/reports")
    rest = reader.json(f"/reports?before={first['older']}")

    assert [one["date"] for one in first["reports"]] == dates[:0:-1]
    assert [one["date"] for one in rest["reports"]] == dates[:1]
    assert rest["older"] is None
    assert f"before={first['older']}" in reader.get("/reports").text


def test_a_report_is_shown_with_its_products(reader, stored):
    desk = ProductSales(SCRIPT, 2, Decimal("7.5000001"))
    stored(FIRST, sales(revenue="7.5000001", top=[desk]))

    [found] = reader.json("/report?date=2026-03-01")["sales"]

    assert found["top"] == [{"name": SCRIPT, "units": 2, "amount": "7.5000001"}]
    assert found["amount"] == "7.5000001"
    assert len(found["trend"]) == 30
    assert found["trend"][0] == {"date": "2026-01-31", "amount": "10.00"}
    text = reader.get("/report?date=2026-03-01").text
    assert SCRIPT not in text
    assert "&lt;script&gt;" in text


def test_the_chart_has_a_bar_for_each_day(reader, stored):
    stored(FIRST, sales(before="5", revenue="10"), sales("JPY", before="0", revenue="0"))

    text = reader.get("/report?date=2026-03-01").text

    euros, yens = re.findall(r"<svg class=.chart.*?</svg>", text, re.DOTALL)
    assert heights(euros) == ["55.0"] * 29 + ["110.0"]
    assert heights(yens) == ["0.0"] * 30
    assert '<title id="chart-EUR">Revenue per day in EUR</title>' in euros
    assert "<title>2026-03-01: 10.00 EUR</title>" in euros
    assert "highest: 10.00 EUR" in euros


def heights(chart):
    return re.findall(r'<rect[^>]* height="([^"]+)"', chart)


@pytest.mark.parametrize("amount", ["0.0000001", "999999999999999.999999999999", "1E+40"])
def test_amounts_of_any_size_can_be_drawn(reader, stored, amount):
    stored(FIRST, sales(before="0", revenue=amount))

    assert heights(reader.get("/report?date=2026-03-01").text) == ["0.0"] * 29 + ["110.0"]


def test_of_many_currencies_some_are_drawn_and_all_are_listed(reader, stored):
    codes = ["EUR", *(f"AA{letter}" for letter in "ABCDEFGH")]
    stored(FIRST, *(sales(code) for code in codes))

    text = reader.get("/report?date=2026-03-01").text

    assert text.count("<svg class") == 6
    assert "Other currencies" in text
    assert [one["currency"] for one in reader.json("/report?date=2026-03-01")["sales"]] == codes
    assert "and 3 more" in reader.get("/reports").text


def test_the_numbers_can_be_downloaded(reader, stored):
    stored(FIRST, sales(top=[ProductSales("=1+1", 1, Decimal(1))]))

    answer = reader.get("/report/numbers.csv?date=2026-03-01")

    assert answer.headers["content-disposition"] == 'attachment; filename="report-2026-03-01.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert rows[0]["measure"] == "new users"
    assert "'=1+1" in [row["item"] for row in rows]


@pytest.mark.parametrize("path", ["/report", "/report/numbers.csv"])
def test_a_report_that_is_not_there_is_not_found(reader, path):
    assert reader.get(path).status_code == 404
    assert reader.get(f"{path}?date=2026-03-01").status_code == 404
    assert reader.get(f"{path}?date=<b>").status_code == 400
    assert reader.get("/reports?before=yesterday").status_code == 400
