"""The slots that a job requests of a limit, and the limits that a declaration refuses."""

from datetime import timedelta

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from workshed.jobs.locks.limits import SlotRequest
from workshed.middleware import Limit, Limits

SECOND = timedelta(seconds=1)


def sync(tenant_id, part="all"):
    """An actor's function."""


def actor(name="sync", limit=()):
    return dramatiq.Actor(
        sync,
        broker=StubBroker(middleware=[]),
        actor_name=name,
        queue_name="default",
        priority=0,
        options={"limit": limit},
    )


def ask(limit, *args, **kwargs):
    message = dramatiq.Message("default", "sync", args, kwargs, {})
    return limit.request(actor(), message)


def declare(*actors):
    limits = Limits()
    for one in actors:
        limits.before_declare_actor(one.broker, one)


def test_without_a_key_all_jobs_of_an_actor_have_one_limit():
    assert ask(Limit.concurrent(5), 7) == SlotRequest("sync:concurrent", "concurrent", 5)


def test_each_value_of_the_arguments_named_has_a_limit_of_its_own():
    limit = Limit.window(100, per=SECOND, key=["tenant_id"])

    assert ask(limit, 7) == ask(limit, tenant_id=7, part="b")
    assert ask(limit, 7) == SlotRequest("sync:window:[7]", "window", 100, SECOND)
    assert ask(limit, 8) != ask(limit, 7)


def test_a_key_and_a_share_that_may_reveal_redacted_arguments_are_hashes():
    limit = Limit.concurrent(1, key=["part"], share=["tenant_id"])
    secretive = actor()
    secretive.options["redact"] = ("tenant_id",)

    asked = limit.request(secretive, dramatiq.Message("default", "sync", ("4242",), {}, {}))

    assert asked.key == 'sync:concurrent:["all"]'
    assert asked.share.startswith("share:")
    assert "4242" not in asked.share


def test_a_function_makes_the_key():
    limit = Limit.concurrent(1, key=lambda tenant_id, **_: tenant_id // 10)

    assert ask(limit, 71).key == ask(limit, 79).key == "sync:concurrent:7"


def test_several_actors_can_share_a_limit_with_a_name():
    limit = Limit.concurrent(2, name="api")
    message = dramatiq.Message("default", "sync", (7,), {}, {})

    keys = {limit.request(actor(name), message).key for name in ("sync", "fetch")}

    assert keys == {"api:concurrent"}


def test_the_share_is_separate_from_the_key():
    found = ask(Limit.concurrent(9, share=["tenant_id"]), 7)

    assert (found.key, found.share) == ("sync:concurrent", "share:[7]")


def test_a_bucket_holds_its_rate_or_the_given_burst():
    assert ask(Limit.bucket(10, per=SECOND), 7).size == 10
    found = ask(Limit.bucket(10, per=SECOND, burst=20), 7)

    assert (found.size, found.span) == (20, SECOND / 10)


def test_a_rate_that_does_not_divide_its_span_is_rounded_down():
    """Rounded up, three times 0.333333 s would be less than a second."""
    found = ask(Limit.bucket(3, per=SECOND), 7)

    assert found.span * 3 >= SECOND


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Limit.concurrent(0), "0 is not a whole number from 1"),
        (lambda: Limit.concurrent(True), "True is not a whole number"),
        (lambda: Limit.concurrent(10**7), "is not a whole number from 1 to 1000000"),
        (lambda: Limit.window(5, per=timedelta()), "from 1 ms to a year"),
        (lambda: Limit.window(5, per=60), "per=60: must be a timedelta"),
        (lambda: Limit.bucket(5, per=timedelta(days=400)), "from 1 ms to a year"),
        (lambda: Limit.bucket(1.5, per=SECOND), "1.5 is not a whole number"),
        (lambda: Limit.bucket(5, per=SECOND, burst=0), "burst: 0 is not a whole number"),
        (lambda: Limit.concurrent(5, key=["a"], share=["a"]), "there is nothing to share"),
        (lambda: Limit.concurrent(5, share=[]), "there is nothing to share"),
        (lambda: Limit.concurrent(5, name=""), "must have 1 to 100 bytes"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_at_once(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (5, "limit=5 is not a Limit"),
        (Limit.concurrent(5, key=["tenant"]), "it has no argument 'tenant', only tenant_id, part"),
        (Limit.concurrent(5, share=["who"]), "it has no argument 'who'"),
        ([Limit.concurrent(5), Limit.concurrent(2, key=["part"])], "two limits are both sync:conc"),
    ],
)
def test_a_limit_that_does_not_fit_its_actor_is_refused_at_declaration(limit, said):
    with pytest.raises(ValueError, match=said):
        declare(actor(limit=limit))


def test_a_key_that_is_no_list_is_refused():
    with pytest.raises(TypeError, match="a list of argument names"):
        declare(actor(limit=Limit.concurrent(5, key="tenant_id")))


def test_two_limits_of_one_kind_differ_by_name():
    minute, hour = timedelta(minutes=1), timedelta(hours=1)

    declare(
        actor(limit=[Limit.window(10, per=minute), Limit.window(99, per=hour, name="sync-hour")])
    )


def test_actors_that_share_a_limit_must_declare_it_alike():
    """Otherwise each would overwrite the other's value."""
    with pytest.raises(ValueError, match=r"api:concurrent is 3 .* here, but 2 "):
        declare(
            actor("sync", Limit.concurrent(2, name="api")),
            actor("fetch", Limit.concurrent(3, name="api")),
        )
