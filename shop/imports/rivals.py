"""Other encodings in which a file reads as well as in the one that was guessed.

The places of single letters do not tell all languages apart: `Käthe` in Windows-1252 is `Kõthe` in
the DOS encoding CP850, which may be Estonian. The letters of a whole file do: the `ö` of `Jörg` is
no letter in CP850. Where every name of a file is one in both, only its owner knows.
"""

import re
from dataclasses import dataclass

from shop.imports.readings import is_east_asian

# Letters beyond ASCII of the languages that are written in an encoding, of all languages together:
# a list may have customers from several countries.
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
"""As in `Zoļ` and `Daniļl`, which is what CP775 makes of the one letter of Dutch names."""
_BETWEEN_WORDS = re.compile(r"[\s\-'\u2019.,@_+/()&]+")


@dataclass(slots=True)
class _Rival:
    """An encoding, and the letters of what is written in it."""

    encoding: str
    letters: frozenset[str] | None
    """Those beyond ASCII; `None` where it has no alphabet."""
    first: tuple[int, str, str, str] | None = None
    """The first cell that reads otherwise: its line, its column, as it was guessed, and as here."""

    def fits(self, raw: bytes) -> bool:
        """Return whether a cell may be a name that was written in it."""
        try:
            text = raw.decode(self.encoding)
        except UnicodeDecodeError:
            return False
        if self.letters is None:
            return is_east_asian(text)
        return all(map(self._has, filter(None, _BETWEEN_WORDS.split(text))))

    def _has(self, word: str) -> bool:
        if word.isascii():
            return True
        is_cased = word[1:].islower() or word.isupper() or len(word) == 1
        lowered = word.lower()
        has_letters = self.letters is not None and {*lowered} - _ASCII <= self.letters
        return is_cased and has_letters and not _NEVER.search(lowered)


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """A place of a file that reads as well in other encodings."""

    line: int
    column: str
    cell: str
    """As it reads in the encoding that was guessed."""
    others: dict[str, str]
    """How it reads in each of them."""


class Rivals:
    """The encodings in which everything that was read so far is a name as well."""

    def __init__(self, guessed: str) -> None:
        """Have all of them."""
        self._guessed = guessed
        self._left = [
            _Rival(encoding, frozenset(letters)) for encoding, letters in _LETTERS.items()
        ]
        self._left += [_Rival(encoding, None) for encoding in _WIDE]

    def read(self, cell: str, line: int, column: str) -> None:
        """Drop those in which a cell cannot be a name."""
        if cell.isascii() or not self._left:
            return
        raw = cell.encode(self._guessed)
        self._left = [rival for rival in self._left if rival.fits(raw)]
        for rival in self._left:
            text = raw.decode(rival.encoding)
            if text != cell and rival.first is None:
                rival.first = line, column, cell, text

    def found(self) -> Ambiguity | None:
        """Return the first place where the file is ambiguous; `None` where it is not."""
        firsts = [(rival.first, rival.encoding) for rival in self._left if rival.first]
        if not firsts:
            return None
        line, column, cell, _ = min(first for first, _ in firsts)
        others = {encoding: first[3] for first, encoding in firsts if first[2] == cell}
        return Ambiguity(line, column, cell, others)
