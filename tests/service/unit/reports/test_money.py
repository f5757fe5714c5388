"""Amounts, exact to their last digit."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis.strategies import decimals, sampled_from

from shop.reports import money

amounts = decimals(0, 10**40, allow_nan=False, allow_infinity=False, places=12)
currencies = sampled_from(["EUR", "JPY", "KWD"])


@pytest.mark.parametrize(
    ("amount", "currency", "plain", "grouped"),
    [
        ("0", "EUR", "0.00", "0.00"),
        ("0.3", "EUR", "0.30", "0.30"),
        ("1234567.8900", "EUR", "1234567.89", "1,234,567.89"),
        ("0.1234", "EUR", "0.1234", "0.1234"),
        ("1E+3", "EUR", "1000.00", "1,000.00"),
        ("1E-7", "EUR", "0.0000001", "0.0000001"),
        ("1500", "JPY", "1500", "1,500"),
        ("1500.00", "JPY", "1500", "1,500"),
        ("1500.50", "JPY", "1500.5", "1,500.5"),
        ("1.5", "KWD", "1.500", "1.500"),
        ("12345678901234567890123456789012345.67", "EUR", "12345678901234567890123456789012345.67",
         "12,345,678,901,234,567,890,123,456,789,012,345.67"),
    ],
)  # fmt: skip
def test_amounts_as_they_are_read(amount, currency, plain, grouped):
    assert money.format_exact(Decimal(amount), currency) == plain
    assert money.format_grouped(Decimal(amount), currency) == grouped


@given(amount=amounts, currency=currencies)
def test_nothing_of_an_amount_is_lost(amount, currency):
    assert Decimal(money.format_exact(amount, currency)) == amount
    assert Decimal(money.format_grouped(amount, currency).replace(",", "")) == amount
