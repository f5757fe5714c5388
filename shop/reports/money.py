"""Formatting of amounts of money, exact to the last digit."""

from decimal import Decimal

DECIMAL_PLACES = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV",
     "XAF", "XOF", "XPF"), 0
) | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)  # fmt: skip
"""Decimal places of currencies that do not have two, from ISO 4217; amounts show at least these."""


def format_exact(amount: Decimal, currency: str) -> str:
    """Format an amount for programs: `1234.50`; with more places than usual if it has more."""
    whole, _, fraction = f"{amount:f}".partition(".")
    fraction = fraction.rstrip("0").ljust(DECIMAL_PLACES.get(currency, 2), "0")
    return f"{whole}.{fraction}" if fraction else whole


def format_grouped(amount: Decimal, currency: str) -> str:
    """Format an amount for people: `1,234.50`."""
    whole, point, fraction = format_exact(amount, currency).partition(".")
    return f"{int(whole):,}{point}{fraction}"
