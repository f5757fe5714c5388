"""The first job of README, run as printed, in an empty folder and on an empty database."""

import os
import signal

from tests import pages
from tests.transcripts import QUIET, begin, check, shell, steps

FILES = pages.files("README.md") | pages.files("README.md", "test")
WORKER = pages.block("README.md", "worker")
ORDER = pages.block("README.md", "order")


def test_the_first_job_runs_as_printed(tmp_path, empty_database_url, vhost, eventually):
    """It creates all tables itself, Workshed's and its own, and needs no other setting."""
    urls = {"WORKSHED_BROKER_URL": vhost, "WORKSHED_DATABASE_URL": empty_database_url}
    exports = "export WORKSHED_BROKER_URL=amqp://… WORKSHED_DATABASE_URL=postgresql://…\n"
    assert WORKER.startswith(exports)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    log, run = tmp_path / "worker.log", shell(tmp_path, **urls, **QUIET)

    worker = begin(WORKER.removeprefix(exports), log, **urls)
    try:
        ready = "1 worker and a relay are up"
        assert ready in pages.text("README.md")
        eventually(lambda: ready in log.read_text() or worker.poll() is not None)
        assert worker.poll() is None, log.read_text()

        (place, placed), (jobs, listed), (test, passed) = steps(ORDER)
        check(placed, run(place))
        eventually(lambda: "succeeded" in run(jobs))
        check(listed, run(jobs))
        check(passed, run(test))
    finally:
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(60)
