"""The jobs: sent when they are due, none dead."""

from collections.abc import Iterator
from datetime import timedelta

from console.doctor.finding import Finding, failed, ok, warning
from console.doctor.surroundings import Surroundings
from console.words import in_words, jobs
from workshed.jobs import dead, relays, windows

LATE = timedelta(seconds=10)
START = "dramatiq actors  (or, on a host without workers: workshed relay)"
SHOWN = 3


def relay(here: Surroundings) -> Iterator[Finding]:
    """See that a relay lives and keeps up."""
    with here.connect() as conn:
        beat, lag = relays.last_beat(conn), windows.lag(conn)
    if beat is None:
        yield failed("no relay is at work, so delays, retries and stored jobs are not sent", START)
    elif beat > relays.DEAD_AFTER:
        yield failed(f"no relay has beaten for {in_words(beat)}: delays and retries wait", START)
    elif lag > LATE:
        said = f"a relay is at work, and the oldest due job has waited for {in_words(lag)}"
        yield warning(said, "workshed scheduled  (then see the relay's log)")
    else:
        yield ok(f"a relay is at work; the oldest due job has waited for {in_words(lag)}")


def died(here: Surroundings) -> Iterator[Finding]:
    """Count the dead."""
    with here.connect() as conn:
        groups = dead.groups(conn)
    if not groups:
        yield ok("no job is dead")
        return
    most = ", ".join(f"{one.count} of {one.error_class or '-'}" for one in groups[:SHOWN])
    more = ", …" if len(groups) > SHOWN else ""
    said = f"dead: {jobs(sum(one.count for one in groups))} ({most}{more})"
    yield warning(said, "workshed dead list --group")
