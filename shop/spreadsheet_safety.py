"""Keep spreadsheets from running formulas that untrusted users wrote into a cell.

Source: OWASP, CSV Injection.
"""

import re

# The beginning of a cell, also after each character that some spreadsheet takes for a separator.
BEGIN = r"(?<![^;,\t|\r\n])"
FORMULA = r"(?='*[^\S\t\r\n]*[=+\-@\uff1d\uff0b\uff0d\uff20])"
BLANK = r"(?='*[\t\r\n])"
_AT_RISK = re.compile(rf"{BEGIN}{FORMULA}|\A{BLANK}")
_SHIELDED = re.compile(rf"{BEGIN}'{FORMULA}|\A'{BLANK}")


def shielded(cell: str) -> str:
    """Put an apostrophe in front of everything that looks like a formula."""
    return _AT_RISK.sub("'", cell)


def unshielded(cell: str) -> str:
    """Remove the apostrophes that `shielded` added."""
    return _SHIELDED.sub("", cell)
