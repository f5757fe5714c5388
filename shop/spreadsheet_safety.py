"""Keep spreadsheets from running formulas that untrusted users wrote into a cell.

Source: OWASP, CSV Injection.
"""

import re

# The beginning of a cell, also after each character that some spreadsheet takes for a separator.
BEGIN = r"(?<![^;,\t|\r\n])"
FORMULA = r"(?='*[^\S\t\r\n]*[=+\-@\uff1d\uff0b\uff0d\uff20])"
BLANK = r"(?='*[\t\r\n])"
_UNESCAPED = re.compile(rf"{BEGIN}{FORMULA}|\A{BLANK}")
_ESCAPED = re.compile(rf"{BEGIN}'{FORMULA}|\A'{BLANK}")


def escape_formula(cell: str) -> str:
    """Put an apostrophe in front of everything that looks like a formula."""
    return _UNESCAPED.sub("'", cell)


def unescape_formula(cell: str) -> str:
    """Remove the apostrophes that `escape_formula` added."""
    return _ESCAPED.sub("", cell)
