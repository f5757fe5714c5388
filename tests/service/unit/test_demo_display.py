"""The tables of the demo on terminals of all widths."""

import io

import pytest
from rich.console import Console

from shop.demo.display import print_results
from shop.demo.results_table import ResultRow

ROWS = [
    ResultRow("welcome mails", 9, 1, 12, "0.4 s after the sign-up", "9 in the mailbox"),
    ResultRow("pictures", 6, 2, 0, "0.3 s each", "14 contents in the blob store"),
    ResultRow("report mails", 3, 0, 1, "0.8 s for 30 days of orders", "3 in the mailbox"),
    ResultRow("jobs of full queues", 123_456, 654, 321, "1,250 per second", "5 queues"),
]


def printed(width):
    """Return the lines of the table on a terminal of this width."""
    out = io.StringIO()
    print_results(Console(file=out, width=width), ROWS)
    return out.getvalue()


@pytest.mark.parametrize("width", [50, 60, 72, 80, 100, 132])
def test_no_number_is_lost(width):
    text = printed(width)

    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for row in ROWS:
        (line,) = [line for line in text.splitlines() if line.strip().startswith(row.label)]
        assert line.split()[len(row.label.split()) :][:3] == [
            str(row.done), str(row.refused), str(row.retried)
        ]  # fmt: skip


def test_a_narrow_terminal_loses_the_last_column_first():
    assert "found again" in printed(132)
    assert "how fast" in printed(80)
    assert "found again" not in printed(80)
