"""How a name would read in other encodings: hints for a person who knows how it should look."""

import unicodedata

CANDIDATES = (
    "windows-1250",
    "windows-1251",
    "koi8-r",
    "windows-1253",
    "windows-1254",
    "windows-1257",
    "shift_jis",
    "gb18030",
    "big5",
    "euc_kr",
    "mac-roman",
)
MAX_READINGS = 4
_WIDE = frozenset({"shift_jis", "gb18030", "big5", "euc_kr"})
_EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL"})
_BETWEEN = frozenset(" -'.,@\t\"_")


def list_readings(raw: bytes) -> list[tuple[str, str]]:
    """Return the encodings in which the bytes look like a name, each with that name."""
    found: dict[str, str] = {}
    latin = raw.decode("cp1252", "replace")
    for encoding in CANDIDATES:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        fits = is_east_asian(text) if encoding in _WIDE else _is_alphabetic(text)
        if fits and text != latin and text not in found.values():
            found[encoding] = text
    return list(found.items())[:MAX_READINGS]


def format_hint(raw: bytes) -> str:
    """Format the readings as text; empty if there are none."""
    found = list_readings(raw)
    return "; ".join(f"in {encoding} it reads {text.strip()[:100]!r}" for encoding, text in found)


def is_east_asian(text: str) -> bool:
    """Return whether each non-ASCII word consists of East Asian letters only."""
    words = [word for word in text.split() if not word.isascii()]
    return bool(words) and all(
        letter.isalpha() and _alphabet(letter) in _EAST_ASIAN for word in words for letter in word
    )


def _is_alphabetic(text: str) -> bool:
    """Return whether each word is in one alphabet, and all capitals or only its first letter."""
    for word in "".join(" " if letter in _BETWEEN else letter for letter in text).split():
        if not all(letter.isalpha() for letter in word):
            return False
        if len({_alphabet(letter) for letter in word}) > 1 or not (
            word[1:].islower() or word.isupper() or len(word) == 1
        ):
            return False
    return True


def _alphabet(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
