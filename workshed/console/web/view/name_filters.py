"""Fields of a filter form that take a name or its beginning, and suggest the known ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workshed.console.web.view.known_names import NameMatch, describe_match, match_names
from workshed.console.web.view.page import PageRequest
from workshed.database.postgres import Connection
from workshed.jobs.names import Names

NameSources = Mapping[str, Callable[[Connection], Sequence[str]]]
"""By field: returns the names that a field may have."""
MOST_SUGGESTED = 500
"""Names that a page suggests for a field."""
KINDS = {"actor": "known actor", "queue": "known queue", "error": "recent error class"}
"""What the suggestions of a field are, in words."""


def match_field(ask: PageRequest, field: str, sources: NameSources) -> NameMatch | None:
    """Return the names that a field selects, or `None` if it is empty."""
    text = ask.text(field)
    return None if text is None else match_names(text, sources[field](ask.conn))


def matched_names(ask: PageRequest, field: str, sources: NameSources) -> Names:
    """Return the names that a field selects, as filters of jobs take them."""
    match = match_field(ask, field, sources)
    return None if match is None else match.names


def describe_fields(ask: PageRequest, sources: NameSources) -> dict[str, Any]:
    """Return what the macro `field` needs: names to suggest, and notes about matches, by field."""
    known, notes = {}, {}
    for field, list_names in sources.items():
        names = list_names(ask.conn)
        text = ask.text(field)
        note = text and describe_match(KINDS[field], match_names(text, names), names)
        if note:
            notes[field] = note
        known[field] = names[:MOST_SUGGESTED]
    return {"known_names": known, "field_notes": notes}
