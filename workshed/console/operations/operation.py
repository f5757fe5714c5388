"""What an operator can do to queues, jobs and workers, by command and in the web console alike.

A command and a page only read their input, call an `Operation`, and show what it returns.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, field
from typing import Any, Generic, TypeVar

from workshed.console.errors import NotFoundError
from workshed.database.postgres import Connection
from workshed.errors import WorkshedError
from workshed.value_class import value_class

FEW_ANSWERS = 3
"""Results that a summary lists one by one; more are counted."""
MOST_IDS = 1_000
"""Ids in one audit entry; further ones are only counted."""
UNKNOWN = "unknown"
"""The answer for an object that does not exist."""

CHANGED_UNASKED = (
    "The state has just changed, so nothing was done. Try again to see what would happen now."
)
"""An error: the preview found nothing to confirm, and the operation would change something."""

Target = TypeVar("Target")


@value_class
class Preview:
    """What an operation would do."""

    count: int
    """How many objects would change."""
    notes: str = ""
    """Sentences about what would happen then."""
    what: str = ""
    """What would change, if the number of objects does not say it."""


@value_class
class OperationResult:
    """What an operation did: its audit entry, whose message the web console shows."""

    message: str
    count: int
    """How many objects have changed."""
    details: Mapping[str, Any]
    """Their ids, or the filter that selected them."""


@value_class
class Operation(Generic[Target]):
    """Something to do to each of several objects."""

    name: str
    """Its name in the audit: `queues.pause`."""
    kind: str
    """What its objects are called, such as `queue`; for jobs `message_id`."""
    find: Callable[[Connection, Sequence[str]], Mapping[str, Target]]
    """Return the named objects. Raises `WorkshedError` before anything is written."""
    run: Callable[[Connection, Target], str]
    """Change one object in the caller's transaction, and return the answer."""
    changed: Mapping[str, str]
    """What an answer begins with if something has changed, with a sentence about its effect."""
    unchanged: tuple[str, ...] = ()
    """Answers that mean that nothing had to be done."""
    verb: str = ""
    past: str = ""
    """`Retry` and `retried`, for an operation that asks for confirmation."""
    preview: Callable[[Connection, Mapping[str, Target]], Preview] | None = None
    """Return what it would do; `None` if it needs no confirmation."""
    refusals: Mapping[type[WorkshedError], str] = field(default_factory=dict)
    """Errors that concern one object only, with the answers that stand for them."""
    gone_answer: str = UNKNOWN
    """The answer instead of `UNKNOWN` for an object that a page or a filter has selected."""
    gone_reason: str = ""
    """A sentence: why none of the selected objects exists any longer, which is then an error."""
    more_details: Mapping[str, Any] = field(default_factory=dict)
    """For the audit, in addition to the objects."""
    identify: Callable[[str, Target], Any] = lambda name, _: name
    """Return what the audit has of a changed object."""
    measure: Callable[[Target], int] = lambda _: 1
    """Return for how many a changed object counts."""

    def has_changed(self, answer: str) -> bool:
        """Return whether an answer means that something has changed."""
        return answer.startswith(tuple(self.changed))

    def describe_effects(self, answers: Collection[str]) -> str:
        """Return the sentences about the effects of these answers."""
        given = [one for one in self.changed if any(answer.startswith(one) for answer in answers)]
        return " ".join(filter(None, (self.changed[one] for one in given)))

    def answer(
        self,
        conn: Connection,
        target: Target,
        report: Callable[[WorkshedError], None],
        *,
        is_typed: bool = False,
    ) -> str:
        """Change one object, and return the answer; `report` gets the error that it stands for.

        `is_typed`: the user has typed its name, and may have misspelt it.
        """
        try:
            answer = self.run(conn, target)
        except tuple(self.refusals) as err:
            report(err)
            return self.refusals[type(err)]
        return self.gone_answer if answer == UNKNOWN and not is_typed else answer

    def perform(
        self,
        conn: Connection,
        found: Mapping[str, Target],
        details: Mapping[str, Any] | None = None,
    ) -> OperationResult:
        """Change all objects in the caller's transaction.

        Raises `NotFoundError` if none exists any longer, or the error of the only one.
        """

        def report(err: WorkshedError) -> None:
            if len(found) == 1:
                raise err

        answers = {name: self.answer(conn, target, report) for name, target in found.items()}
        if self.gone_reason and {*answers.values()} <= {self.gone_answer}:
            raise NotFoundError(f"{summarize_answers(self.kind, answers)} {self.gone_reason}")
        return self.result(found, answers, details)

    def result(
        self,
        found: Mapping[str, Target],
        answers: Mapping[str, str],
        details: Mapping[str, Any] | None = None,
    ) -> OperationResult:
        """Return the result of these answers; `details` replace the ids in the audit."""
        changed = [name for name, answer in answers.items() if self.has_changed(answer)]
        if details is None:
            details = id_details(self.kind, [self.identify(name, found[name]) for name in changed])
        said = f"{summarize_answers(self.kind, answers)} {self.describe_effects(answers.values())}"
        count = sum(self.measure(found[name]) for name in changed)
        return OperationResult(said.rstrip(), count, {**details, **self.more_details})

    def confirm_text(self, preview: Preview) -> str:
        """Return what the user confirms: `Retry 3 jobs`."""
        return f"{self.verb} {preview.what or count_objects(self.kind, preview.count)}"


def summarize_answers(kind: str, answers: Mapping[str, str]) -> str:
    """Summarize answers: `a: paused.`, or `Jobs: 7 deleted, 1 will be skipped.`."""
    if 0 < len(answers) <= FEW_ANSWERS:
        return "; ".join(f"{one}: {answer}" for one, answer in answers.items()) + "."
    counted = Counter(answers.values())
    results = ", ".join(f"{count} {answer}" for answer, count in counted.items())
    return f"{name_objects(kind).capitalize()}: {results or 'none'}."


def id_details(kind: str, ids: Sequence[Any]) -> dict[str, Any]:
    """Return ids for the audit, at most `MOST_IDS`, and how many more there are."""
    names = "ids" if kind == "message_id" else name_objects(kind)
    more = len(ids) - MOST_IDS
    return {names: list(ids[:MOST_IDS])} | ({"more": more} if more > 0 else {})


def filter_details(filters: Any) -> dict[str, Any]:
    """Return a filter for the audit."""
    given = {name: value for name, value in asdict(filters).items() if value is not None}
    return {"all": True} | given


def name_objects(kind: str) -> str:
    """Return the plural of a kind of objects."""
    return "jobs" if kind == "message_id" else f"{kind}es" if kind.endswith("ch") else f"{kind}s"


def count_objects(kind: str, count: int) -> str:
    """Return a number of objects in words: `1 job`, `2 batches`."""
    one = "job" if kind == "message_id" else kind
    return f"{count} {one if count == 1 else name_objects(kind)}"
