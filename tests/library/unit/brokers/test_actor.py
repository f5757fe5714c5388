"""`workshed.actor`: its options, `set`, `piped`, `around_perform=` and `broker.defaults`."""

import asyncio
import contextlib
import inspect
from datetime import UTC, datetime, timedelta

import dramatiq
import pytest
from dramatiq.middleware import MiddlewareError

import workshed
from workshed import Limit, Queue, RetryOn, Unique
from workshed.duration import ms
from workshed.errors import SettingsError, WorkshedError
from workshed.middleware import ActorOptions, MessageOptions
from workshed.middleware.runtime.unsupported_options import UNSUPPORTED_OPTIONS
from workshed.settings import Settings
from workshed.transport.actors.typed_actor import Actor
from workshed.transport.build import build_broker
from workshed.transport.errors import (
    InvalidArgumentError,
    InvalidOptionError,
    UndeclaredQueueError,
)
from workshed.transport.messages.envelope import OPTIONS

SECOND = timedelta(seconds=1)


class Tenants(dramatiq.Middleware):
    """An application's own."""

    @property
    def actor_options(self):
        return {"tenant"}


@pytest.fixture
def stub():
    queues = [Queue("default"), Queue("mails", levels=4), Queue("slow")]
    return build_broker(Settings(broker_url="stub://"), {queue.name: queue for queue in queues})


@pytest.fixture
def actor(stub):
    """Declare an actor on the stub: `@actor(queue="mails", …)`."""
    return lambda **options: workshed.actor(broker=stub, **options)


@pytest.fixture
def greet(actor):
    @actor()
    def greet(user_id: int, *, loud: bool = False) -> str:
        return f"{user_id} {loud}"

    return greet


# Declaring.


def test_it_is_an_actor_of_dramatiq_with_options_in_milliseconds(stub, actor):
    rule = RetryOn(OSError)

    @actor(
        queue="mails",
        name="say",
        time_limit=timedelta(minutes=1),
        hard_time_limit=timedelta(minutes=2),
        min_backoff=timedelta(),
        max_backoff=SECOND,
        result_ttl=timedelta(hours=1),
        expires=timedelta(hours=2),
        retry_on=rule,
        store_results=True,
    )
    def greet():
        """Greet."""

    assert isinstance(greet, Actor)
    assert isinstance(greet, dramatiq.Actor)
    assert stub.get_actor("say") is greet
    assert (greet.queue_name, greet.fn.__doc__) == ("mails", "Greet.")
    assert (
        greet.options.items()
        >= {
            "time_limit": 60_000,
            "hard_time_limit": 120_000,
            "min_backoff": 0,
            "max_backoff": 1_000,
            "result_ttl": 3_600_000,
            "expires": timedelta(hours=2),
            "retry_on": rule,
            "store_results": True,
        }.items()
    )


def test_every_option_of_the_middleware_is_a_keyword(stub):
    """An option that is not listed could be given only to dramatiq's decorator."""
    own = {"priority", "around_perform"}
    assert ActorOptions.__optional_keys__ - own == stub.actor_options - set(UNSUPPORTED_OPTIONS)


def test_every_option_that_a_sender_may_give_a_message_is_a_keyword_of_set():
    kept_by_workshed = {
        *("attempt", "failures", "failing_since", "generation", "record_missing_since"),
        *("unknown_actor_since", "origin", "pipe_target", "group_completion_uuid"),
        *("group_completion_callbacks", "awaited", "due", "scheduled_for", "redriven", "batch"),
        *("callback_of", "parent", "trace", "awaiting_unique_key", "arguments_version"),
    }
    wanted = {*OPTIONS} - kept_by_workshed - {"broker_priority"} | {"priority"}
    assert wanted == MessageOptions.__optional_keys__


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"uniqe": Unique()}, r"^greet: there is no option 'uniqe' \(did you mean 'unique'\?\)$"),
        ({"time_limt": SECOND}, "did you mean 'time_limit'"),
        ({"queue_name": "mails"}, "there is no option 'queue_name'"),
        ({"time_limit": 60}, r"time_limit=60 is not a timedelta; write .*\(seconds=…\), or mil"),
        ({"time_limit": ms(minutes=1)}, "time_limit=60000 is not a timedelta; write"),
        ({"time_limit": timedelta()}, "time_limit=.* is not above zero"),
        ({"hard_time_limit": 90_000}, "hard_time_limit=90000 is not a timedelta"),
        ({"hard_time_limit": SECOND}, "hard_time_limit=1000 is not .* above the time limit"),
        ({"min_backoff": "15s"}, "min_backoff='15s' is not a timedelta$"),
        ({"min_backoff": -SECOND}, "min_backoff=.* is not above zero"),
        ({"max_backoff": 1.5}, "max_backoff=1.5 is not a timedelta"),
        ({"max_backoff": timedelta(days=99)}, "max_backoff=.* is not a whole number from 0"),
        ({"result_ttl": 60}, "result_ttl=60 is not a timedelta"),
        ({"expires": 60}, "expires=60 is not a timedelta"),
        ({"once": 1}, "once=1 is neither True nor False"),
        ({"store_results": "yes"}, "store_results='yes' is neither True nor False"),
        ({"pipe_ignore": None}, "pipe_ignore=None is neither True nor False"),
        ({"max_retries": "3"}, "max_retries='3' is not a whole number"),
        ({"retry_on": OSError}, "retry_on=.*: write RetryOn"),
        ({"discard_on": "OSError"}, "'OSError' is not an exception class"),
        ({"unique": True}, r"unique=True is not a Unique\(…\)"),
        ({"limit": 5}, r"limit=5 is not a Limit"),
        ({"periodic": "09:00"}, "periodic='09:00'"),
        ({"tags": "import"}, "tags must be a list"),
        ({"redact": "token"}, "redact='token' is not a list of names"),
        ({"on_dead": 7}, "on_dead=7 is neither an actor nor its name"),
        ({"retry_when": True}, "retry_when=True is not a function"),
        ({"after_discard": True}, "after_discard=True is not a function"),
        ({"around_perform": 7}, "around_perform=7 is not a function"),
        ({"priority": True}, "priority=True is not a whole number from 0 to 255"),
        ({"priority": 1}, "priority=1: the queue 'default' has 0 levels"),
        ({"priority": 5, "queue": "mails"}, "priority=5: the queue 'mails' has 4 levels"),
        ({"queue": 7}, "queue=7 is neither a name nor a Queue"),
        ({"max_age": 1000}, "there is no option 'max_age'"),
        ({"middleware_options": {"once": True}}, "middleware_options: 'once' is not an option"),
    ],
)
def test_a_wrong_option_is_refused_where_it_is_written(options, said, stub, actor):
    def greet():
        pass

    with pytest.raises((ValueError, WorkshedError, MiddlewareError), match=said):
        actor(**options)(greet)

    assert stub.actors == {}


def test_it_is_always_called():
    with pytest.raises(TypeError, match=r"write @actor\(\)"):
        workshed.actor(lambda: None)


def test_options_of_the_applications_own_middleware_have_a_place(stub, actor):
    stub.add_middleware(Tenants())

    greet = actor(middleware_options={"tenant": "acme"})(lambda: None)

    assert greet.options["tenant"] == "acme"
    with pytest.raises(ValueError, match=r"'tenants' is not an option .* which adds tenant$"):
        actor(middleware_options={"tenants": "acme"}, name="other")(lambda: None)


def test_a_queue_is_declared_with_its_first_actor(stub, actor):
    invoices = Queue("invoices", levels=3)

    greet = actor(queue=invoices, priority=3, name="one")(lambda: None)
    actor(queue=Queue("invoices", levels=3), name="two")(lambda: None)

    assert stub.used_queues()["invoices"] == invoices
    assert greet.message().options == {"broker_priority": 3}
    with pytest.raises(SettingsError, match="'invoices' is declared twice, and differently"):
        actor(queue=Queue("invoices"), name="three")(lambda: None)


def test_a_name_must_be_that_of_a_declared_queue(actor):
    with pytest.raises(UndeclaredQueueError, match="did you mean 'mails'"):
        actor(queue="mail")(lambda: None)


def test_async_functions_are_actors_too(actor):
    @actor()
    async def fetch(url: str) -> str:
        return url

    assert fetch.message("a").args == ("a",)


# The defaults of an application.


def test_defaults_hold_for_actors_without_that_option(stub, actor):
    rule, own = RetryOn(OSError), RetryOn(KeyError)
    stub.defaults(queue="mails", time_limit=SECOND, retry_on=rule)
    stub.defaults(store_results=True)

    usual = actor(name="usual")(lambda: None)
    other = actor(name="other", queue="slow", retry_on=own, store_results=False)(lambda: None)

    def options(one):
        return [one.options[name] for name in ("time_limit", "retry_on", "store_results")]

    assert (usual.queue_name, options(usual)) == ("mails", [1_000, rule, True])
    assert (other.queue_name, options(other)) == ("slow", [1_000, own, False])


def test_defaults_do_not_change_actors_of_dramatiqs_decorator(stub):
    stub.defaults(time_limit=SECOND)

    greet = dramatiq.actor(broker=stub, actor_name="greet")(lambda: None)

    assert "time_limit" not in greet.options


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"time_limit": 60}, "not a timedelta"),
        ({"quue": "a"}, "did you mean 'queue'"),
        ({"once": 1}, "neither True nor False"),
        ({"around_perform": 7}, "is not a function"),
        ({"queue": 7}, "is neither a name nor a Queue"),
    ],
)
def test_wrong_defaults_are_refused_where_they_are_written(wrong, said, stub):
    with pytest.raises(ValueError, match=said):
        stub.defaults(**wrong)


def test_defaults_that_come_too_late_are_refused(stub, greet):
    with pytest.raises(WorkshedError, match="after the declaration of greet: call it"):
        stub.defaults(time_limit=SECOND)


# Sending with options.


def test_set_gives_one_job_its_options(stub, greet):
    sent = greet.set(
        queue="mails",
        priority=4,
        tags=("a",),
        time_limit=SECOND,
        expires=timedelta(days=1),
        max_retries=3,
        min_backoff=timedelta(),
        max_backoff=SECOND,
        store_results=True,
        result_ttl=SECOND,
        pipe_ignore=True,
        unique_key="ada",
        unique_for=SECOND,
        on_conflict="raise",
    ).send(7, loud=True)

    assert stub.sent == [sent]
    assert (sent.queue_name, sent.args, sent.kwargs) == ("mails", (7,), {"loud": True})
    assert sent.options == {
        "broker_priority": 4,
        "tags": ["a"],
        "time_limit": 1_000,
        "expires": 86_400_000,
        "max_retries": 3,
        "min_backoff": 0,
        "max_backoff": 1_000,
        "store_results": True,
        "result_ttl": 1_000,
        "pipe_ignore": True,
        "unique_key": "ada",
        "unique_for": 1_000,
        "on_conflict": "raise",
    }


def test_set_takes_a_queue_or_its_name(stub, greet):
    assert greet.set(queue=Queue("slow")).send(7).queue_name == "slow"
    with pytest.raises(UndeclaredQueueError):
        greet.set(queue="slwo").send(7)


def test_the_priority_of_an_actor_is_that_of_its_queue(actor):
    greet = actor(queue="mails", priority=2)(lambda: None)

    assert greet.message().options == {"broker_priority": 2}
    assert greet.set(queue="mails").message().options == {"broker_priority": 2}
    assert greet.set(priority=0).message().options == {"broker_priority": 0}
    assert greet.set(queue="slow").send().options == {"broker_priority": 0}
    with pytest.raises(InvalidOptionError, match="broker_priority 5: the queue 'mails' has 0 to 4"):
        greet.set(priority=5).send()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dela": SECOND}, "greet: there is no option 'dela'"),
        ({"once": True}, "there is no option 'once'"),
        ({"delay": 60}, "delay=60 is not a timedelta"),
        ({"delay": -SECOND}, "delay=.* is not a timedelta from 0 on"),
        ({"at": "09:00"}, "at='09:00' is not a datetime"),
        ({"time_limit": 60}, "time_limit=60 is not a timedelta"),
        ({"expires": 60}, "expires=60 is not a timedelta"),
        ({"unique_for": 60}, "unique_for=60 is not a timedelta"),
        ({"priority": "high"}, "priority='high' is not a whole number"),
        ({"store_results": 1}, "store_results=1 is neither"),
        ({"at": datetime(2040, 1, 1)}, "`at` needs a time zone"),  # noqa: DTZ001
        ({"at": datetime(2040, 1, 1, tzinfo=UTC), "delay": SECOND}, "`delay` or `at`, not both"),
        ({"conn": object()}, "Workshed cannot write on builtins.object"),
    ],
)
def test_wrong_options_of_a_job_are_refused_by_set(options, said, greet):
    with pytest.raises((ValueError, WorkshedError), match=said):
        greet.set(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tags": []}, "tags must be a list"),
        ({"tags": "import"}, "tags must be a list"),
        ({"max_retries": "3"}, "max_retries must be a whole number"),
        ({"on_conflict": "ignore"}, "on_conflict must be one of"),
        ({"max_backoff": timedelta(days=99)}, "max_backoff must be a whole number"),
    ],
)
def test_other_wrong_options_of_a_job_are_refused_by_its_send(options, said, greet):
    with pytest.raises(InvalidOptionError, match=said):
        greet.set(**options).send(7)


def test_a_message_carries_no_time_and_no_connection(greet):
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(WorkshedError, match="carries no `conn` and no `at`"):
        greet.set(at=tomorrow).message(7)


def test_a_job_may_have_options_of_the_applications_own_middleware(stub, greet):
    stub.add_middleware(Tenants())

    sent = greet.set(middleware_options={"tenant": "acme"}).send(7)

    assert sent.options == {"tenant": "acme"}
    with pytest.raises(ValueError, match=r"'tenants' is not an option .* which adds tenant$"):
        greet.set(middleware_options={"tenants": "acme"})


def test_milliseconds_may_be_an_argument_and_an_option_of_dramatiqs(stub):
    """`ms` returns a type of its own."""

    @dramatiq.actor(broker=stub)
    def wait(milliseconds: int):
        pass

    sent = wait.send_with_options(args=(ms(minutes=5),), time_limit=ms(seconds=0.5))

    assert (sent.args, sent.options) == ((300_000,), {"time_limit": 500})


def test_a_time_without_a_zone_is_refused_by_the_broker_too(stub, greet):
    with pytest.raises(WorkshedError):
        stub.enqueue_at(greet.message(7), datetime(2040, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("when", [{"delay": SECOND}, {"at": datetime(2040, 1, 1, tzinfo=UTC)}])
def test_the_stub_has_no_schedule(when, greet):
    with pytest.raises(WorkshedError, match="needs PostgreSQL"):
        greet.set(**when).send(7)


def test_arguments_are_checked_as_in_send(greet):
    with pytest.raises(InvalidArgumentError, match="missing a required argument: 'user_id'"):
        greet.set(tags=["a"]).send()
    with pytest.raises(InvalidArgumentError, match="argument user_id"):
        greet.set(tags=["a"]).send("seven")


def test_a_configured_actor_is_called_as_the_actor_is(greet):
    assert greet.set(tags=["a"])(7) == greet(7) == greet.perform_now(7) == "7 False"


# Pipelines.


@pytest.fixture
def steps(actor, stub, monkeypatch):
    """`read(path) -> text`, and `store(text, owner_id, *, kind)`."""
    monkeypatch.setattr("dramatiq.broker.global_broker", stub)  # `|` of dramatiq uses it

    @actor()
    def read(path: str) -> str:
        return path

    @actor()
    def store(text: str, owner_id: int = 0, *, kind: str = "note") -> None:
        pass

    return read, store


def test_a_piped_step_gets_the_result_first(stub, steps):
    read, store = steps

    (read.message("a") | store.piped(7, kind="mail")).run()

    [message] = stub.sent
    piped = message.options["pipe_target"]
    assert (tuple(piped["args"]), piped["kwargs"]) == ((), {"owner_id": 7, "kind": "mail"})


def test_a_piped_step_may_have_options(steps):
    _, store = steps

    step = store.set(delay=SECOND, tags=["a"], queue="slow").piped(owner_id=7)

    assert (step.queue_name, step.kwargs) == ("slow", {"owner_id": 7})
    assert step.options == {"broker_priority": 0, "tags": ["a"], "delay": 1_000}


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda read, store: store.piped("a", 7, 8), "too many positional arguments"),
        (
            lambda read, store: workshed.actor(broker=read.broker, name="tag")(
                lambda text, owner_id, *tags: None
            ).piped(7, "a"),
            r"arguments of \*args cannot follow it",
        ),
        (lambda read, store: store.piped(owner=7), "unexpected keyword argument 'owner'"),
        (lambda read, store: store.piped(text="a"), "multiple values for argument 'text'"),
        (lambda read, store: read.message("a") | store.piped("x"), "argument owner_id"),
        (lambda read, store: read.message("a") | read.message("b"), "too many positional"),
        (lambda read, store: read.message(7) | store.piped(), "argument path"),
        (
            lambda read, store: read.message("a") | store.piped() | store.piped(kind=7),
            "argument kind",
        ),
        (
            lambda read, store: read.message("a") | store.set(pipe_ignore=True).piped(7),
            "store.*: missing a required argument: 'text'",
        ),
    ],
)
def test_a_wrong_argument_of_a_step_is_refused_before_the_first_is_sent(build, said, stub, steps):
    with pytest.raises(InvalidArgumentError, match=said):
        build(*steps).run()

    assert stub.sent == []


def test_a_step_that_ignores_the_result_has_all_its_arguments(stub, steps, actor):
    read, _ = steps
    last = actor(pipe_ignore=True, name="last")(lambda number: None)

    (read.message("a") | last.message(7)).run()

    assert len(stub.sent) == 1


# `around_perform=`.


@pytest.fixture
def seen():
    return []


@pytest.fixture
def around(seen):
    """`around("a")`: note that the job begins and ends in it."""

    def hook(name):
        @contextlib.contextmanager
        def context(message):
            seen.append(f"{name} begins {message}")
            try:
                yield
            finally:
                seen.append(f"{name} ends")

        return context

    return hook


def test_hooks_run_around_the_function_the_first_outermost(actor, around, seen):
    @actor(around_perform=(around("a"), around("b")))
    def greet(user_id, *, loud=False):
        seen.append("runs")
        return user_id

    assert greet(7, loud=True) == 7
    assert greet.perform_now(7, loud=True) == 7

    ends = ["runs", "b ends", "a ends"]
    begins = ["a begins greet(7, loud=True)", "b begins greet(7, loud=True)"]
    assert seen == [*begins, *ends] * 2
    assert list(inspect.signature(greet.fn).parameters) == ["user_id", "loud"]


def test_an_error_passes_through_the_hooks(actor, around, seen):
    @actor(around_perform=around("a"))
    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert seen == ["a begins fail()", "a ends"]


def test_an_async_actor_may_have_hooks_of_both_kinds(actor, around, seen):
    @contextlib.asynccontextmanager
    async def waiting(message):
        await asyncio.sleep(0)
        seen.append(f"waiting for {message}")
        yield

    @actor(around_perform=[around("a"), waiting])
    async def fetch(url):
        seen.append("runs")

    asyncio.run(inspect.unwrap(fetch.fn, stop=inspect.iscoroutinefunction)("x"))

    assert seen == ["a begins fetch('x')", "waiting for fetch('x')", "runs", "a ends"]


def test_a_plain_actor_cannot_have_an_async_hook(actor):
    @contextlib.asynccontextmanager
    async def waiting(message):
        yield

    greet = actor(around_perform=waiting, name="greet")(lambda: None)

    with pytest.raises(TypeError, match="not a context manager; an async one needs an async actor"):
        greet()


# `@dramatiq.actor`, whose integers are milliseconds.


@pytest.mark.parametrize("wrong", [60, 999, 0, -1, True, 1.5, "60", timedelta(seconds=1)])
def test_a_time_limit_that_was_probably_meant_in_seconds_is_refused(wrong, stub):
    with pytest.raises(ValueError, match=r"greet: time_limit=.* is in milliseconds.*ms\(seconds="):
        dramatiq.actor(broker=stub, actor_name="greet", time_limit=wrong)(lambda: None)


@pytest.mark.parametrize("right", [1_000, 60_000, ms(seconds=0.1)])
def test_other_integers_stay_milliseconds(right, stub):
    greet = dramatiq.actor(broker=stub, actor_name="greet", time_limit=right)(lambda: None)

    assert greet.options["time_limit"] == right


def test_limits_are_declared_as_before(stub):
    greet = dramatiq.actor(broker=stub, actor_name="greet", limit=Limit.concurrent(1))(lambda: None)

    assert greet.message().args == ()
