"""The interface of suppliers, over HTTP."""

import json
from typing import Any
from urllib.request import urlopen

TIMEOUT_S = 30


class SupplierError(Exception):
    """A supplier cannot be reached, or its answer cannot be used."""


def fetch_products(url: str) -> list[dict[str, Any]]:
    """Return the products of a supplier: `sku`, `name` and `price_cents` of each."""
    try:
        with urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 -- an admin sets the address
            return [
                {"sku": str(item["sku"]), "name": str(item["name"]), "price_cents": item["price"]}
                for item in json.load(answer)
            ]
    except (OSError, ValueError, LookupError, TypeError) as err:
        raise SupplierError(f"{url}: {err}") from err
