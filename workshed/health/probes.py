"""The pages `/livez` and `/readyz`, answered from what processes say of themselves."""

import time
from collections.abc import Callable, Iterable
from http import HTTPStatus

from workshed.health.status import Kind, ProcessStatus
from workshed.http import PageAnswer, Pages
from workshed.settings import settings

SILENT_S = 10.0
"""A process that has said nothing for so long is not ready."""
STUCK_S = 90.0
"""And one for so long is stuck: a worker that can ends itself after 60 s."""

Source = Callable[[], list[ProcessStatus]]


def probe_pages(source: Source, of: Kind) -> Pages:
    """Return both, by their paths; one process of a kind at least has to be there to be ready.

    None where they are switched off.
    """
    if not settings().probes:
        return {}
    return {
        "/livez": lambda _: render_problems(fatal_problems(source())),
        "/readyz": lambda _: render_problems(readiness_problems(source(), of)),
    }


def render_problems(problems: list[str]) -> PageAnswer:
    """Say that there are no problems, or which, one in a line."""
    if not problems:
        return PageAnswer(b"ok\n")
    text = "".join(f"{one}\n" for one in problems)
    return PageAnswer(text.encode(), HTTPStatus.SERVICE_UNAVAILABLE)


def fatal_problems(pulses: Iterable[ProcessStatus]) -> list[str]:
    """Say what only a restart will fix. No server that is away is among it."""
    problems = []
    for pulse in pulses:
        problems += pulse.stuck
        silent_s = time.monotonic() - pulse.at
        if silent_s > STUCK_S:
            problems.append(f"{pulse.kind} {pulse.pid} has not moved for {silent_s:.0f} s")
    return problems


def readiness_problems(pulses: list[ProcessStatus], of: Kind) -> list[str]:
    """Say why nothing is to be expected of this master now."""
    if any(pulse.leaving for pulse in pulses if pulse.kind == "supervisor"):
        return ["it stops"]
    staying = [pulse for pulse in pulses if not pulse.leaving]
    problems = [problem for pulse in staying for problem in process_problems(pulse)]
    if not any(pulse.kind == of for pulse in staying):
        stops = any(pulse.kind == of for pulse in pulses)
        problems.append("it stops" if stops else f"no {of} is up")
    return problems


def process_problems(pulse: ProcessStatus) -> list[str]:
    """Say what is wrong with one process."""
    who = pulse.kind if pulse.kind == "supervisor" else f"{pulse.kind} {pulse.pid}"
    silent_s = time.monotonic() - pulse.at
    if silent_s > SILENT_S:
        return [f"{who}: nothing heard of it for {silent_s:.0f} s"]
    return [f"{who}: {trouble}" for trouble in pulse.troubles]
