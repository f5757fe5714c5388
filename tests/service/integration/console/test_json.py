"""The output of `--json` is documented in `docs/command-line.md`; programs rely on it."""

import pytest

from tests.promises import keys, promised

ELSEWHERE = {"dev", "import CSV --owner ADDRESS", "migrate"}
"""Commands that other tests run.

They need servers (`tests/library/e2e/test_dev.py`), a worker (`test_imports_page.py`), or an empty
database (below).
"""
ROWS = [row for row in promised() if row[0] not in ELSEWHERE]


@pytest.mark.sample(16)
@pytest.mark.parametrize(("words", "many", "names"), ROWS, ids=[words for words, _, _ in ROWS])
def test_the_documented_table_matches_the_output(workshed, something, words, many, names):
    """A renamed key breaks users' scripts."""
    found = workshed(*something(words), "--json").json

    assert isinstance(found, list) == many
    assert list(found[0] if many else found) == names


def test_migrations_list_applied_and_pending_ones(workshed, env, empty_database_url):
    env(DATABASE_URL=empty_database_url)

    pending = workshed("migrate", "--status", "--json").json
    applied = workshed("migrate", "--json").json

    assert {one["applied_at"] for one in pending} == {None}
    assert list(applied[0]) == keys("migrate")
    assert [one["name"] for one in applied] == [one["name"] for one in pending]
    assert all(one["applied_at"] for one in applied)
    assert workshed("migrate", "--json").json == []


def test_a_batch_of_which_no_job_is_dead_is_json_too(workshed, something):
    workshed(*something("dead discard ID --yes"))

    assert workshed(*something("batches retry BATCH --yes"), "--json").json == []
