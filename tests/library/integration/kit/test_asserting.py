"""What a test may assert about sent jobs, and the message it gets when it is wrong."""

import inspect
from datetime import UTC, datetime, timedelta
from unittest.mock import ANY

import pytest

from workshed import broker, db


def failure(check, *args, **kwargs):
    """Return the message of a check that fails."""
    with pytest.raises(AssertionError) as failed:
        check(*args, **kwargs)
    return str(failed.value)


def lines(text):
    return inspect.cleandoc(text)


@pytest.fixture
def remind(actor):
    return actor(actor_name="remind", queue_name="emails")(lambda user_id: None)


def test_an_argument_by_position_and_by_name_are_the_same(jobs, greet):
    greet.send(7, greeting="hi")

    jobs.assert_enqueued(greet, 7, "hi")
    jobs.assert_enqueued(greet, user_id=7, greeting="hi")
    jobs.assert_enqueued(greet, 7, greeting="hi")


def test_a_default_is_the_same_given_or_not(jobs, greet):
    greet.send(7)
    greet.send(8, "hello")

    jobs.assert_enqueued(greet, 7, "hello")
    jobs.assert_enqueued(greet, 8)


def test_without_arguments_any_match(jobs, greet, remind):
    greet.send(7)

    jobs.assert_enqueued(greet)
    jobs.refute_enqueued(remind)
    with pytest.raises(AssertionError):
        jobs.refute_enqueued(greet)


@pytest.mark.parametrize("matcher", [ANY, pytest.approx(7.01, abs=0.1)])
def test_an_argument_may_be_a_matcher(jobs, greet, matcher):
    greet.send(7, "hi")

    jobs.assert_enqueued(greet, matcher, "hi")
    with pytest.raises(AssertionError):
        jobs.assert_enqueued(greet, matcher, "hello")


def test_a_matching_job_is_returned(jobs, greet):
    message = greet.send(7)

    assert jobs.assert_enqueued(greet, 7).message == message


def test_queue_and_priority_are_compared(jobs, remind):
    message = remind.message_with_options(args=(7,), broker_priority=4)
    broker.enqueue(message)

    jobs.assert_enqueued(remind, 7, queue="emails", priority=4)
    jobs.refute_enqueued(remind, 7, queue="default")
    jobs.refute_enqueued(remind, 7, priority=2)


def test_the_delay_is_the_one_it_was_sent_with(jobs, greet):
    greet.send_with_options(args=(7,), delay=timedelta(days=3))

    jobs.assert_enqueued(greet, in_=timedelta(days=3))
    jobs.assert_enqueued(greet, in_=timedelta(days=2), within=timedelta(days=1))
    jobs.refute_enqueued(greet, in_=timedelta(days=3, seconds=2))


def test_the_time_is_the_one_it_is_due(jobs, greet):
    greet.send_with_options(args=(7,), delay=timedelta(days=3))
    due_at = datetime.now(UTC) + timedelta(days=3)

    jobs.assert_enqueued(greet, at=due_at, within=timedelta(seconds=5))
    jobs.refute_enqueued(greet, at=due_at - timedelta(minutes=1))


def test_a_time_without_a_zone_is_refused(jobs, greet):
    with pytest.raises(ValueError, match="`at` needs a time zone: 2026-01-01T00:00:00"):
        jobs.assert_enqueued(greet, at=datetime(2026, 1, 1))  # noqa: DTZ001


def test_arguments_that_do_not_fit_raise_a_type_error(jobs, greet):
    with pytest.raises(TypeError, match=r"greet\(user_id, greeting='hello'\): .*'name'"):
        jobs.refute_enqueued(greet, 7, name="Ada")


def test_a_failure_shows_the_expected_the_closest_and_all_jobs(jobs, greet, remind):
    greet.send(7)
    remind.send_with_options(args=(7,), delay=timedelta(days=3))
    remind.send_with_options(args=(9,), delay=timedelta(hours=1.5), broker_priority=2)
    greet.send(1)
    jobs.perform(greet, 4, "hi")

    said = failure(jobs.assert_enqueued, remind, 8, in_=timedelta(days=3))

    assert said == lines("""
        remind(user_id=8)  in 3d is not enqueued

        wanted   remind(user_id=8)  in 3d
        closest  remind(7)                 but user_id is 7

        enqueued (4):
          greet(7)   default  now
          greet(1)   default  now
          remind(9)  emails   in 1h30m  priority 2
          remind(7)  emails   in 3d
        has run (1):
          greet(4, 'hi')  succeeded
    """)


def test_a_failure_names_everything_that_differs(jobs, remind):
    remind.send_with_options(args=(7,), delay=timedelta(seconds=90))
    at = datetime(2040, 1, 1, tzinfo=UTC)

    said = failure(
        jobs.assert_enqueued, remind, 8, queue="critical", priority=4, in_=timedelta(0), at=at
    )

    closest = said.splitlines()[3].split("  but ")[1]
    assert closest.startswith("user_id is 7, on emails, priority None, in 1m30s, at 20")


def test_a_failure_where_nothing_was_sent_says_so(jobs, greet):
    assert failure(jobs.assert_enqueued, greet) == lines("""
        greet(…) is not enqueued

        wanted  greet(…)

        enqueued: none
    """)


@pytest.mark.parametrize(("times", "said"), [(0, "0 times"), (1, "once"), (3, "3 times")])
def test_the_number_of_times_is_exact(jobs, greet, times, said):
    greet.send(7)
    greet.send(7)
    greet.send(8)

    jobs.assert_enqueued(greet, 7, times=2)
    title = failure(jobs.assert_enqueued, greet, 7, times=times).splitlines()[0]
    assert title == f"greet(user_id=7, greeting='hello') is enqueued 2 times, not {said}"


def test_zero_times_can_be_asserted(jobs, greet):
    assert jobs.assert_enqueued(greet, times=0) is None


def test_an_unexpected_job_is_shown_among_all(jobs, greet, remind):
    greet.send(7)
    remind.send(7)

    assert failure(jobs.refute_enqueued, greet, ANY) == lines("""
        greet(user_id=<ANY>, greeting='hello') is enqueued once, and should not be

        enqueued (2):
          greet(7)   default  now
          remind(7)  emails   now
    """)


def test_a_job_whose_arguments_do_not_fit_does_not_match(greet, jobs):
    with db.transaction() as conn:
        # As if its worker were of a release that declares no arguments, which are then not checked.
        conn.execute("UPDATE workshed.actors SET arguments = NULL")
        conn.execute("SELECT workshed.send('greet', '[1, 2, 3]')")

    said = failure(jobs.assert_enqueued, greet, 1).splitlines()

    assert said[3] == (
        "closest  greet(1, 2, 3)                      "
        "but greet(user_id, greeting='hello'): too many positional arguments"
    )


def test_of_many_jobs_the_first_are_listed(jobs, greet, remind):
    broker.enqueue_many([greet.message(n) for n in range(100)])

    said = failure(jobs.assert_enqueued, remind).splitlines()

    assert said[4] == "enqueued (100):"
    assert said[-1] == "  … and 80 more"
