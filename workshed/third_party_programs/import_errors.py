"""Exit codes of `dramatiq` and `periodiq` when they import actors that cannot be used.

On their own they exit with 1 and a traceback, whatever the import raises, and a supervisor restarts
them over and over.
"""

import logging
import sys
import threading
from pathlib import Path

from workshed.errors import WorkshedError

logger = logging.getLogger(__name__)

THIRD_PARTY_PROGRAMS = {"dramatiq", "periodiq"}


def exit_third_party_program(error: WorkshedError, code: int) -> None:
    """In the main thread of `dramatiq` or `periodiq`: log the error, and exit with `code`.

    That thread imports the actors. Elsewhere, for example in the threads of jobs, this returns, and
    the caller raises the error.
    """
    is_main_thread = threading.current_thread() is threading.main_thread()
    if program_name() not in THIRD_PARTY_PROGRAMS or not is_main_thread:
        return
    from workshed.third_party_programs.dramatiq_master import flush_stderr_before_exit  # noqa: PLC0415 -- loads multiprocessing

    flush_stderr_before_exit()
    logger.critical("%s", error)
    raise SystemExit(code) from None


def program_name() -> str:
    """Return the name of this program: for example `dramatiq`, also for `python -m dramatiq`."""
    path = Path(sys.argv[0])
    return path.parent.name if path.stem == "__main__" else path.stem
