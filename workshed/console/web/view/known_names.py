"""The actors, queues and error classes that a filter may name, in full or by their beginning."""

from collections.abc import Iterable, Sequence

from workshed.database.postgres import Connection
from workshed.jobs.control import queues as declared
from workshed.transport.errors import did_you_mean
from workshed.value_class import value_class

ALL = "*"
"""At the end of a filter: also names that only begin with it, though one is exactly this."""
MOST_NAMED = 5
"""Matching names that a sentence lists."""


@value_class
class NameMatch:
    """The names that a filter selects, and the filter itself."""

    text: str
    names: Sequence[str]
    """The exact name comes first."""
    is_known: bool
    others: int = 0
    """How many more names begin with a text that is itself a name."""

    @property
    def begins(self) -> str | None:
        """The beginning of the names that it selects; `None` if it is an exact name."""
        is_exact = self.is_known and list(self.names) == [self.text]
        return None if is_exact else self.text.removesuffix(ALL)


def match_names(text: str, known: Iterable[str]) -> NameMatch:
    """Match a filter with names: the name itself if it is known, else all that begin with it.

    `charge*` selects all that begin with `charge`, although there is one of that name. Each part
    after a dot counts as a beginning: `Gateway` selects `shop.GatewayError`.
    """
    names = sorted(set(known), key=lambda name: (name != text, name))
    begins = text.removesuffix(ALL)
    found = [one for one in names if f".{begins}" in f".{one}"]
    if text in names:
        return NameMatch(text, [text], is_known=True, others=len(found) - 1)
    if text.endswith(ALL):
        return NameMatch(text, found or [text], is_known=bool(found))
    # Itself, too: it may be the name of jobs that no worker here knows.
    return NameMatch(text, [text, *found], is_known=bool(found))


def describe_match(kind: str, match: NameMatch, known: Iterable[str]) -> str | None:
    """Say which names a filter selects; `None` if it is an exact name and no other begins so."""
    if match.others:
        return f"{match.text}{ALL} also matches {match.others} more."
    if match.begins is None:
        return None
    if not match.is_known:
        return f"No {kind} begins with this{did_you_mean(match.text, known)}."
    found = [name for name in match.names if name != match.text]
    more = len(found) - MOST_NAMED
    listed = ", ".join(found[:MOST_NAMED])
    return f"Matches {listed}{f' and {more} more' if more > 0 else ''}."


def list_actor_names(conn: Connection) -> list[str]:
    """Return the actors that any worker has declared."""
    return [one.name for one in declared.list_actors(conn)]


def list_queue_names(conn: Connection) -> list[str]:
    """Return the queues that any worker has declared."""
    return [one.name for one in declared.list_queues(conn)]
