"""A bar shows each outcome, however rare it is."""

from hypothesis import given
from hypothesis import strategies as st

from workshed.console.web.view.bars import SMALLEST_PERCENT, divide_bar

COUNTS = st.dictionaries(
    st.sampled_from(["succeeded", "discarded", "cancelled", "dead"]), st.integers(0, 10**7)
)


def test_each_part_is_as_wide_as_its_share():
    parts = divide_bar({"succeeded": 6, "cancelled": 0, "dead": 2}, 10)

    assert [(part.name, part.start, part.width) for part in parts] == [
        ("succeeded", 0.0, 60.0),
        ("dead", 60.0, 20.0),
    ]


@given(COUNTS, st.integers(0, 10**7))
def test_every_part_can_be_seen_and_all_fit(counts, pending):
    parts = divide_bar(counts, sum(counts.values()) + pending)

    assert [part.count for part in parts] == [count for count in counts.values() if count]
    assert all(part.width >= SMALLEST_PERCENT for part in parts)
    assert sum(part.width for part in parts) <= 100.1
