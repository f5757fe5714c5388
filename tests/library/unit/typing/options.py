"""The options of an actor; type checkers must refuse a line marked `# E: …`."""

from datetime import timedelta

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
