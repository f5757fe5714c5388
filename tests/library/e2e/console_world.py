"""A shop whose jobs are viewed in the console: some succeed, some fail, some wait."""

import dramatiq

from workshed import broker, db
from workshed.cronspec import daily
from workshed.middleware import Unique


class GatewayError(Exception):
    """The bank does not answer."""


@dramatiq.actor(
    broker=broker, queue_name="critical", max_retries=0, time_limit=60_000, redact=["card"]
)
def charge_card(order_id: int, card: str) -> None:
    """Charge a card; the bank answers once the table `bank_answers` has a row."""
    with db.transaction() as conn:
        if conn.execute("SELECT FROM public.bank_answers").rowcount == 0:
            raise GatewayError(f"no answer for order {order_id}")
        conn.execute("INSERT INTO public.charges VALUES (%s)", (order_id,))


@dramatiq.actor(broker=broker, queue_name="default", time_limit=60_000, tags=["search"])
def index_product(product_id: int) -> None:
    """Add a product to the search index."""


@dramatiq.actor(
    broker=broker, queue_name="default", max_retries=0, time_limit=60_000, unique=Unique()
)
def print_label(parcel_id: int) -> None:
    """Print a label; parcel 13 has no address."""
    addresses: dict[int, str] = {}
    if parcel_id == 13:
        addresses[parcel_id]


@dramatiq.actor(
    broker=broker, queue_name="low", time_limit=60_000, periodic=daily("03:30", tz="Europe/Paris")
)
def count_stock() -> None:
    """Count the stock."""
