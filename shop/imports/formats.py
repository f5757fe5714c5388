"""Files that are not CSV, recognised by their first bytes, each with advice on what to do."""

import re

HEAD_BYTES = 1_024
"""How much of a file is inspected."""
_MARKS_AND_BLANKS = b"\xef\xbb\xbf \t\r\n\f\v"
_PDF = b"%PDF-"
_AS_CSV = "save it as CSV UTF-8"
_SIGNATURES = (
    (b"PK\x03\x04", f"it is a workbook of a spreadsheet, or a ZIP archive; {_AS_CSV}"),
    (b"\xd0\xcf\x11\xe0", f"it is a workbook of a spreadsheet; {_AS_CSV}"),
    (_PDF, f"it is a PDF; open the table it was made from, and {_AS_CSV}"),
    (b"{\\rtf", f"it is a document in RTF; copy its table into a spreadsheet, and {_AS_CSV}"),
    (b"\x89PNG\r\n", "it is an image (PNG), not a CSV"),
    (b"\xff\xd8\xff", "it is an image (JPEG), not a CSV"),
    (b"\xfd7zXZ\x00", "it is packed with xz; unpack it first, or use gzip"),
    (b"\x28\xb5\x2f\xfd", "it is packed with zstd; unpack it first, or use gzip"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive; unpack it first"),
    (b"Rar!\x1a\x07", "it is a RAR archive; unpack it first"),
    (b"SQLite format 3\x00", "it is a database of SQLite; export its table as CSV UTF-8"),
    (b"PAR1\x15", "it is a file of Parquet; export it as CSV UTF-8"),
)
_PATTERNS = (
    (
        re.compile(rb"<(?:!doctype\s+html|html|head|body|table|meta|script)\b", re.IGNORECASE),
        f"it is a web page (HTML), perhaps one that asks to log in; {_AS_CSV}",
    ),
    (re.compile(rb"<\?xml\b"), f"it is XML; open it in a spreadsheet, and {_AS_CSV}"),
    (re.compile(rb"\[\s*[\[{\"\]]|\{\s*[\"}]"), "it is JSON; export it as CSV UTF-8"),
    (re.compile(rb"BZh[1-9]1AY&SY"), "it is packed with bzip2; unpack it first, or use gzip"),
    (re.compile(rb"(?s:.{257})ustar"), "it is an archive (tar); import the CSV that is in it"),
)


def find_format_problem(head: bytes) -> str | None:
    """Return what a file is and what to do, if it is certainly not CSV."""
    text = head.lstrip(_MARKS_AND_BLANKS)
    for beginning, reason in _SIGNATURES:
        if head.startswith(beginning) or (beginning == _PDF and text.startswith(beginning)):
            return reason
    return next((reason for pattern, reason in _PATTERNS if pattern.match(text)), None)
