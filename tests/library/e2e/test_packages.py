"""An application's own package of actors."""

MY_ACTORS = """
import dramatiq
from workshed import Queue, broker, db

broker.add_queue(Queue("invoices", weight=2))

@dramatiq.actor(broker=broker, queue_name="invoices")
def send_invoice(number: int) -> None:
    with db.transaction() as conn:
        conn.execute("INSERT INTO public.invoices VALUES (%s)", (number,))
"""


def test_a_package_of_its_own(start_worker, run, environment, conn, count, tmp_path, eventually):
    (tmp_path / "my_actors").mkdir()
    (tmp_path / "my_actors" / "__init__.py").write_text(MY_ACTORS)
    conn.autocommit = True
    conn.execute("CREATE TABLE public.invoices (number int)")
    worker = start_worker("my_actors")

    sent = run("-c", "from my_actors import send_invoice; send_invoice.send(42)", **environment)

    assert sent == (0, "")

    eventually(lambda: count("public.invoices WHERE number = 42") == 1)
    assert worker.stop() == 0
