"""Keep spreadsheets from computing what strangers wrote into a cell.

Source: OWASP, CSV Injection.
"""

import re

# A cell begins where it does, and after whatever some spreadsheet takes for the end of one.
BEGIN = r"(?<![^;,\t|\r\n])"
FORMULA = r"(?='*[^\S\t\r\n]*[=+\-@\uff1d\uff0b\uff0d\uff20])"
BLANK = r"(?='*[\t\r\n])"
_AT_RISK = re.compile(rf"{BEGIN}{FORMULA}|\A{BLANK}")
_SHIELDED = re.compile(rf"{BEGIN}'{FORMULA}|\A'{BLANK}")


def shielded(cell: str) -> str:
    """Write an apostrophe before each beginning of a formula."""
    return _AT_RISK.sub("'", cell)


def unshielded(cell: str) -> str:
    """Take those of `shielded` away."""
    return _SHIELDED.sub("", cell)
