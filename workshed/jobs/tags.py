"""Tags: short words on a message by which rules and filters find it."""

from typing import Any

from workshed.value_class import value_class

MOST_TAGS = 10
LONGEST_TAG_BYTES = 100


@value_class
class CancelTraits:
    """The properties of a message that a cancellation rule checks."""

    actor: str
    queue: str
    tags: tuple[str, ...]
    sent_ms: int
    """When it was sent or last redriven, by the clock of the machine that did so; Unix ms."""

    @property
    def values(self) -> dict[str, Any]:
        """Return them as the parameters of a query."""
        return {
            "actor": self.actor,
            "queue": self.queue,
            "tags": list(self.tags),
            "sent_ms": self.sent_ms,
        }


def tags_problem(value: object) -> str | None:
    """Return why a value is not a list of tags; `None` if it is one."""
    if not isinstance(value, (list, tuple)) or not 0 < len(value) <= MOST_TAGS:
        return f"must be a list of 1 to {MOST_TAGS} tags, not {value!r:.80}"
    for tag in value:
        if not isinstance(tag, str) or "\0" in tag or not 0 < utf8_size(tag) <= LONGEST_TAG_BYTES:
            return f"has a tag that is not a string of 1 to {LONGEST_TAG_BYTES} bytes: {tag!r:.50}"
    return None


def utf8_size(tag: str) -> int:
    """Return the length in bytes; 0 if the text is not valid Unicode."""
    try:
        return len(tag.encode())
    except UnicodeEncodeError:
        return 0
