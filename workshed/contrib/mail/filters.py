"""Filters for names inside other text: shorten them, and isolate right-to-left ones."""

import unicodedata

NAME_IN_SUBJECT = 40
"""Phones show about 60 characters of a subject; the words around the name need the rest."""

FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"
RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
ZERO_WIDTH_JOINER = "\u200d"


def shorten_name(name: str, most: int = NAME_IN_SUBJECT) -> str:
    """Cut a long name to `most` characters, at a space if one is near, never inside a letter."""
    if len(name) <= most:
        return name
    last = most - 1  # the ellipsis takes one
    cut = name.rfind(" ", most // 2, last + 1)
    cut = last if cut < 0 else cut
    while cut > 1 and (_is_combining(name[cut]) or name[cut - 1] == ZERO_WIDTH_JOINER):
        cut -= 1
    return name[:cut] + "…"


def isolate_name(name: str) -> str:
    """Isolate a name that is written from right to left; others need no invisible characters."""
    if any(unicodedata.bidirectional(c) in RIGHT_TO_LEFT for c in name):
        return f"{FIRST_STRONG_ISOLATE}{name}{POP_ISOLATE}"
    return name


def _is_combining(c: str) -> bool:
    """Return whether a character belongs to the one before: accents, joiners, skin tones."""
    return c == ZERO_WIDTH_JOINER or unicodedata.category(c) in ("Mn", "Mc", "Me", "Sk")


FILTERS = {"shortened": shorten_name, "isolated": isolate_name}
"""The filters by their names in templates."""
