"""The parts of the documents that come from the code are up to date."""

from console.reference import README, configuration_table, written


def test_the_readme_has_the_settings_as_they_are():
    text = README.read_text("utf-8")

    assert written(text) == text, "run `make docs`"
    assert configuration_table() in text
