"""The examples of README, run as they stand there."""

import os
import signal

import pytest

from tests import pages
from tests.transcripts import begin

FILES = pages.files("README.md")
AT_A_TERMINAL = pages.block("README.md", "export WORKSHED_BROKER_URL=amqp://…")
ON_A_HOST = pages.block("README.md", "workshed worker shop_actors")

SEND = {
    "script.py": "import script",
    "orders.py": "import orders; orders.place_order()",
    "fan_out.py": "import fan_out; fan_out.invoice_all([1])",
    "from_asyncio.py": "import asyncio, from_asyncio; asyncio.run(from_asyncio.invoice(1))",
    "flask_app.py": (
        "import flask_app\n"
        "answer = flask_app.app.test_client().post('/orders')\n"
        "assert answer.status_code == 201, answer"
    ),
    "fastapi_app.py": (
        "import fastapi_app\n"
        "from fastapi.testclient import TestClient\n"
        "answer = TestClient(fastapi_app.app).post('/orders')\n"
        "assert answer.status_code == 201, answer"
    ),
}


@pytest.fixture
def project(tmp_path, conn):
    """A folder with the files of README, and the table their example works on."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    conn.autocommit = True
    conn.execute("CREATE SCHEMA shop")
    conn.execute(
        "CREATE TABLE shop.orders ("
        "  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        "  invoiced boolean NOT NULL DEFAULT false)"
    )
    return tmp_path


def test_every_example_is_run_here():
    assert FILES.keys() == {"shop_actors.py", *SEND}


@pytest.mark.parametrize("name", SEND)
def test_an_example_sends_and_its_job_runs(
    name, project, start_worker, run, environment, conn, count, eventually
):
    if name in ("script.py", "fan_out.py", "from_asyncio.py"):
        conn.execute("INSERT INTO shop.orders DEFAULT VALUES")
    start_worker("shop_actors")

    code, said = run("-c", SEND[name], **environment)

    assert code == 0, said
    eventually(lambda: count("shop.orders WHERE invoiced") == 1)


@pytest.mark.parametrize("script", [AT_A_TERMINAL, ON_A_HOST], ids=["terminal", "host"])
def test_the_commands_start_workers(
    script, project, broker, environment, run, conn, count, eventually
):
    """One worker of the four of a host: it is the same command, and they take long to start."""
    conn.execute("INSERT INTO shop.orders DEFAULT VALUES")
    for shown, url in (("amqp://…", "BROKER_URL"), ("postgresql://…", "DATABASE_URL")):
        script = script.replace(shown, f"'{os.environ[f'WORKSHED_{url}']}'")

    started = begin(script.replace("-p 4", "-p 1"), project / "workers.log", **environment)
    try:
        code, said = run("-c", SEND["script.py"], **environment)
        assert code == 0, said
        eventually(lambda: count("shop.orders WHERE invoiced") == 1)
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(60)
