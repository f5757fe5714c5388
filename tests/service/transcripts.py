"""What a terminal shows of the shop's own commands, as pages have it."""

import shlex

from shop.__main__ import NAME, app
from tests.transcripts import shown


def typed(line):
    """Run a line of `python -m shop` in this process, without a terminal's keys."""
    return shown(app, NAME, shlex.split(line, comments=True)[2:])
