"""The CSV of a report."""

import csv
import io
from decimal import Decimal

from shop.reports import csv_table

NAMES = ["=cmd()", "<script>", "مكتب", "x" * 10_000, "two\nlines", 'a "quoted", name']


def read(content):
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_each_value_has_a_row(report, sales):
    content = csv_table.render_csv(
        report(sales("EUR", "12.5", [("Desk", 2, "12.5")], before="1"), sales("JPY", "300"))
    )

    rows = [list(row.values()) for row in read(content)]
    assert content.startswith("\ufeffdate,measure,item,currency,value\r\n".encode())
    assert rows[:6] == [
        ["2026-03-01", "new users", "", "", "3"],
        ["2026-03-01", "active users", "", "", "2"],
        ["2026-03-01", "revenue", "", "EUR", "12.50"],
        ["2026-03-01", "units of product", "Desk", "EUR", "2"],
        ["2026-03-01", "revenue of product", "Desk", "EUR", "12.50"],
        ["2026-03-01", "revenue", "", "JPY", "300"],
    ]
    assert rows[6:8] == [
        ["2026-01-31", "revenue", "", "EUR", "1.00"],
        ["2026-02-01", "revenue", "", "EUR", "1.00"],
    ]
    assert rows[-1] == ["2026-02-28", "revenue", "", "JPY", "0"]
    assert len(rows) == 6 + 2 * 29


def test_the_revenues_of_a_currency_add_up_to_its_trend(report, sales):
    rows = read(
        csv_table.render_csv(report(sales("EUR", "12.34", before="0.1"), sales("USD", "5")))
    )

    found = sum(
        Decimal(row["value"])
        for row in rows
        if (row["measure"], row["currency"]) == ("revenue", "EUR")
    )

    assert found == Decimal("12.34") + 29 * Decimal("0.1")


def test_names_from_outside_stay_one_cell_and_are_no_formula(report, sales):
    top = [(name, 1, "1") for name in NAMES]

    rows = read(csv_table.render_csv(report(sales("EUR", "6", top))))

    items = [row["item"] for row in rows if row["measure"] == "units of product"]
    assert items == ["'=cmd()", *NAMES[1:]]
    assert all(len(row) == 5 and None not in row for row in rows)
