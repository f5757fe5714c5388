"""Names of people, which end up in subject lines and headers."""

import re
import unicodedata

from shop.people.errors import InvalidNameError

MAX_LENGTH = 100
MAX_INPUT_LENGTH = 1_000
"""Characters before normalization, which may shorten a name enough to fit."""

# Controls, line and paragraph separators, lone surrogates.
_REFUSED = frozenset({"Cc", "Zl", "Zp", "Cs"})
# They reorder the text around a name. The marks that right-to-left names need are not included.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Invisible characters that do not affect any letter; often left over from concatenated files.
_INVISIBLE = re.compile("[\u200b\u2060\ufeff]")
_NO_CHARACTERS = re.compile(
    "[\ufdd0-\ufdef]|["
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
# Letters and signs that are drawn as nothing: Hangul fillers, and Braille without a dot.
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_VISIBLE_CATEGORIES = frozenset("LNPS")
"""First letters of the Unicode categories that are visible; marks alone are not."""
_LINK = re.compile(r"://|\bwww\.", re.IGNORECASE)


def normalize(name: str) -> str:
    """Return the name as it is stored: NFC, without surrounding or repeated spaces.

    Invisible characters, such as a byte-order mark, are removed, too.

    Raises `InvalidNameError`.
    """
    if len(name) > MAX_INPUT_LENGTH:  # normalizing some texts takes quadratic time
        raise InvalidNameError(
            name, f"it has {len(name)} characters, at most {MAX_LENGTH} are allowed"
        )
    if any(unicodedata.category(c) in _REFUSED or c in _BIDI_CONTROLS for c in name):
        raise InvalidNameError(name, "it holds a line break or another control character")
    if _LINK.search(name):
        # Spammers abuse sign-up forms to make other people's mail servers send advertisements.
        raise InvalidNameError(name, "it holds a link")
    if _NO_CHARACTERS.search(name):
        raise InvalidNameError(name, "it has a code point that is not a character")
    clean = " ".join(unicodedata.normalize("NFC", _INVISIBLE.sub("", name)).split())
    if not clean:
        raise InvalidNameError(name, "it is empty")
    if not any(
        unicodedata.category(c)[0] in _VISIBLE_CATEGORIES and c not in _BLANK_LETTERS for c in clean
    ):
        raise InvalidNameError(name, "it has no visible character")
    if len(clean) > MAX_LENGTH:
        raise InvalidNameError(
            name, f"it has {len(clean)} characters, at most {MAX_LENGTH} are allowed"
        )
    return clean
