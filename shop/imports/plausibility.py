"""Whether a name that was decoded as Windows-1252 looks as if it was written in it.

Almost every byte is valid in Windows-1252, so a file in another encoding decodes without an error,
into names such as `Jiøí Dvoøák`. The positions of the letters give them away: `ø` is a
vowel, and no Danish name has it before another vowel. The rules are strict: a name that only might
be right is refused, because the owner can name the encoding, and a wrong name would go unnoticed.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

_VOWEL = "aeiouyàáâãäåæèéêëìíîïòóôõöøùúûüý"
_V = f"[{_VOWEL}]"
_C = f"[^{_VOWEL}^$]"
"""A consonant; `^` and `$` are the ends of a word."""
_ICELANDIC = r"(?=.*(?:d[oó]ttir|sson)\$|[uia]r\$)"

# Where each letter may stand, and the letters of other encodings that have the same byte: in
# Windows-1250 and ISO-8859-2 (Central Europe), 1254 (Turkish), 1257 (Baltic), CP850 and Mac Roman.
_PLACES = {
    "ä": rf"(?:(?<={_C})|(?<=[\^ä]))ä(?!o|e(?!n|\$))",  # 850: õ, 852: ń
    "ö": r"ö",
    "ü": r"ü",
    "ß": rf"(?<={_V})ß",
    "é": r"é",
    "ó": r"ó",
    "á": rf"(?:(?<={_C})|(?<=[\^y])|(?<=[ieou])(?=á[nr]))á",  # 850: ß, 1257: į
    "í": rf"(?:(?<={_C})|(?<=[\^aouú]))í(?!i|e(?![lz]))",  # 1257: ķ
    "ú": rf"(?:(?<={_C})|(?<=[\^aio]))ú",
    "à": rf"(?<={_C})à\$|(?<=m)às\$",  # 1250: ŕ, 1257: ą
    "è": (
        rf"(?:(?<={_C})|(?<=[iu]))è(?:[dglmnrstvz]{{1,2}}|gu)[eo]|(?<={_C})ès\$|(?<=su)è\$"
    ),  # 1250 and 1257: č
    "ê": r"(?<=h)ên|(?<=v)êq|(?<=n)ês\$|(?<=it)ê\$|(?<=au)ê\$",  # 1250: ę
    "ë": rf"(?<=[aeiou])ë(?:{_C}|[y$])",  # 1257: ė
    "â": r"(?<=[\^cht])â[nmt]",  # 1257: ā
    "î": r"(?<=[aeo])î[nt]",  # 1257: ī
    "ï": r"(?<=[aeo])ï[cdlnrsz]",  # 1250: ď, 1257: ļ
    "ô": rf"(?<={_C})ô[clmnprst]",
    "ò": rf"(?<={_C})ò\$",  # 1250: ň, 1257: ņ
    "ã": r"ã[oe]|(?<=au)ã\$",  # 1250: ă
    "õ": r"ões?\$",  # 1250: ő
    "ñ": rf"(?<=[\^{_VOWEL}])ñ{_V}",  # 1250: ń
    "ç": r"(?<=[nr])ç[aouã]|(?<=ga)ça|ç[ãõ]|(?<=\^)ç[aeiouö]",  # 1257: ē, 852: š
    "å": rf"(?:(?<={_C})|(?<=\^))å{_C}",  # 1250: ĺ
    "æ": r"(?<=[bdfghjlmnprstv])æ[bdfgklmnrstv]",  # 1250: ć, 1257: ę
    "ø": rf"(?:(?<={_C})|(?<=\^))ø{_C}|(?<=\^)ø(?:y|iv)|(?<=b)øe\$",  # 1250: ř
    "ð": _ICELANDIC + "ð",  # 1250: đ, 1254: ğ, 1257: š
    "þ": r"(?<=\^)þ[oó]r|(?<=.)þór\$",  # 1254: ş, 1257: ž
    "ý": r"(?=.*(?:dóttir|sson)\$)ý",  # 1254: i without its dot
    "œ": r"œu",  # 1250: ś
    "š": rf"(?<=[aeouyáéóú])š(?:{_V}|\$)|(?<=i)š{_V}|(?<=\^)š[{_VOWEL}klmptv]",  # Mac: ö
    "ž": rf"(?:(?<={_V})|(?<=\^))ž{_V}",  # Mac: û, and é for the capital
}
_RULES = {letter: re.compile(place) for letter, place in _PLACES.items()}
_PAIRS = frozenset(
    ("çã", "çõ", "ää", "öö", "üü", "äß", "öß", "üß", "áñ", "íñ", "óñ", "úñ", "ñá", "ñé", "ñó")
)
_STRAY_APOSTROPHE = re.compile(r"(?<![^\W\d_])\u2019|\u2019(?![A-ZÀ-ÖØ-Þ])")
"""Matches the apostrophe in `Garc'a`, but not in `O'Brien` or `L'Écuyer`."""
_BETWEEN_WORDS = re.compile(r"[\s\-'\u2019.,@_+/()&]+")
_NO_BREAK_SPACE = "\u00a0"


def is_western(text: str) -> bool:
    """Return whether a name or an address reads like Western European text."""
    return text.isascii() or (_has_plain_marks(text) and all(map(_is_western, _words(text))))


def _has_plain_marks(text: str) -> bool:
    """Return whether no non-breaking space (á in DOS) or stray quote (í in Mac Roman) occurs."""
    return _NO_BREAK_SPACE not in text and not _STRAY_APOSTROPHE.search(text)


def _words(text: str) -> Iterator[str]:
    return filter(None, _BETWEEN_WORDS.split(text))


@lru_cache(maxsize=10_000)
def _is_western(word: str) -> bool:
    """Judge one word; cached, because names repeat."""
    if word.isascii():
        return True
    high = [at for at, letter in enumerate(word) if not letter.isascii()]
    if len(high) * 2 > len(word) + 1 or not _is_cased(word, high):
        return False
    if any(b - a == 1 and word[a : b + 1].lower() not in _PAIRS for a, b in pairwise(high)):
        return False
    lowered = f"^{word.lower()}$"
    return all(
        (rule := _RULES.get(lowered[at + 1])) is not None and rule.match(lowered, at + 1)
        for at in high
    )


def _is_cased(word: str, high: list[int]) -> bool:
    """Return whether the non-ASCII letters are capitals where those around them are."""
    if not word[0].isascii() and word[0].islower():
        return False
    around = [letter for letter in word[1:] if letter.isascii() and letter.isalpha()]
    inner = [word[at] for at in high if at and word[at] != "ß"]
    if not around:
        return not any(letter.isupper() for letter in inner)
    if all(letter.isupper() for letter in around):
        return all(letter.isupper() for letter in inner)
    return not any(letter.isupper() for letter in inner)
