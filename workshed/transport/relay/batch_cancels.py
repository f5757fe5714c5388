"""Carry out the cancel of batches, no matter who asked for it."""

from workshed.db import Connection
from workshed.jobs.control.batch_cancellations import cancel_some

LOOK_S = 1.0
FEW = 100
"""Of one turn, so that a batch of a million holds up no other duty."""


def cancel_batches(conn: Connection) -> float:
    """Cancel a few of the jobs that wait, and the next ones at once; any number of relays may."""
    return 0.0 if len(cancel_some(conn, FEW)) == FEW else LOOK_S
