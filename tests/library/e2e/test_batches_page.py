"""The example of docs/batches.md, run as printed, on real workers."""

import json

from tests import pages

[(NAME, TEXT)] = pages.files("docs/batches.md").items()
INVOICED = '"""Invoice a customer. Idempotent: one invoice."""'
FAILS = """
    import pathlib
    from workshed.errors import PermanentError
    if customer == 2 and not pathlib.Path("mended").exists():
        raise PermanentError("no")
"""
SEND = "from invoices import send_invoices\nprint(send_invoices('June').id)\n"


def test_the_report_is_sent_once_all_invoices_are(
    tmp_path, run, environment, start_worker, workshed, eventually
):
    (tmp_path / NAME).write_text(TEXT)
    (tmp_path / "send.py").write_text(SEND)
    worker = start_worker("invoices", threads=2)

    code, batch = run("send.py", **environment)

    assert code == 0, batch
    eventually(lambda: "June: 4 of 4 jobs have succeeded" in worker.text())
    assert worker.text().count("jobs have succeeded") == 1
    found = json.loads(workshed("batches", "show", batch.strip(), "--json"))
    assert (found["description"], found["state"]) == ("invoices of June", "succeeded")
    assert [one["event"] for one in found["callbacks"] if one["sent_at"]] == ["success"]


def test_a_death_is_reported_and_a_retry_makes_up_for_it(
    tmp_path, run, environment, start_worker, workshed, eventually
):
    assert INVOICED in TEXT
    (tmp_path / NAME).write_text(TEXT.replace(INVOICED, FAILS))
    (tmp_path / "send.py").write_text(SEND)
    worker = start_worker("invoices", threads=2)
    _, batch = run("send.py", **environment)
    batch = batch.strip()
    line = f"a job has died: workshed batches show {batch}"
    eventually(lambda: line in worker.text())

    (tmp_path / "mended").touch()
    done = workshed("batches", "retry", batch, "--yes")

    assert done.strip().endswith("retried")
    eventually(lambda: "June: 4 of 4 jobs have succeeded" in worker.text())


def test_the_relay_deletes_the_waiting_jobs_of_a_cancelled_batch(
    tmp_path, run, environment, start_worker, count, eventually
):
    (tmp_path / NAME).write_text(TEXT)
    send = """
from datetime import timedelta
from invoices import Batch, db, invoice

batch = Batch(on_complete=invoice.message(0, "June"))
with db.transaction() as conn, batch.adding(conn):
    batch.add(conn, *(invoice.message(n, "June") for n in range(250)), delay=timedelta(days=1))
with db.transaction() as conn:
    assert batch.cancel(conn)
"""
    (tmp_path / "send.py").write_text(send)
    code, said = run("send.py", **environment)
    assert code == 0, said
    assert count("workshed.schedule") == 250

    start_worker("invoices", threads=2)

    eventually(lambda: count("workshed.batch_jobs WHERE state = 'cancelled'") == 250)
    eventually(lambda: count("workshed.batches WHERE completed_at IS NOT NULL") == 1)
    eventually(lambda: count("workshed.schedule") == 0)
