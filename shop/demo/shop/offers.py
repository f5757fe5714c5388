"""The products of the shop, and their prices."""

from dataclasses import dataclass
from decimal import Decimal

from shop.reports import money

CURRENCY = "EUR"
MAX_QUANTITY = 99
"""Largest quantity of a product in one order."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A product and its unit price."""

    name: str
    price: Decimal

    @property
    def price_text(self) -> str:
        """The price as shown on the page."""
        return f"{money.format_grouped(self.price, CURRENCY)} {CURRENCY}"


OFFERS = (
    Offer("Walnut desk", Decimal("449.90")),
    Offer("Desk lamp", Decimal("79.00")),
    Offer("Office chair", Decimal("259.50")),
    Offer("Bookshelf", Decimal("189.99")),
    Offer("Notebook, dotted", Decimal("12.45")),
    Offer("Fountain pen", Decimal("38.20")),
    Offer("Wall clock", Decimal("54.00")),
)
OFFERS_BY_NAME = {offer.name: offer for offer in OFFERS}
