"""Where a program failed, described in the same way on every machine."""

import os
import traceback
from pathlib import Path, PurePath
from types import FrameType

from workshed.jobs.history.attempts import to_storable

LIBRARY_FOLDER = Path(__file__).parents[2]
"""The folder of the library."""
RUNTIME_FOLDERS = tuple(
    f"{LIBRARY_FOLDER / name}{os.sep}" for name in ("transport", "middleware", "jobs")
)
STANDARD_LIBRARY = f"{Path(os.__file__).parent}{os.sep}"
INSTALLED_FOLDERS = {"site-packages", "dist-packages"}
LONGEST = 200


def locate_error(error: BaseException | None) -> str | None:
    """Return where an error was raised: `mail/smtp.py:12 in deliver`.

    This is the last frame that belongs to the program, or the last of all if none does.
    """
    frames = [] if error is None else list(traceback.walk_tb(error.__traceback__))
    own = [found for found in frames if _is_of_program(found[0])]
    if not frames:
        return None
    frame, number = (own or frames)[-1]
    file = "/".join(PurePath(frame.f_code.co_filename).parts[-2:])
    return to_storable(f"{file}:{number} in {frame.f_code.co_name}")[:LONGEST]


def _is_of_program(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    is_made = name.startswith("<")  # `<frozen importlib>` and `<string>` are not files
    is_library = name.startswith((STANDARD_LIBRARY, *RUNTIME_FOLDERS))
    return not (is_made or is_library or INSTALLED_FOLDERS.intersection(PurePath(name).parts))
