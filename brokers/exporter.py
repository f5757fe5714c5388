"""A process that shows the metrics of all others of its master: `python -m brokers.exporter`."""

import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path

from brokers.errors import exit_code
from brokers.relay_fork import die_with_parent, set_outside
from workshed import logs
from workshed.errors import WorkshedError
from workshed.metrics import exposition, folders
from workshed.ready import say_up
from workshed.settings import settings

AGAIN_S = 30.0
"""Between looks for a free port."""


def run(folder: Path, stop: threading.Event) -> None:
    """Show a folder until `stop` is set; where no port is free, look for one again."""
    folders.sweep()
    say_up(os.getpid())
    while not stop.is_set():
        server = exposition.in_thread(settings(), partial(exposition.shared, folder))
        stop.wait(AGAIN_S if server is None else None)


def main() -> int:
    """Run until SIGTERM or SIGINT, or until `--parent PID` dies; return the exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: set_outside(stop))
    match sys.argv[1:]:
        case [folder, "--parent", pid]:
            die_with_parent(int(pid))
        case _:
            raise SystemExit("python -m brokers.exporter FOLDER --parent PID")
    try:
        logs.configure()
        run(Path(folder), stop)
    except WorkshedError as err:
        print(err, file=sys.stderr)  # noqa: T201 -- its master's
        return exit_code(err)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
