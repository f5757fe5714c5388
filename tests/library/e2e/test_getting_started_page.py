"""docs/getting-started.md: its commands print what the page shows, except for ids and times."""

import os
import signal

from tests import pages
from tests.transcripts import begin, check, shell, steps

PAGE = "docs/getting-started.md"
FILES = pages.files(PAGE)
WORKER = pages.block(PAGE, "worker")
SESSION = pages.block(PAGE, "run")


def test_the_page_shows_what_is_printed(broker, environment, count, eventually, tmp_path):
    """Worker and commands run as in two terminals, on servers like those of `workshed dev`."""
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
            # Runs are written twice a second, and the next job must come after this one.
            eventually(lambda wanted=sent: count("workshed.runs") == wanted)
    finally:
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(60)

    assert "Hello, Ada!" in log.read_text()
    assert "Hello, Berta!" in log.read_text()
