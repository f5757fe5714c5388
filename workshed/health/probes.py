"""The pages `/livez` and `/readyz`, answered from the status that processes report."""

import time
from collections.abc import Callable, Iterable
from http import HTTPStatus

from workshed.health.http import PageAnswer, PageHandlers
from workshed.health.status import ProcessKind, ProcessStatus
from workshed.settings import settings

SILENT_S = 10.0
"""A process that has reported nothing for this long is not ready."""
STUCK_S = 90.0
"""After this long without a report it is stuck; a worker that can exits by itself after 60 s."""

StatusSource = Callable[[], list[ProcessStatus]]


def probe_pages(source: StatusSource, of: ProcessKind) -> PageHandlers:
    """Return both pages, by path; being ready needs at least one process of the kind `of`.

    Empty if probes are switched off.
    """
    if not settings().probes:
        return {}
    return {
        "/livez": lambda: render_problems(fatal_problems(source())),
        "/readyz": lambda: render_problems(readiness_problems(source(), of)),
    }


def render_problems(problems: list[str]) -> PageAnswer:
    """Answer `ok`, or 503 with one problem per line."""
    if not problems:
        return PageAnswer(b"ok\n")
    text = "".join(f"{one}\n" for one in problems)
    return PageAnswer(text.encode(), HTTPStatus.SERVICE_UNAVAILABLE)


def fatal_problems(pulses: Iterable[ProcessStatus]) -> list[str]:
    """Return the problems that only a restart fixes; a server that is down is not one."""
    problems = []
    for pulse in pulses:
        problems += pulse.fatal_problems
        silent_s = time.monotonic() - pulse.at
        if silent_s > STUCK_S:
            problems.append(f"{pulse.kind} {pulse.pid} is stuck: no report for {silent_s:.0f} s")
    return problems


def readiness_problems(pulses: list[ProcessStatus], of: ProcessKind) -> list[str]:
    """Return the reasons why not all processes are ready."""
    if any(pulse.is_shutting_down for pulse in pulses if pulse.kind == "supervisor"):
        return ["it is shutting down"]
    staying = [pulse for pulse in pulses if not pulse.is_shutting_down]
    problems = [problem for pulse in staying for problem in process_problems(pulse)]
    if not any(pulse.kind == of for pulse in staying):
        stops = any(pulse.kind == of for pulse in pulses)
        problems.append("it is shutting down" if stops else f"no {of} is up")
    return problems


def process_problems(pulse: ProcessStatus) -> list[str]:
    """Return the problems of one process."""
    who = pulse.kind if pulse.kind == "supervisor" else f"{pulse.kind} {pulse.pid}"
    silent_s = time.monotonic() - pulse.at
    if silent_s > SILENT_S:
        return [f"{who}: no report for {silent_s:.0f} s"]
    return [f"{who}: {trouble}" for trouble in pulse.problems]
