"""A search of the history reads it in steps, stops after a time, and goes on from there."""

import random
from datetime import timedelta

import pytest

from workshed import db
from workshed.jobs.dead import groups
from workshed.jobs.history import runs, search
from workshed.jobs.history.runs import RunFilter, RunPosition
from workshed.jobs.history.search import next_size, search_runs

WITHOUT_END_S = 600.0
INSERT = """
    INSERT INTO workshed.runs (recorded_at, message_id, generation, attempt, queue, actor, outcome,
                               reason, error_class, sent_at, ended_at, worker, origin, tags,
                               release, arguments, duration_s, parent)
    VALUES (date_trunc('day', workshed.now()) + %(at)s, %(message_id)s, 0, 1, %(queue)s, %(actor)s,
            %(outcome)s, '', %(error_class)s, now(), now(), 'web-1:77', 'send', %(tags)s, '',
            %(arguments)s, %(duration_s)s, %(parent)s)
"""
FILTERS = (
    RunFilter(),
    RunFilter(actor="a"),
    RunFilter(actor=("a", "b")),
    RunFilter(actor="missing"),
    RunFilter(actor=tuple("abdefghijklmnopqrstuvwxyz")),
    RunFilter(queue=("low",)),
    RunFilter(outcomes=("dead", "retry")),
    RunFilter(outcomes=("succeeded",)),
    RunFilter(error="shop.KeyError"),
    RunFilter(error=("KeyError", "shop.KeyError")),
    RunFilter(error_begins="Key"),
    RunFilter(error_begins="shop."),
    RunFilter(actor="a", outcomes=("dead",)),
    RunFilter(tag="rare"),
    RunFilter(arguments={"order_id": 7}),
    RunFilter(argument_value="7"),
    RunFilter(argument_value="null"),
    RunFilter(longer_than=timedelta(seconds=9)),
    RunFilter(parent="boss", tag="rare"),
)


@pytest.fixture
def conn(connect):
    """A connection in a transaction, as a page has it."""
    found = connect()
    runs.add_partitions(found)
    found.commit()
    return found


@pytest.fixture
def history(conn):
    """200 runs, of which many have been recorded at the same time; their rows, latest first."""
    rng = random.Random(7)  # noqa: S311 -- to repeat it
    for number in range(200):
        outcome = rng.choice(["succeeded", "succeeded", "retry", "dead", "snoozed"])
        failed = outcome in ("retry", "dead")
        values = {
            "at": timedelta(microseconds=rng.randrange(60)),
            "message_id": str(number),
            "queue": rng.choice(["default", "low"]),
            "actor": rng.choice("aabc"),
            "outcome": outcome,
            "error_class": rng.choice(["KeyError", "shop.KeyError", "OSError"]) if failed else None,
            "tags": rng.choice([[], [], ["rare"], ["order", "rare"]]),
            "arguments": rng.choice([None, "{}", '{"order_id": 7}', '{"a": 7, "b": null}']),
            "duration_s": rng.choice([None, 1.0, 10.0]),
            "parent": rng.choice([None, "boss"]),
        }
        conn.execute(INSERT, values)
    conn.commit()


def read_all(conn, filters, *, within_s, limit=7):
    """Return the ids that a search finds, look after look, as pages show them."""
    found, at, looks = [], None, 0
    while True:
        result = search_runs(conn, filters, before=at, limit=limit + 1, within_s=within_s)
        looks += 1
        shown = result.runs[:limit]
        found += [run.message_id for run in shown]
        if len(result.runs) > limit:
            at = RunPosition(shown[-1].recorded_at, shown[-1].id)
        elif result.stopped_at is not None:
            at = result.stopped_at
        else:
            return found, looks


@pytest.mark.parametrize("filters", FILTERS, ids=repr)
@pytest.mark.parametrize("size", [1, 3, 50])
def test_all_looks_together_find_each_run_once(conn, history, monkeypatch, filters, size):
    monkeypatch.setattr(search, "FIRST_STEP", size)
    every = [run.message_id for run in runs.list_runs(conn, filters, limit=1_000)]

    found, looks = read_all(conn, filters, within_s=0)

    assert found == every
    assert read_all(conn, filters, within_s=WITHOUT_END_S)[0] == every
    assert size > 1 or looks > len(every) / 7


def test_a_look_without_a_match_says_how_far_it_has_looked(conn, history, monkeypatch):
    monkeypatch.setattr(search, "FIRST_STEP", 5)
    times = [run.recorded_at for run in runs.list_runs(conn, limit=1_000)]

    result = search_runs(conn, RunFilter(tag="none"), limit=7, within_s=0)

    assert (result.runs, result.searched) == ([], 5)
    assert result.stopped_at == RunPosition.older_than(times[4])


def test_a_search_that_has_time_looks_through_everything(conn, history, monkeypatch):
    monkeypatch.setattr(search, "FIRST_STEP", 5)

    result = search_runs(conn, RunFilter(tag="none"), limit=7, within_s=WITHOUT_END_S)

    assert (result.runs, result.stopped_at) == ([], None)


@pytest.fixture
def slow_step(monkeypatch):
    """`slow_step(2)`: the second step and each after it take longer than they may."""
    read = search.oldest_within

    def slow_step(first):
        calls = iter(range(1, 1_000))

        def read_slowly(conn, filters, **options):
            if next(calls) >= first:
                conn.execute("SELECT pg_sleep(300)")
            return read(conn, filters, **options)

        monkeypatch.setattr(search, "FIRST_STEP", 5)
        monkeypatch.setattr(search, "LONGEST_S", 0.5)
        monkeypatch.setattr(search, "oldest_within", read_slowly)

    return slow_step


def test_a_step_that_takes_too_long_ends_a_look(conn, history, slow_step):
    """The next look begins with a small step again."""
    slow_step(2)

    result = search_runs(conn, RunFilter(tag="none"), limit=7, within_s=WITHOUT_END_S)

    assert result.searched == 5
    assert result.stopped_at is not None
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_later_step_may_take_no_longer_than_the_time_that_is_left(conn, history, monkeypatch):
    """How fast the first one was says little if the others read from a slow disk."""
    read, limits = search.oldest_within, []
    query = "SELECT current_setting('statement_timeout')::interval"

    def note_limit(*args, **options):
        limits.append(conn.execute(query).fetchone()[0].total_seconds())
        return read(*args, **options)

    monkeypatch.setattr(search, "FIRST_STEP", 5)
    monkeypatch.setattr(search, "oldest_within", note_limit)

    search_runs(conn, RunFilter(tag="none"), limit=7, within_s=WITHOUT_END_S)
    assert limits[:2] == [search.LONGEST_S, search.LONGEST_S]

    limits.clear()
    search_runs(conn, RunFilter(tag="none"), limit=7, within_s=0.9)
    assert limits[0] == search.LONGEST_S
    assert all(search.SHORTEST_S <= limit < 0.9 for limit in limits[1:])


def test_a_look_of_which_no_step_ends_fails(conn, history, slow_step):
    """Otherwise the next one would begin at the same place, for ever."""
    slow_step(1)

    with pytest.raises(db.errors.QueryCanceled):
        search_runs(conn, RunFilter(tag="none"), limit=7, within_s=WITHOUT_END_S)


def test_a_search_holds_no_snapshot_between_its_steps(conn, history, connect, monkeypatch):
    """VACUUM could not remove any row that was deleted meanwhile."""
    other, held = connect(autocommit=True), []
    read = search.oldest_within
    query = "SELECT backend_xmin, state FROM pg_stat_activity WHERE pid = %s"

    def note_snapshot(*args, **options):
        held.append(other.execute(query, (conn.info.backend_pid,)).fetchone())
        return read(*args, **options)

    monkeypatch.setattr(search, "FIRST_STEP", 5)
    monkeypatch.setattr(search, "oldest_within", note_snapshot)

    search_runs(conn, RunFilter(tag="none"), limit=7, within_s=WITHOUT_END_S)

    assert len(held) > 1
    assert set(held) == {(None, "idle in transaction")}


@pytest.mark.parametrize(
    ("size", "took_s", "wanted_s", "size_after"),
    [
        (2_000, 0.01, 0.02, 4_000),
        (2_000, 0.0, 1.0, 16_000),
        (100_000, 0.01, 1.0, search.LARGEST_STEP),
        (100_000, 1.0, 0.1, 10_000),
        (2_000, 10.0, 0.001, search.FIRST_STEP),
    ],
)
def test_a_step_is_as_large_as_the_time_allows(size, took_s, wanted_s, size_after):
    assert next_size(size, took_s, wanted_s) == size_after


def test_the_classes_of_dead_jobs_are_found(conn):
    query = """
        INSERT INTO workshed.dead (message_id, generation, attempt, queue, body, reason,
                                   error_class)
        SELECT n::text, 0, 1, 'default', '', '', (ARRAY['B', NULL, 'a.C', 'A'])[1 + n %% 4]
          FROM generate_series(1, 20) AS n
    """
    assert groups.list_classes(conn, limit=10) == []

    conn.execute(query.replace("%%", "%"))

    assert sorted(groups.list_classes(conn, limit=10)) == ["A", "B", "a.C"]
    assert len(groups.list_classes(conn, limit=2)) == 2
