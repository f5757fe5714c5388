"""What a test expects of the outcomes of the jobs that it runs."""

from collections.abc import Sequence
from datetime import timedelta

from workshed.testing import text
from workshed.testing.fake_broker import KitRun

JITTER = 0.25
LEAST_MARGIN = timedelta(seconds=1)


def expect_retried(
    runs: Sequence[KitRun], after: timedelta | None, within: timedelta | None
) -> None:
    """Fail unless one of the jobs is to be retried, after about that time."""
    waits = [run.outcome.delay for run in runs if run.outcome.kind == "retry"]
    if after is None:
        found, wanted = bool(waits), "no job is to be retried"
    else:
        margin = max(after * JITTER, LEAST_MARGIN) if within is None else within
        found = any(abs(wait - after) <= margin for wait in waits)
        span = f"{text.span_text(after)} (within {text.span_text(margin)})"
        wanted = f"no job is to be retried after {span}"
    if not found:
        raise AssertionError(_failure_text(wanted, runs))


def expect_discarded(runs: Sequence[KitRun], reason: str) -> None:
    """Fail unless one of the jobs was discarded, with `reason` in its reason."""
    reasons = [run.outcome.reason for run in runs if run.outcome.is_discarded]
    if not any(reason in found for found in reasons):
        wanted = f"no job was discarded: {reason!r}" if reason else "no job was discarded"
        raise AssertionError(_failure_text(wanted, runs))


def _failure_text(problem: str, runs: Sequence[KitRun]) -> str:
    lines = text.format_titled_list("ran meanwhile", [text.run_columns(run) for run in runs])
    return "\n".join([problem, "", *lines])
