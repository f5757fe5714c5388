"""`workshed doctor`: report every problem at once, each with a fix."""

import os
from datetime import timedelta
from typing import Annotated

import typer
from rich.text import Text

from workshed.console.cli.terminal import completion, output
from workshed.console.cli.terminal.output import create_console
from workshed.console.doctor import Finding, Level, build_context, list_checks, run_checks
from workshed.console.formatting import DURATION_METAVAR, parse_duration
from workshed.console.text import escape_control

STYLES: dict[Level, str] = {
    "ok": "green",
    "warning": "yellow",
    "failed": "bold red",
    "not checked": "dim",
}
INDENT = 13


def doctor(
    *,
    packages: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="PACKAGE",
            help="Modules with actors; default: the actors that workers have declared.",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes on this host; default: one per CPU."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads per worker process.")] = 8,
    consumed: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            "-Q",
            metavar="QUEUE",
            help="Queue that workers on this host consume; repeatable; default: all.",
            autocompletion=completion.complete_queues,
        ),
    ] = None,
    stop_within: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_duration,
            metavar=DURATION_METAVAR,
            help="Time that systemd or Kubernetes gives a worker to stop.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check everything a worker needs; change nothing.

    Exit code 0 if no check failed (warnings are allowed), else 1. A check that takes longer than
    5 s fails.
    """
    many = processes or os.cpu_count() or 1
    here = build_context(tuple(packages or ()), many, threads, stop_within, tuple(consumed or ()))
    found = run_checks(here, list_checks(here))
    levels = [finding.level for findings in found.values() for finding in findings]
    if as_json:
        checks = [
            {"check": name, "level": one.level, "message": one.message, "fix": one.fix or None}
            for name, findings in found.items()
            for one in findings
        ]
        output.print_json({"ok": "failed" not in levels, "checks": checks})
    else:
        for name, findings in found.items():
            print_findings(name, findings)
    counts = ", ".join(f"{levels.count(level)} {level}" for level in STYLES if level in levels)
    output.print_message(counts)
    raise typer.Exit(1 if "failed" in levels else 0)


def print_findings(name: str, findings: list[Finding]) -> None:
    """Print the findings of a check; a fix is never wrapped, so that it can be copied."""
    out = create_console()
    for finding in findings:
        level = Text(f"{finding.level:<{INDENT}}", STYLES[finding.level])
        said = Text(escape_control(f"{name}: {finding.message}"))
        for number, line in enumerate(said.wrap(out, out.width - INDENT)):
            line.rstrip()
            out.print((Text(" " * INDENT) if number else level) + line)
        if finding.fix:
            fix = Text(f"{'':<{INDENT}}-> {escape_control(finding.fix)}", "bold")
            out.print(fix, soft_wrap=True)
