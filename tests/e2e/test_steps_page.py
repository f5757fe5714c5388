"""docs/steps.md: its example, with workers that are stopped and killed in the middle."""

import re
from pathlib import Path

import pytest
from dramatiq import Message

PAGE = (Path(__file__).parents[2] / "docs" / "steps.md").read_text("utf-8")
[(NAME, TEXT)] = re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
ORDERS = 400
SLOW = """
import time
from workshed.jobs import steps
real = steps.Progress.save
def save(self, conn, cursor):
    real(self, conn, cursor)
    time.sleep(0.1)
steps.Progress.save = save
"""
"""So that it is in the middle for long enough to be met there."""


@pytest.fixture
def shop(conn, broker, tmp_path):
    conn.autocommit = True
    conn.execute("CREATE SCHEMA shop")
    conn.execute("CREATE TABLE shop.shops (id integer, closed boolean DEFAULT false)")
    conn.execute("CREATE TABLE shop.orders (id integer, shop_id integer)")
    conn.execute("CREATE TABLE shop.moved (order_id integer)")
    conn.execute("INSERT INTO shop.shops VALUES (7)")
    conn.execute("INSERT INTO shop.orders SELECT n, 7 FROM generate_series(1, %s) n", (ORDERS,))
    (tmp_path / NAME).write_text(TEXT.replace("BATCH = 100", "BATCH = 10") + SLOW)
    return broker.enqueue(Message("low", "move_shop", (7,), {}, {}))


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_it_goes_on_where_it_stopped(shop, start_worker, count, eventually, way, conn):
    first = start_worker("moves")
    eventually(lambda: count("shop.moved") > 50, within_s=30)

    if way == "stop":
        assert first.stop() == 0
        assert "goes on in step 'orders'" in first.text()
        assert count("shop.moved") < ORDERS
    else:
        first.kill()
    start_worker("moves")

    eventually(lambda: count("shop.shops WHERE closed") == 1, within_s=60)
    assert count("shop.moved") == ORDERS
    assert conn.execute("SELECT count(DISTINCT order_id) FROM shop.moved").fetchone() == (ORDERS,)
    assert count("jobs.attempts") == 0


def test_the_example_moves_a_shop(shop, start_worker, count, eventually, tmp_path):
    (tmp_path / NAME).write_text(TEXT)
    start_worker("moves")

    eventually(lambda: count("shop.shops WHERE closed") == 1, within_s=30)
    assert count("shop.moved") == ORDERS
