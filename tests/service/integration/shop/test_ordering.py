"""Orders: exact, whole, and at the shop's own price."""

import threading
from decimal import Decimal

import pytest
from psycopg.errors import CheckViolation

from shop import orders
from shop.orders import OrderLine
from workshed import db
from workshed.jobs import RecordMissing

PLACED = """
    SELECT o.user_id, o.currency, l.number, p.name, l.quantity, l.unit_price,
           o.placed_at = o.paid_at
      FROM shop.orders AS o
      JOIN shop.order_lines AS l ON l.order_id = o.id
      JOIN shop.products AS p ON p.id = l.product_id
     ORDER BY o.id, l.number
"""


def test_an_order_is_stored_with_its_line_to_the_last_digit(ada, rows):
    page = ada.submit("/orders", {"product": "Notebook, dotted", "quantity": "3"})

    ((user_id,),) = rows("SELECT id FROM shop.users")
    price = Decimal("12.45")
    assert rows(PLACED) == [(user_id, "EUR", 1, "Notebook, dotted", 3, price, True)]
    assert "<td>Notebook, dotted</td><td>3</td><td>37.35 EUR</td>" in page


def test_a_price_that_the_browser_says_means_nothing(ada, rows):
    ada.submit("/orders", {"product": "Walnut desk", "quantity": "1", "price": "0.01"})

    assert rows("SELECT unit_price FROM shop.order_lines") == [(Decimal("449.90"),)]


def test_a_product_is_stored_once(ada, rows):
    for _ in range(2):
        ada.submit("/orders", {"product": "Wall clock", "quantity": "1"})

    assert rows("SELECT name FROM shop.products") == [("Wall clock",)]
    assert rows("SELECT count(*) FROM shop.orders") == [(2,)]


@pytest.mark.parametrize("quantity", ["", "0", "100", "-1", "1.5", "x", "1e1", "²", "9" * 5_000])
def test_a_wrong_quantity_is_refused(ada, rows, quantity):
    page = ada.refused("/orders", {"product": "Wall clock", "quantity": quantity})

    assert "Order one of these products, and 1 to 99 of it." in page
    assert "Import people" in page
    assert rows("SELECT count(*) FROM shop.orders") == [(0,)]


@pytest.mark.parametrize("product", [{}, {"product": ""}, {"product": "Moon"}])
def test_a_product_that_is_not_sold_is_refused(ada, rows, product):
    page = ada.refused("/orders", {**product, "quantity": "1"})

    assert "Order one of these products" in page
    assert rows("SELECT count(*) FROM shop.products") == [(0,)]


def test_others_do_not_see_an_order(ada, browser):
    ada.submit("/orders", {"product": "Wall clock", "quantity": "1"})

    browser.client.cookies.clear()
    page = browser.submit("/sign-up", {"name": "Bob", "email": "bob@example.org"})

    assert "What you ordered last" not in page


def test_an_order_of_which_a_line_is_refused_is_not_there(ada, rows):
    ((user_id,),) = rows("SELECT id FROM shop.users")

    with db.transaction() as conn:
        clock = orders.get_or_create_product(conn, "Wall clock")
    lines = [OrderLine(clock, quantity, Decimal(54)) for quantity in (1, 0)]

    with pytest.raises(CheckViolation), db.transaction() as conn:
        orders.place_order(conn, user_id, "EUR", lines)

    assert rows("SELECT count(*) FROM shop.orders") == [(0,)]


def test_a_deleted_user_cannot_order(jobs):
    with db.transaction() as conn, pytest.raises(RecordMissing, match="user 7"):
        orders.place_order(conn, 7, "EUR", [])


def test_a_product_that_two_bring_at_once_is_stored_once(connect, eventually):
    """Without the lock, the second one would not see the first product and store it again."""
    first, second, watch = connect(), connect(), connect(autocommit=True)
    waiting = """
        SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'shop.products'::regclass
    """
    known = orders.get_or_create_product(first, "Wall clock")
    found = []

    other = threading.Thread(
        target=lambda: found.append(orders.get_or_create_product(second, "Wall clock"))
    )
    other.start()
    eventually(lambda: watch.execute(waiting).fetchall())
    first.commit()
    other.join()

    assert found == [known]
