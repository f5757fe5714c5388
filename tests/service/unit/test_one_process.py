"""A worker whose instructions are counted: it is slow, and its intervals as much longer."""

import importlib

from bench.jobs.one_process import INTERVALS, SLOWDOWN, lengthen_intervals


def test_every_interval_of_a_busy_worker_is_lengthened(monkeypatch):
    """An interval that was renamed is found here, not after minutes of counting."""
    intervals = [
        (importlib.import_module(module), name)
        for module, names in INTERVALS.items()
        for name in names
    ]
    before = [getattr(*interval) for interval in intervals]
    for interval, value in zip(intervals, before, strict=True):
        monkeypatch.setattr(*interval, value)

    lengthen_intervals()

    assert [getattr(*interval) for interval in intervals] == [value * SLOWDOWN for value in before]
