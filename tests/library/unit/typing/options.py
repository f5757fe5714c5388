"""The options of an actor; type checkers must refuse a line marked `# E: …`."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

from dramatiq import Message

from workshed import Queue, actor, broker
from workshed.cronspec import cron, daily, every
from workshed.duration import ms
from workshed.middleware import Limit, RetryOn, Unique

MINUTE = timedelta(minutes=1)


def waited(attempt: int, error: BaseException) -> timedelta:
    """Wait longer each time."""
    return MINUTE * attempt if isinstance(error, OSError) else MINUTE


def retries() -> None:
    """Declare what is retried."""
    RetryOn(TimeoutError, OSError, attempts=5, wait="polynomial")
    RetryOn(TimeoutError, retry_for=MINUTE, wait=MINUTE, queue="slow", priority=3)
    RetryOn(TimeoutError, wait=waited)
    RetryOn("TimeoutError")  # E: arg-type
    RetryOn(TimeoutError())  # E: arg-type
    RetryOn(TimeoutError, attempts="5")  # E: arg-type
    RetryOn(TimeoutError, attempt=5)  # E: call-arg
    RetryOn(TimeoutError, retry_for=60)  # E: arg-type
    RetryOn(TimeoutError, wait="linear")  # E: arg-type
    RetryOn(TimeoutError, wait=len)  # E: arg-type


def uniqueness() -> None:
    """Declare what is sent once."""
    Unique()
    Unique("until_executing", key=["user_id"], on_conflict="replace", unique_for=MINUTE)
    Unique(key=lambda user_id: user_id)
    Unique("until_excuted")  # E: arg-type
    Unique(key=7)  # E: arg-type
    Unique(key=["user_id", 7])  # E: list-item
    Unique(on_conflict="ignore")  # E: arg-type
    Unique(unique_for=60)  # E: arg-type
    Unique(keys=["user_id"])  # E: call-arg


def limits() -> None:
    """Declare how many run."""
    Limit.concurrent(5, key=["tenant_id"], share=["user_id"], name="smtp")
    Limit.window(100, per=MINUTE)
    Limit.bucket(10, per=MINUTE, burst=20)
    Limit.concurrent()  # E: call-arg
    Limit.concurrent("5")  # E: arg-type
    Limit.concurrent(5, per=MINUTE)  # E: call-arg
    Limit.window(100)  # E: call-arg
    Limit.window(100, per=60)  # E: arg-type
    Limit.bucket(10, MINUTE)  # E: call-arg
    Limit.bucket(10, per=MINUTE, burst=0.5)  # E: arg-type


def times() -> None:
    """Declare when it runs."""
    daily("09:00", tz="Europe/Paris", misfire="all", misfire_window=MINUTE)
    cron("*/20 3 * * MON-FRI", misfire="skip")
    every(timedelta(minutes=10), misfire_window=MINUTE)
    ms(minutes=1, seconds=0.5)
    daily(9)  # E: arg-type
    daily()  # E: call-arg
    daily("09:00", "Europe/Paris")  # E: call-arg
    daily("09:00", misfire="never")  # E: arg-type
    daily("09:00", timezone="Europe/Paris")  # E: call-arg
    cron(5)  # E: arg-type
    cron("* * * * *", misfire_window=60)  # E: arg-type
    cron("*", "*", "*", "*", "*")  # E: call-arg
    every(600)  # E: arg-type
    every(MINUTE, tz="UTC")  # E: call-arg
    ms(1)  # E: call-arg
    ms(minute=1)  # E: call-arg
    ms(minutes=MINUTE)  # E: arg-type


@contextmanager
def around(message: Message[Any]) -> Iterator[None]:
    """Run a job in it."""
    assert message.args
    yield


@asynccontextmanager
async def async_around(message: Message[Any]) -> AsyncIterator[None]:
    """Run an async job in it."""
    assert message.args
    yield


@actor()
def alert(message: dict[str, Any], reason: str) -> None:
    """Run when a job is dead."""


def an_actor() -> None:
    """Declare an actor; an editor completes each of these."""
    actor(queue=Queue("invoices", levels=3), name="send_invoice", priority=3)
    actor(
        queue="invoices",
        time_limit=MINUTE,
        hard_time_limit=2 * MINUTE,
        expires=timedelta(hours=1),
        max_retries=8,
        min_backoff=MINUTE,
        max_backoff=MINUTE,
        retry_on=[RetryOn(TimeoutError), RetryOn(KeyError, attempts=2)],
        retry_when=lambda retries, error: retries < 3 and isinstance(error, OSError),
        discard_on=(KeyError, ValueError),
        after_discard=print,
        throws=LookupError,
        once=True,
        unique=Unique(),
        limit=Limit.concurrent(5),
        tags=["invoices"],
        redact=("token",),
        store_results=True,
        result_ttl=MINUTE,
        pipe_ignore=True,
        on_dead=alert,
        on_failure="alert",
        around_perform=(around, async_around),
        middleware_options={"tenant": "acme"},
    )
    actor(periodic=daily("09:00"), needs="workshed", on_success=alert, on_retry_exhausted=alert)
    broker.defaults(queue="invoices", time_limit=MINUTE, retry_on=RetryOn(TimeoutError))


def wrong_options_of_an_actor() -> None:
    """Each is refused where it is written."""
    actor(uniqe=Unique())  # E: call-arg
    actor(time_limt=MINUTE)  # E: call-arg
    actor(queue_name="invoices")  # E: call-arg
    actor(time_limit=60)  # E: arg-type
    actor(time_limit=60_000)  # E: arg-type
    actor(hard_time_limit=60)  # E: arg-type
    actor(expires=60)  # E: arg-type
    actor(min_backoff=1.5)  # E: arg-type
    actor(max_backoff="15s")  # E: arg-type
    actor(result_ttl=60)  # E: arg-type
    actor(max_retries="3")  # E: arg-type
    actor(retry_on=TimeoutError)  # E: arg-type
    actor(retry_when=lambda error: True)  # E: arg-type
    actor(discard_on="KeyError")  # E: arg-type
    actor(after_discard=lambda message: None)  # E: arg-type
    actor(throws=KeyError())  # E: arg-type
    actor(once="yes")  # E: arg-type
    actor(unique=True)  # E: arg-type
    actor(limit=5)  # E: arg-type
    actor(tags="invoices")  # E: arg-type
    actor(redact="token")  # E: arg-type
    actor(periodic="09:00")  # E: arg-type
    actor(priority="high")  # E: arg-type
    actor(queue=7)  # E: arg-type
    actor(on_dead=print)  # E: arg-type
    actor(around_perform=len)  # E: arg-type
    actor(around_perform=around)
    actor(retry_on=RetryOn(TimeoutError, attempt=5))  # E: call-arg
    actor(alert)  # E: arg-type
    broker.defaults(time_limit=60)  # E: arg-type
    broker.defaults(quue="invoices")  # E: call-arg
