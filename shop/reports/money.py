"""Amounts of money as people read them: exact to their last digit."""

from decimal import Decimal

PLACES = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV",
     "XAF", "XOF", "XPF"), 0
) | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)  # fmt: skip
"""How many places a currency is written with at least, where not two; as ISO 4217 has it."""


def plain(amount: Decimal, currency: str) -> str:
    """Write an amount for programs: `1234.50`; more places than usual where it has more."""
    whole, _, fraction = f"{amount:f}".partition(".")
    fraction = fraction.rstrip("0").ljust(PLACES.get(currency, 2), "0")
    return f"{whole}.{fraction}" if fraction else whole


def grouped(amount: Decimal, currency: str) -> str:
    """Write an amount for people: `1,234.50`."""
    whole, point, fraction = plain(amount, currency).partition(".")
    return f"{int(whole):,}{point}{fraction}"
