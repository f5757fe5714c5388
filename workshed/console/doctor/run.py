"""Run all checks: those that need another after it, the others at once, each with a deadline."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from workshed.console.doctor.environment import variable
from workshed.console.doctor.surroundings import DoctorContext
from workshed.console.operations.finding import Finding, failed, unchecked

DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at."""

    name: str
    run: Callable[[DoctorContext], Iterable[Finding]]
    needs: tuple[str, ...] = ()
    """Checks without whose success this one makes no sense."""
    after: tuple[str, ...] = ()
    """Checks that come first, whatever they find."""
    reads: tuple[str, ...] = ()
    """Settings without which it would look at the wrong thing."""


def examine(
    here: DoctorContext, checks: Sequence[Check], deadline_s: float = DEADLINE_S
) -> dict[str, list[Finding]]:
    """Return what each check found, in their order; never raises, never hangs."""
    done: dict[str, list[Finding]] = {}
    while left := [check for check in checks if check.name not in done]:
        wave = [check for check in left if {*check.needs, *check.after} <= done.keys()]
        reasons = {check.name: obstacle(check, done, here) for check in wave}
        done |= together(here, [c for c in wave if reasons[c.name] is None], deadline_s)
        done |= {name: [unchecked(why)] for name, why in reasons.items() if why is not None}
    return {check.name: done[check.name] for check in checks}


def obstacle(check: Check, done: dict[str, list[Finding]], here: DoctorContext) -> str | None:
    """Say why a check makes no sense now."""
    for name in check.reads:
        if name in here.unreadable:
            return f"{variable(name)} cannot be read"
    for name in check.needs:
        levels = {finding.level for finding in done[name]}
        if "failed" in levels or levels == {"not checked"}:
            return f"see {name}"
    return None


def together(
    here: DoctorContext, checks: list[Check], deadline_s: float
) -> dict[str, list[Finding]]:
    """Run them side by side, and leave those that hang."""
    found: dict[str, list[Finding]] = {check.name: [] for check in checks}
    threads = [
        # A daemon: the program may end while it still hangs.
        threading.Thread(target=look, args=(here, check, found[check.name]), daemon=True)
        for check in checks
    ]
    for thread in threads:
        thread.start()
    ends_at = time.monotonic() + deadline_s
    result = {}
    for check, thread in zip(checks, threads, strict=True):
        thread.join(max(0.0, ends_at - time.monotonic()))
        result[check.name] = list(found[check.name])
        if thread.is_alive():
            result[check.name].append(
                failed(
                    f"no answer within {deadline_s:g} s",
                    "see whether the server hangs, or the network on the way drops packets",
                )
            )
    return result


def look(here: DoctorContext, check: Check, found: list[Finding]) -> None:
    """Run one check; its own failure is a finding."""
    try:
        found.extend(check.run(here))
    except Exception as err:  # noqa: BLE001 -- the doctor goes on to the next
        found.append(
            failed(
                f"the check itself failed: {type(err).__name__}: {str(err).strip()}",
                "the cause is in these words; if it is not, report it",
            )
        )
