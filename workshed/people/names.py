"""Names of people, which end up in subject lines and headers."""

import re
import unicodedata

from workshed.people.errors import InvalidNameError

MAX_LENGTH = 100
LONGEST_READ = 1_000
"""Characters; spaces and accents that are put together may make a name that fits of these."""

# Controls, line and paragraph separators, lone surrogates.
_REFUSED = frozenset({"Cc", "Zl", "Zp", "Cs"})
# They reorder the text around a name; the marks that right-to-left names need are not among them.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINK = re.compile(r"://|\bwww\.", re.IGNORECASE)


def normalize(name: str) -> str:
    """Return the name as it is stored: NFC, without spaces around it or in a row.

    Raises `InvalidNameError`.
    """
    if len(name) > LONGEST_READ:  # normalizing takes the square of some texts' length
        raise InvalidNameError(name, f"it has {len(name)} characters, at most {MAX_LENGTH} fit")
    if any(unicodedata.category(c) in _REFUSED or c in _BIDI_CONTROLS for c in name):
        raise InvalidNameError(name, "it holds a line break or another control character")
    if _LINK.search(name):
        # Sign-up forms are used to have strangers' mail servers send advertisements.
        raise InvalidNameError(name, "it holds a link")
    clean = " ".join(unicodedata.normalize("NFC", name).split())
    if not clean:
        raise InvalidNameError(name, "it is empty")
    if len(clean) > MAX_LENGTH:
        raise InvalidNameError(name, f"it has {len(clean)} characters, at most {MAX_LENGTH} fit")
    return clean
