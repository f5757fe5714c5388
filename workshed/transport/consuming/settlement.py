"""Steps that must happen: repeated in place until done, or the delivery is held."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from workshed.db import PASSING_ERRORS

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0

T = TypeVar("T")


class OutcomeNotStoredError(Exception):
    """A step could not be made while the delivery was ours; RabbitMQ has it again, or will."""


def retry_until_stored(
    step: Callable[[], T],
    still_ours: Callable[[], bool],
    stopping: threading.Event,
    *,
    after: Exception | None = None,
) -> T:
    """Make a step, again and again while its failure is a passing one.

    `after` is the passing failure of a first time that was made elsewhere. To be called where
    statements are waited for no longer than `db.limited_wait` says.

    Raises `OutcomeNotStoredError` once the delivery is no longer ours or the worker stops; lets
    through any other failure, which repetition would not cure.
    """
    pause, err = FIRST_PAUSE_S, after
    while True:
        if err is not None:
            logger.warning("PostgreSQL: %s; trying again in %g s", str(err).strip(), pause)
            if stopping.wait(pause) or not still_ours():
                raise OutcomeNotStoredError(str(err)) from err
            pause = min(pause * 2, LONGEST_PAUSE_S)
        try:
            return step()
        except PASSING_ERRORS as passing:
            err = passing
