"""Terminal sessions of the shop's own commands, as in the docs."""

import shlex

from shop.__main__ import NAME, app
from tests.transcripts import run_command


def typed(line):
    """Run a line of `python -m shop` in this process, without key input."""
    return run_command(app, NAME, shlex.split(line, comments=True)[2:])
