"""Names inside other text: cut to fit, and kept from reordering what stands around them."""

import unicodedata

# Phones show some 60 characters of a subject; the words around the name need the rest.
NAME_IN_SUBJECT = 40

FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"
RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
ZERO_WIDTH_JOINER = "\u200d"


def shortened(name: str) -> str:
    """Cut a long name to 40 characters, at a space if one is near, and never inside a letter."""
    if len(name) <= NAME_IN_SUBJECT:
        return name
    last = NAME_IN_SUBJECT - 1  # the ellipsis takes one
    cut = name.rfind(" ", NAME_IN_SUBJECT // 2, last + 1)
    cut = last if cut < 0 else cut
    while cut > 1 and (_clings(name[cut]) or name[cut - 1] == ZERO_WIDTH_JOINER):
        cut -= 1
    return name[:cut] + "…"


def isolated(name: str) -> str:
    """Fence a name that is written from right to left; others need no invisible characters."""
    if any(unicodedata.bidirectional(c) in RIGHT_TO_LEFT for c in name):
        return f"{FIRST_STRONG_ISOLATE}{name}{POP_ISOLATE}"
    return name


def _clings(c: str) -> bool:
    """Whether a character is part of the one before it: accents, joiners, skin tones."""
    return c == ZERO_WIDTH_JOINER or unicodedata.category(c) in ("Mn", "Mc", "Me", "Sk")
