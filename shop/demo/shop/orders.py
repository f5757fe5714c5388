"""Place an order."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from shop import orders
from shop.demo.shop import forms, page
from shop.demo.shop.offers import CURRENCY, MAX_QUANTITY, OFFERS_BY_NAME, Offer
from shop.orders import OrderLine
from workshed import db
from workshed.contrib.notifications import TokenError
from workshed.jobs import RecordMissing


async def submit_order(request: Request) -> Response:
    """Store an order of one product, at the shop's price; a price in the form is ignored."""
    user, form = await forms.read_user_form(request)
    offer, quantity = OFFERS_BY_NAME.get(form.fields.get("product", "")), _quantity(form)
    if offer is None or quantity is None:
        problem = f"Order one of these products, and 1 to {MAX_QUANTITY} of it."
        return await page.show_shop(request, user, {"orders": problem}, 400)
    await run_in_threadpool(_place_order, user.user_id, offer, quantity)
    return RedirectResponse("./#orders", 303)


def _place_order(user_id: int, offer: Offer, quantity: int) -> None:
    with db.transaction() as conn:
        line = OrderLine(orders.get_or_create_product(conn, offer.name), quantity, offer.price)
        try:
            orders.place_order(conn, user_id, CURRENCY, [line])
        except RecordMissing:
            raise TokenError("belongs to a deleted user") from None


def _quantity(form: forms.ShopForm) -> int | None:
    given = form.fields.get("quantity", "").strip()
    is_short = given.isascii() and given.isdecimal() and len(given) <= len(str(MAX_QUANTITY))
    return int(given) if is_short and 1 <= int(given) <= MAX_QUANTITY else None
