"""How a file is to be read, as its owner specifies it."""

import codecs
from dataclasses import dataclass

from shop.imports.errors import LayoutError

_NOT_OF_FILES = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined"})
# Text that programs label with these names has letters that only the wider encoding has.
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
    """What the owner specifies; everything else is detected."""

    encoding: str | None = None
    """As Python or a browser names it, for example `windows-1250` or `shift_jis`."""
    email: str | None = None
    """The address column."""
    name: str | None = None
    """The name column, or a template of several, for example `{first_name} {last_name}`."""

    def __post_init__(self) -> None:
        """Raise `LayoutError` for an encoding that does not exist."""
        if self.encoding is not None:
            find_codec(self.encoding)


DETECT_ALL = Layout()


def find_codec(encoding: str) -> str:
    """Return the Python codec that reads an encoding; raises `LayoutError`."""
    try:
        found = codecs.lookup(encoding.strip())
        "".encode(found.name)  # refuses codecs that do not decode to text, such as `base64`
    except (LookupError, ValueError, UnicodeError):
        raise LayoutError(f"the encoding {encoding[:100]!r} is not known") from None
    if found.name in _NOT_OF_FILES:
        raise LayoutError(f"no file is written in the encoding {encoding!r}")
    return _WIDER.get(found.name, found.name)


def display_name(found: str) -> str:
    """Return the common name of a codec."""
    number = found.removeprefix("cp")
    return f"windows-{number}" if found.startswith("cp125") else found
