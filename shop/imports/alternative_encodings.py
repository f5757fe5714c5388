"""Other encodings in which a file is as plausible as in the one that was guessed.

The positions of single letters do not distinguish all languages: `Käthe` in Windows-1252 is `Kõthe`
in the DOS encoding CP850, which may be Estonian. The letters of a whole file do: the `ö` of `Jörg`
is no letter in CP850. If every name of a file is plausible in both, only its owner knows.
"""

import re
from dataclasses import dataclass

from shop.imports.encoding_hints import is_east_asian

# The non-ASCII letters of all languages that are written in an encoding. They are not split by
# language, because a list may have customers from several countries.
_LETTERS = {
    "cp850": "äöüõáéíóúñãâàçêôèëîïùûæøåðýþ",
    "cp852": "áčďéěíňóřšťúůýžäĺľôŕąćęłńśźżöőüűđăâîşţ",
    "mac_latin2": "áčďéěíňóřšťúůýžäĺľôŕąćęłńśźżöőüűđ",
    "mac_turkish": "çğıöşüâî",
    "mac_iceland": "áðéíóúýþæö",
    "cp775": "āčēģīķļņšūžąęėįųäöõü",
    "iso8859-4": "āčēģīķļņšūžąęėįųäöõü",
    "cp1257": "āčēģīķļņšūž",
}
_WIDE = ("big5", "gb18030", "shift_jis", "euc_kr")
_ASCII = frozenset(map(chr, range(128)))
_NEVER = re.compile(r"ļ(?:l|$)")
"""Matches `Zoļ` and `Daniļl`, which is how CP775 reads the `ë` of Dutch names."""
_BETWEEN_WORDS = re.compile(r"[\s\-'\u2019.,@_+/()&]+")


@dataclass(slots=True)
class _AlternativeEncoding:
    """An encoding, and the letters of the languages written in it."""

    encoding: str
    letters: frozenset[str] | None
    """The non-ASCII letters; `None` for an encoding without an alphabet."""
    first_difference: tuple[int, str, str, str] | None = None
    """The first cell that reads differently: line, column, guessed text, text in this encoding."""

    def is_plausible(self, raw: bytes) -> bool:
        """Return whether a cell may be a name in this encoding."""
        try:
            text = raw.decode(self.encoding)
        except UnicodeDecodeError:
            return False
        if self.letters is None:
            return is_east_asian(text)
        return all(map(self._has_word, filter(None, _BETWEEN_WORDS.split(text))))

    def _has_word(self, word: str) -> bool:
        if word.isascii():
            return True
        is_cased = word[1:].islower() or word.isupper() or len(word) == 1
        lowered = word.lower()
        has_letters = self.letters is not None and {*lowered} - _ASCII <= self.letters
        return is_cased and has_letters and not _NEVER.search(lowered)


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """A cell of a file that is plausible in other encodings as well."""

    line: int
    column: str
    cell: str
    """How it reads in the guessed encoding."""
    other_readings: dict[str, str]
    """How it reads in each other encoding."""


class AlternativeEncodings:
    """The encodings in which everything that was read so far is plausible as well."""

    def __init__(self, guessed: str) -> None:
        self._guessed = guessed
        self._remaining = [
            _AlternativeEncoding(encoding, frozenset(letters))
            for encoding, letters in _LETTERS.items()
        ]
        self._remaining += [_AlternativeEncoding(encoding, None) for encoding in _WIDE]

    def narrow(self, cell: str, line: int, column: str) -> None:
        """Drop the encodings in which a cell cannot be a name."""
        if cell.isascii() or not self._remaining:
            return
        raw = cell.encode(self._guessed)
        self._remaining = [rival for rival in self._remaining if rival.is_plausible(raw)]
        for rival in self._remaining:
            text = raw.decode(rival.encoding)
            if text != cell and rival.first_difference is None:
                rival.first_difference = line, column, cell, text

    def first_ambiguity(self) -> Ambiguity | None:
        """Return the first ambiguous cell of the file; `None` if there is none."""
        firsts = [
            (rival.first_difference, rival.encoding)
            for rival in self._remaining
            if rival.first_difference
        ]
        if not firsts:
            return None
        line, column, cell, _ = min(first for first, _ in firsts)
        others = {encoding: first[3] for first, encoding in firsts if first[2] == cell}
        return Ambiguity(line, column, cell, others)
