"""One job as people read it: what is known of it, its body, its attempts."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workshed.jobs.attempts import Attempt


def show(
    pairs: Iterable[tuple[str, object]],
    body: str | bytes,
    tried: "list[Attempt]",
    now: datetime,
) -> None:
    """Print it."""
    from console.cli.body import for_people
    from console.cli.output import fields, visible
    from console.words import ago

    fields(pairs)
    print(f"\n{visible(for_people(body))}")
    for one in tried:
        when = f"{ago(one.ended_at, now)}, {one.ended_at:%Y-%m-%d %H:%M:%S %Z}"
        print(f"\nattempt {one.attempt}: {one.outcome} {when}\n{visible(one.reason)}")
        if one.traceback:
            print(visible(one.traceback).rstrip())
