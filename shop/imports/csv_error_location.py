"""Finds where a CSV record is malformed, because Python's reader does not say so."""

from dataclasses import dataclass

QUOTE = '"'


@dataclass(frozen=True, slots=True)
class CsvPosition:
    """The field of a record in which reading ended."""

    index: int
    """Index of the field, from 0."""
    lines_before: int
    """Lines of the record before the one in which the field begins."""
    is_open: bool
    """Whether the field has an opening quotation mark whose closing one is missing or far away."""


def locate_error(record: str, delimiter: str, limit: int) -> CsvPosition:
    """Find the first field that is malformed or longer than the limit; otherwise the last."""
    index = begin = at = 0
    while at < len(record):
        at = _skip_blanks(record, at)
        if record[at : at + 1] == QUOTE:
            end = _find_closing_quote(record, at)
            if end is None or end - at - 1 > limit:
                return CsvPosition(index, _count_lines(record, begin), is_open=True)
            at = end + 1
            if at < len(record) and record[at] not in (delimiter, "\r", "\n"):
                break
        else:
            at = _find_field_end(record, at, delimiter)
            if at - begin > limit:
                break
        if at < len(record) and record[at] == delimiter:
            index, at = index + 1, at + 1
            begin = at
        else:
            break
    return CsvPosition(index, _count_lines(record, begin), is_open=False)


def _skip_blanks(record: str, at: int) -> int:
    """Skip the blanks before a field, as the CSV reader does."""
    while record[at : at + 1] == " ":
        at += 1
    return at


def _find_closing_quote(record: str, opening: int) -> int | None:
    """Return the position of the closing quotation mark; two in a row belong to the text."""
    at = record.find(QUOTE, opening + 1)
    while at >= 0:
        if record[at + 1 : at + 2] != QUOTE:
            return at
        at = record.find(QUOTE, at + 2)
    return None


def _find_field_end(record: str, at: int, delimiter: str) -> int:
    """Return where an unquoted field ends: at a delimiter, a line break, or the record's end."""
    ends = [record.find(character, at) for character in (delimiter, "\r", "\n")]
    return min((end for end in ends if end >= 0), default=len(record))


def _count_lines(record: str, end: int) -> int:
    before = record[:end]
    return before.count("\n") + before.replace("\r\n", "\n").count("\r")
