"""Run an operation on each of several objects, and print the answers."""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from workshed.console.cli.terminal.audit import record_action
from workshed.console.cli.terminal.confirm import require_confirmation
from workshed.console.cli.terminal.output import print_json, print_message
from workshed.console.cli.terminal.progress import show_progress
from workshed.console.errors import NotFoundError, PartialFailureError
from workshed.console.operations.operation import (
    CHANGED_UNASKED,
    UNKNOWN,
    Operation,
    OperationResult,
    Target,
    count_objects,
)
from workshed.console.text import escape_control
from workshed.database.postgres import Connection
from workshed.errors import WorkshedError


def run_operation(  # noqa: PLR0913 -- an option of a command each
    conn: Connection,
    operation: Operation[Target],
    names: Sequence[str],
    *,
    as_json: bool,
    yes: bool = False,
    dry_run: bool = False,
    details: Mapping[str, Any] | None = None,
    is_filtered: bool = False,
    finish: Callable[[str, str], str] = lambda _, answer: answer,
) -> None:
    """Run an operation on the named objects, each in its own transaction, and print the answers.

    Asks for confirmation, if the operation needs one. A dry run rolls each object back. `details`
    replace the ids in the audit; `is_filtered`: a filter has selected the objects, so that those
    which are gone by now are no mistake. `finish` gets the id and the answer of each object after
    its commit, and returns what is printed.

    Raises `NotFoundError` if an object is unknown, `PartialFailureError` if another one failed.
    """
    found = operation.find(conn, names)
    is_confirmed = confirm_operation(conn, operation, found, yes=yes, dry_run=dry_run)
    answers: dict[str, str] = {}
    results: dict[str, str] = {}

    def report(err: WorkshedError) -> None:
        if not is_filtered:
            print_message(str(err))

    def record(recorded: Mapping[str, str]) -> None:
        if not dry_run:
            result = operation.result(found, recorded, details)
            rest = (
                f" Interrupted; {len(found)} were requested." if len(recorded) < len(found) else ""
            )
            record_result(conn, operation.name, replace(result, message=result.message + rest))

    try:
        # On a terminal, the printed lines already show the progress.
        with show_progress(len(found), quiet=sys.stdout.isatty() and not as_json) as step:
            for name, target in found.items():
                with conn.transaction(force_rollback=dry_run):
                    answer = operation.answer(conn, target, report, is_typed=not is_filtered)
                    _refuse_unasked(operation, answer, is_confirmed=is_confirmed)
                    if len(found) == 1:
                        record({name: answer})
                answers[name] = answer
                is_tried = dry_run and operation.has_changed(answer)
                results[name] = f"would be {operation.past}" if is_tried else finish(name, answer)
                if not as_json:
                    print(f"{escape_control(name)}  {results[name]}", flush=True)
                step()
    finally:
        if len(found) > 1:  # also if this is interrupted
            record(answers)
    if as_json:
        print_json([{operation.kind: name, "answer": answer} for name, answer in results.items()])
    _raise_for_failures(operation, answers, is_filtered=is_filtered)
    _print_summary(operation, answers.values(), results.values(), dry_run=dry_run)


def confirm_operation(
    conn: Connection,
    operation: Operation[Target],
    found: Mapping[str, Target],
    *,
    yes: bool,
    dry_run: bool = False,
    also: str = "",
) -> bool:
    """Say what an operation would do, and ask, unless nothing would change or `yes` is given.

    `also` is done in addition, whatever the operation changes. False if nothing would change.
    """
    if operation.preview is None or (yes and not dry_run):
        return True
    preview = operation.preview(conn, found)
    if preview.notes and preview.count:
        print_message(preview.notes)
    if (preview.count or also) and not dry_run:
        require_confirmation(f"{operation.confirm_text(preview)}{also}", yes=False)
    return preview.count > 0 or dry_run


def _print_summary(
    operation: Operation[Target],
    answers: Collection[str],
    results: Collection[str],
    *,
    dry_run: bool,
) -> None:
    if operation.past:
        done = count_objects(operation.kind, sum(map(operation.has_changed, answers)))
        print_message(f"{done} {'would be ' if dry_run else ''}{operation.past}.")
    if effects := operation.describe_effects(results):
        print_message(effects)


def _refuse_unasked(operation: Operation[Target], answer: str, *, is_confirmed: bool) -> None:
    if operation.has_changed(answer) and not is_confirmed:
        raise WorkshedError(CHANGED_UNASKED)


def record_result(conn: Connection, action: str, result: OperationResult) -> None:
    """Write the audit entry of an operation."""
    record_action(conn, action, result.details, count=result.count, said=result.message)


def _raise_for_failures(
    operation: Operation[Target], answers: Mapping[str, str], *, is_filtered: bool
) -> None:
    good = {*operation.unchanged, *([operation.gone_answer] if is_filtered else [])}
    bad = {
        name: answer
        for name, answer in answers.items()
        if answer not in good and not operation.has_changed(answer)
    }
    unknown = [name for name, answer in bad.items() if answer == UNKNOWN]
    if unknown:
        raise NotFoundError(f"unknown: {', '.join(unknown)}")
    if bad:
        why = ", ".join(sorted(set(bad.values())))
        raise PartialFailureError(f"{len(bad)} of {len(answers)} not done: {why}")
