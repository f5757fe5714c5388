"""Apply an action to each of several objects, and print the results."""

import sys
from collections.abc import Callable, Collection, Sequence

from workshed.console.cli.terminal.audit import AuditedAction
from workshed.console.cli.terminal.output import print_json, print_message
from workshed.console.cli.terminal.progress import show_progress
from workshed.console.errors import NotFoundError, PartialFailureError
from workshed.console.operations.operation import Operation, Target
from workshed.console.text import escape_control
from workshed.database.postgres import Connection

UNKNOWN = "unknown"


def for_each(
    ids: Sequence[str],
    do: Callable[[str], str],
    *,
    good: Collection[str],
    deed: AuditedAction | None,
    as_json: bool,
    kind: str = "message_id",
) -> list[str]:
    """Call `do` with each id and print its answer; return the answers if all are `good`.

    `kind` is the JSON key of the ids. `deed` is recorded in the audit, also when this is
    interrupted; `None` if nothing changes or the caller records it.

    Raises `NotFoundError` if an id is unknown, `PartialFailureError` if another answer is not
    `good`.
    """
    ids = list(dict.fromkeys(ids))
    answers: dict[str, str] = {}
    try:
        # On a terminal, the printed lines already show the progress.
        with show_progress(len(ids), quiet=sys.stdout.isatty() and not as_json) as step:
            for message_id in ids:
                answers[message_id] = do(message_id)
                if not as_json:
                    print(f"{escape_control(message_id)}  {answers[message_id]}", flush=True)
                step()
    finally:
        if deed is not None:
            deed.record(answers, len(ids), kind)
    if as_json:
        print_json([{kind: one, "answer": answer} for one, answer in answers.items()])
    bad = {one: answer for one, answer in answers.items() if answer not in good}
    unknown = [one for one, answer in bad.items() if answer == UNKNOWN]
    if unknown:
        raise NotFoundError(f"unknown: {', '.join(unknown)}")
    if bad:
        why = ", ".join(sorted(set(bad.values())))
        raise PartialFailureError(f"{len(bad)} of {len(answers)} not done: {why}")
    return list(answers.values())


def run_operation(
    conn: Connection, operation: Operation[Target], names: Sequence[str], *, as_json: bool
) -> None:
    """Run an operation on the named objects and print the answers; raises like `for_each`."""
    found = operation.find(conn, names)
    changed: set[str] = set()
    good = {*operation.unchanged}

    def one(name: str) -> str:
        answer = operation.run(conn, found[name])
        if operation.has_changed(answer):
            changed.add(answer)
            good.add(answer)
        return answer

    deed = AuditedAction(conn, operation.name, changed)
    for_each(list(found), one, good=good, deed=deed, as_json=as_json, kind=operation.kind)
    if operation.effect:
        print_message(operation.effect)
