"""Steps that must happen: retried in place until they succeed, or the delivery is not ours."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from workshed import db
from workshed.backoff import jittered_backoff_s

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0

T = TypeVar("T")


class OutcomeNotStoredError(Exception):
    """A step did not succeed while this process held the delivery, which is delivered again."""


def retry_until_stored(
    step: Callable[[], T],
    still_ours: Callable[[], bool],
    stopping: threading.Event,
    *,
    after: Exception | None = None,
) -> T:
    """Run a step, and retry it while it fails with a transient error.

    `after` is the transient error of a first attempt that the caller made. Call this inside
    `db.limited_wait`.

    Raises `OutcomeNotStoredError` once the delivery is no longer ours or the worker stops. Any
    other error propagates, because retries would not cure it.
    """
    failures, err = 0, after
    while True:
        if err is not None:
            pause = jittered_backoff_s(failures, FIRST_PAUSE_S, LONGEST_PAUSE_S)
            logger.warning("PostgreSQL: %s; trying again in %.2g s", str(err).strip(), pause)
            if stopping.wait(pause) or not still_ours():
                raise OutcomeNotStoredError(str(err)) from err
            failures += 1
        try:
            return step()
        except db.TRANSIENT_ERRORS as passing:
            err = passing
