"""Commands of the service report common failures in the same way as all others."""

import pytest

from tests.library.integration.console import test_everywhere as every

COMMANDS = [
    ("campaigns",),
    ("campaigns", "start", "1", "--yes"),
    ("campaigns", "cancel", "1", "--yes"),
    ("sync",),
    ("sync", "release", "crm"),
    ("storage", "import-existing", "--yes"),
    ("import", __file__, "--owner", "1"),
]


@pytest.mark.sample(3)
@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_postgresql_away(workshed, env, words):
    every.test_postgresql_away(workshed, env, words)


@pytest.mark.sample(3)
@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_database_that_was_not_migrated(workshed, env, empty_database_url, words):
    every.test_a_database_that_was_not_migrated(workshed, env, empty_database_url, words)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_environment_that_cannot_be_read(workshed, env, words):
    every.test_an_environment_that_cannot_be_read(workshed, env, words)
