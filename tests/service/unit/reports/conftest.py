"""Reports that were never stored."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from shop.reports import ProductSales, ReportNumbers, Sales, StoredReport, business_days


@pytest.fixture
def sales():
    """`sales("EUR", "12.50", products)`: this amount on the day, and nothing before it."""

    def make(currency="EUR", revenue="0", top=(), before="0"):
        trend = (Decimal(before),) * 29 + (Decimal(revenue),)
        products = tuple(ProductSales(name, units, Decimal(amount)) for name, units, amount in top)
        return Sales(currency, trend, products)

    return make


@pytest.fixture
def report():
    """`report(sales, …)`: a report for 1 March 2026 in Paris, or another day."""

    def make(*sales, of="2026-03-01", zone="Europe/Paris", users=(3, 2)):
        day = business_days.day_of(date.fromisoformat(of), zone)
        return StoredReport(day, ReportNumbers(*users, sales), datetime(2026, 3, 2, 8, tzinfo=UTC))

    return make
