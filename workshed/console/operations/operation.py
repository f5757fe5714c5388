"""What an operator can do to queues, jobs and workers, by command and in the web console alike."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from workshed.database.postgres import Connection
from workshed.value_class import value_class

FEW_ANSWERS = 3
"""Results that a summary lists one by one; more are counted."""
MOST_IDS = 1_000
"""Ids in one audit entry; further ones are only counted."""

Target = TypeVar("Target")


@value_class
class Operation(Generic[Target]):
    """Something to do to each of several objects; both interfaces give the same answers."""

    name: str
    """Its name in the audit: `queues.pause`."""
    kind: str
    """What its objects are called, such as `queue`; for jobs `message_id`."""
    find: Callable[[Connection, Sequence[str]], Mapping[str, Target]]
    """Return the named objects. Raises `NotFoundError` before anything is written."""
    run: Callable[[Connection, Target], str]
    """Change one object, and return the answer."""
    changed: tuple[str, ...]
    """What an answer begins with if something has changed."""
    unchanged: tuple[str, ...] = ()
    """Answers that mean that nothing had to be done."""
    effect: str = ""
    """A sentence that says when it takes effect."""

    def has_changed(self, answer: str) -> bool:
        """Return whether an answer means that something has changed."""
        return answer.startswith(self.changed)


def summarize_answers(kind: str, answers: Mapping[str, str]) -> str:
    """Summarize answers: `a: paused.`, or `Jobs: 7 deleted, 1 will be skipped.`."""
    if len(answers) <= FEW_ANSWERS:
        return "; ".join(f"{one}: {answer}" for one, answer in answers.items()) + "."
    counted = Counter(answers.values())
    what = "Jobs" if kind == "message_id" else f"{kind}s".capitalize()
    return f"{what}: {', '.join(f'{count} {answer}' for answer, count in counted.items())}."


def id_details(kind: str, ids: Sequence[str]) -> dict[str, Any]:
    """Return ids for the audit, at most `MOST_IDS`, and how many more there are."""
    names = "ids" if kind == "message_id" else f"{kind}s"
    more = len(ids) - MOST_IDS
    return {names: list(ids[:MOST_IDS])} | ({"more": more} if more > 0 else {})
