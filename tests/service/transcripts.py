"""Terminal sessions of the shop's own commands, as in the docs."""

import shlex

from shop.__main__ import NAME, app
from tests.transcripts import shown


def typed(line):
    """Run a line of `python -m shop` in this process, without key input."""
    return shown(app, NAME, shlex.split(line, comments=True)[2:])
