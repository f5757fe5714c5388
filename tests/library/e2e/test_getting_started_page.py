"""docs/getting-started.md: its commands print what stands there, but for ids and times."""

import os
import signal

from tests import pages
from tests.transcripts import begin, check, shell, steps

PAGE = "docs/getting-started.md"
FILES = pages.files(PAGE)
WORKER = pages.block(PAGE, "worker")
SESSION = pages.block(PAGE, "run")


def test_who_follows_the_page_sees_what_it_shows(broker, environment, count, eventually, tmp_path):
    """In a terminal of its own each, on servers as those of `workshed dev`."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    log, run = tmp_path / "worker.log", shell(tmp_path, **environment)
    worker = begin(WORKER, log, **environment)
    try:
        said = "1 worker and a relay are up"
        assert said in pages.text(PAGE)
        eventually(lambda: said in log.read_text() or worker.poll() is not None)

        sent = 0
        for command, shown in steps(SESSION):
            check(shown, run(command))
            sent += command.startswith(("python", "workshed enqueue"))
            # Runs are written twice a second; and the next job is to come after this one.
            eventually(lambda wanted=sent: count("workshed.runs") == wanted)
    finally:
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(60)

    assert "Hello, Ada!" in log.read_text()
    assert "Hello, Berta!" in log.read_text()
