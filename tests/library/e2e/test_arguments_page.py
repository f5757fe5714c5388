"""The examples of docs/arguments.md, and its SQL, run as printed."""

import psycopg
import pytest

from tests import pages

PAGE = "docs/arguments.md"
FILES = pages.files(PAGE)
FORM = pages.block(PAGE, "form")
REFUSED = pages.block(PAGE, "refused")
SQL = pages.block(PAGE, "sql")
SQL_ERROR = pages.block(PAGE, "sql error")
REFUSE = """
from decimal import Decimal
from uuid import UUID
from orders import Line, Order, send_receipt

try:
    send_receipt.send(Order(UUID(int=7), [Line("tea", Decimal(1)), Line("pot", "cheap")]))
except TypeError as err:
    print(err)
"""
UPGRADE = """
from parcels import label_parcel

sent = label_parcel.message(first="Ada", last="Lovelace")
old = sent.copy(args=("Ada Lovelace",), kwargs={})
del old.options["arguments_version"]
for message in sent, old:
    print(label_parcel.arguments.decode(message))
"""


@pytest.fixture
def written(tmp_path, broker):
    """The files of the page, and the queue that their actors are on."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    broker.ensure_queues({"low"})


def test_a_worker_gets_the_order_that_was_sent_as_json(
    written, run, environment, start_worker, conn, eventually
):
    code, said = run("orders.py", **environment)

    assert code == 0, said
    assert FORM.strip() in said
    worker = start_worker("orders", threads=1)
    printed = "00000000-0000-0000-0000-000000000007: 23.30 paid on datetime.date(2026, 6, 1)"
    eventually(lambda: printed in worker.text())
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        conn.execute(SQL)
    assert refused.value.diag.message_primary == SQL_ERROR.strip()
    conn.rollback()


def test_a_price_that_is_no_number_is_refused(written, run, environment, tmp_path):
    (tmp_path / "refuse.py").write_text(REFUSE)

    code, said = run("refuse.py", **environment)

    assert code == 0, said
    assert REFUSED.strip() in said


def test_a_name_of_version_1_is_split(written, run, environment, tmp_path):
    (tmp_path / "upgrade.py").write_text(UPGRADE)

    code, said = run("upgrade.py", **environment)

    assert code == 0, said
    assert said.splitlines()[-2:] == ["((), {'first': 'Ada', 'last': 'Lovelace'})"] * 2
