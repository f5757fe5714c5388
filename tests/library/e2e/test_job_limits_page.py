"""The example of docs/limits.md, run as printed."""

import pytest

from tests import pages

[(NAME, TEXT)] = pages.files("docs/limits.md").items()


@pytest.fixture
def sent(tmp_path, conn, run, environment, broker):
    """Send the jobs of the page."""
    conn.execute("CREATE SCHEMA store")
    conn.execute("CREATE TABLE store.fetches (tenant integer, page integer, at timestamptz)")
    conn.commit()
    (tmp_path / NAME).write_text(TEXT)
    broker.ensure_queues({"low"})
    code, said = run(NAME, **environment)
    assert code == 0, said


@pytest.mark.usefixtures("sent")
def test_those_over_the_limit_wait_and_all_start(start_worker, workshed, conn, count, eventually):
    attempts = "SELECT max(body::json #>> '{options,attempt}') FROM workshed.schedule"
    worker = start_worker("tenants", threads=4)

    eventually(lambda: count("workshed.limit_waiters WHERE key = 'api:window'"))
    worker.stop()  # otherwise all may have started by the time the command looks
    assert "api:window" in workshed("limits", "--waiting")
    start_worker("tenants", threads=4)
    assert conn.execute(attempts).fetchone() in {("1",), (None,)}
    eventually(lambda: count("store.fetches") == 8)
    eventually(lambda: count("workshed.limit_slots") == count("workshed.limit_waiters") == 0)
