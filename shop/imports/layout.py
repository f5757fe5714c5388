"""How the owner of a file says that it is to be read."""

import codecs
from dataclasses import dataclass

from shop.imports.errors import LayoutError

_NOT_OF_FILES = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined"})
# What programs write under these names has letters that the narrower standard has not.
_WIDER = {
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "big5": "cp950",
    "tis-620": "cp874",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What is said of a file; what is not said is found in it."""

    encoding: str | None = None
    """As Python or a browser names it: `windows-1250`, `shift_jis`."""
    email: str | None = None
    """The column of the address."""
    name: str | None = None
    """The column of the name, or several, as in `{first_name} {last_name}`."""

    def __post_init__(self) -> None:
        """Raise `LayoutError` for an encoding that does not exist."""
        if self.encoding is not None:
            codec(self.encoding)


AS_FOUND = Layout()


def codec(encoding: str) -> str:
    """Return the codec of Python that reads an encoding; raises `LayoutError`."""
    try:
        found = codecs.lookup(encoding.strip())
        "".encode(found.name)  # refuses what makes no text, as `base64` does
    except (LookupError, ValueError, UnicodeError):
        raise LayoutError(f"the encoding {encoding[:100]!r} is not known") from None
    if found.name in _NOT_OF_FILES:
        raise LayoutError(f"no file is written in the encoding {encoding!r}")
    return _WIDER.get(found.name, found.name)


def label(found: str) -> str:
    """Return the name by which people know a codec."""
    number = found.removeprefix("cp")
    return f"windows-{number}" if found.startswith("cp125") else found
