"""The parts of the documents that come from the code are up to date."""

from datetime import timedelta

from console.reference import METRICS, README, configuration_table, metrics_table, written
from middleware import Callbacks, Discard, Retries, Stock


def test_the_readme_has_the_settings_as_they_are():
    text = README.read_text("utf-8")

    assert written(text) == text, "run `make docs`"
    assert configuration_table() in text


def test_the_page_of_metrics_has_them_as_they_are():
    text = METRICS.read_text("utf-8")

    assert written(text) == text, "run `make docs`"
    assert metrics_table() in text


def test_every_option_about_failures_is_on_its_page():
    page = (README.parent / "docs" / "retries.md").read_text("utf-8")

    for one in (Retries(3, timedelta()), Discard(), Callbacks(), Stock()):
        assert [name for name in sorted(one.actor_options) if name not in page] == []
