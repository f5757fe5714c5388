"""docs/embedded.md: its applications run jobs in the processes that serve them."""

import contextlib
import os
import re
import signal

import pytest

from tests import pages
from tests.transcripts import begin, check, shell, steps
from workshed.devserver.ports import find_free_ports

PAGE = "docs/embedded.md"
FILES = pages.files(PAGE)
FLASK = pages.files(PAGE, "flask")
SERVE = pages.block(PAGE, "serve")
SETTING = pages.block("docs/without-rabbitmq.md", "export WORKSHED_BROKER_URL=postgresql:")
REQUEST = pages.block(PAGE, "request")
PORT = "8000"
PROGRAMS = {
    "fastapi": SERVE,
    "flask": re.sub("uvicorn .*", "gunicorn hello_flask:web --bind 127.0.0.1:8000", SERVE),
}


@pytest.fixture
def transport():
    """Jobs are rows; there is no RabbitMQ."""
    return "postgresql"


@pytest.mark.fresh_database
@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_request_sends_a_job_that_runs_in_the_same_process(
    kind, broker, environment, tmp_path, eventually
):
    for name, text in {**FILES, **FLASK}.items():
        (tmp_path / name).write_text(text)
    assert SERVE.startswith(SETTING)
    [port] = find_free_ports(1)
    own = {**environment, "WORKSHED_APP": "", "WORKSHED_METRICS_PORT": str(find_free_ports(1)[0])}
    log, run = tmp_path / "site.log", shell(tmp_path, **own)
    site = begin("exec 2>&1\n" + PROGRAMS[kind].replace(PORT, str(port)), log, **own)
    try:
        [(command, shown)] = steps(REQUEST.replace(PORT, str(port)))
        eventually(lambda: site.poll() is not None or "job" in run(command))
        assert site.poll() is None, log.read_text()
        check(shown, run(command))
        eventually(lambda: "Hello, Ada!" in log.read_text())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(site.pid, signal.SIGTERM)
        site.wait(60)
