"""Run all checks in parallel, each after the checks it needs, with a deadline."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from workshed.console.doctor.context import DoctorContext
from workshed.console.doctor.environment import environment_variable
from workshed.console.operations.finding import Finding, failed, unchecked

DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """A check of the doctor."""

    name: str
    run: Callable[[DoctorContext], Iterable[Finding]]
    needs: tuple[str, ...] = ()
    """Checks that must succeed before this one makes sense."""
    after: tuple[str, ...] = ()
    """Checks that run first, whatever they find."""
    reads: tuple[str, ...] = ()
    """Settings it depends on: without them it would check the wrong server."""


def run_checks(
    here: DoctorContext, checks: Sequence[Check], deadline_s: float = DEADLINE_S
) -> dict[str, list[Finding]]:
    """Return the findings of each check, in order; never raises, never hangs."""
    finished: dict[str, list[Finding]] = {}
    while left := [check for check in checks if check.name not in finished]:
        wave = [check for check in left if {*check.needs, *check.after} <= finished.keys()]
        reasons = {check.name: skip_reason(check, finished, here) for check in wave}
        finished |= run_parallel(here, [c for c in wave if reasons[c.name] is None], deadline_s)
        finished |= {name: [unchecked(why)] for name, why in reasons.items() if why is not None}
    return {check.name: finished[check.name] for check in checks}


def skip_reason(
    check: Check, finished: dict[str, list[Finding]], here: DoctorContext
) -> str | None:
    """Return why a check cannot run, or `None`."""
    for name in check.reads:
        if name in here.unreadable_settings:
            return f"{environment_variable(name)} cannot be read"
    for name in check.needs:
        levels = {finding.level for finding in finished[name]}
        if "failed" in levels or levels == {"not checked"}:
            return f"see {name}"
    return None


def run_parallel(
    here: DoctorContext, checks: list[Check], deadline_s: float
) -> dict[str, list[Finding]]:
    """Run checks in parallel, and give up on those that hang."""
    found: dict[str, list[Finding]] = {check.name: [] for check in checks}
    threads = [
        # A daemon, so that the program can exit while a check hangs.
        threading.Thread(target=run_check, args=(here, check, found[check.name]), daemon=True)
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
                    "check whether the server hangs, or the network drops packets",
                )
            )
    return result


def run_check(here: DoctorContext, check: Check, found: list[Finding]) -> None:
    """Run one check; if it raises, that is a finding too."""
    try:
        found.extend(check.run(here))
    except Exception as err:  # noqa: BLE001 -- the other checks must still run
        found.append(
            failed(
                f"the check itself failed: {type(err).__name__}: {str(err).strip()}",
                "fix the cause; if the message does not name it, report a bug",
            )
        )
