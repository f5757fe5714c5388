"""How jobs are sent; type checkers must refuse a line marked `# E: …`."""

from datetime import UTC, datetime, timedelta
from typing import assert_type

import dramatiq
import psycopg
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from workshed import Batch, Queue, actor, broker, db, schedule
from workshed.testing import Jobs
from workshed.testing.crashes.idempotence import IdempotenceReport
from workshed.testing.real_worker.real import RealJobs

DAY = timedelta(days=1)


@dramatiq.actor(broker=broker, queue_name="default", time_limit=60_000)
def greet(user_id: int, *, loud: bool = False) -> str:
    """An actor with a parameter of each kind."""
    return f"{user_id} {loud}"


@dramatiq.actor(broker=broker, queue_name="default", time_limit=60_000)
async def fetch(url: str) -> bytes:
    """An actor that is a coroutine."""
    return url.encode()


@actor(queue="default", time_limit=timedelta(minutes=1))
def invoice(order_id: int, *, copies: int = 1) -> str:
    """A typed actor."""
    return f"{order_id} {copies}"


@actor()
async def download(url: str) -> bytes:
    """A typed actor that is a coroutine."""
    return url.encode()


@actor()
def archive(content: bytes, folder: str, *, name: str = "") -> int:
    """A step that takes a result and more."""
    return len(content) + len(folder) + len(name)


@actor(pipe_ignore=True)
def announce(what: str) -> None:
    """A step that ignores the result."""


def by_a_typed_actor() -> None:
    """Send at once."""
    assert_type(invoice.send(7, copies=2).get_result(), str)
    assert_type(download.send("https://example.org").get_result(), bytes)
    assert_type(invoice.perform_now(7), str | None)
    assert_type(invoice(7), str)
    invoice.message(7, copies=2)
    invoice.send("7")  # E: arg-type
    invoice.send()  # E: call-arg
    invoice.send(7, copies="2")  # E: arg-type
    invoice.send(7, copy=2)  # E: call-arg
    invoice.message(None)  # E: arg-type
    invoice.perform_now("7")  # E: arg-type
    download.send(7)  # E: arg-type


def with_typed_options(conn: psycopg.Connection, session: Session) -> None:
    """Send with options."""
    at = datetime.now(UTC)
    assert_type(invoice.set(delay=DAY, priority=3, queue="emails").send(7).get_result(), str)
    invoice.set(at=at, queue=Queue("emails")).send(7, copies=2)
    invoice.set(conn=conn, delay=DAY).send(7)
    invoice.set(conn=session, at=at).send(7)
    assert_type(download.set(conn=conn).send("a").get_result(), bytes)
    assert_type(invoice.set(tags=["a"]).message(7).get_result(), str)
    invoice.set(
        time_limit=DAY,
        expires=DAY,
        max_retries=3,
        min_backoff=DAY,
        max_backoff=DAY,
        unique_key="7",
        unique_for=DAY,
        on_conflict="replace",
        store_results=True,
        result_ttl=DAY,
        pipe_ignore=True,
    ).send(7)
    invoice.set(delay=DAY).send("7")  # E: arg-type
    invoice.set(delay=DAY).send()  # E: call-arg
    invoice.set(conn=conn).send(7, copy=2)  # E: call-arg
    invoice.set(tags=["a"]).message("7")  # E: arg-type
    invoice.set(delay=60_000)  # E: call-overload
    invoice.set(dela=DAY)  # E: call-overload
    invoice.set(at="09:00")  # E: call-overload
    invoice.set(priority="high")  # E: call-overload
    invoice.set(queue=7)  # E: call-overload
    invoice.set(conn="postgresql:///")  # E: call-overload
    invoice.set(time_limit=60)  # E: call-overload
    invoice.set(expires=60)  # E: call-overload
    invoice.set(on_conflict="ignore")  # E: call-overload
    invoice.set(tags="a")  # E: call-overload


async def on_an_async_connection(conn: psycopg.AsyncConnection, session: AsyncSession) -> None:
    """Send when the transaction commits."""
    assert_type((await invoice.set(conn=conn).send(7)).get_result(), str)
    assert_type((await download.set(conn=session, delay=DAY).send("a")).get_result(), bytes)
    await invoice.set(conn=conn).send("7")  # E: arg-type
    assert invoice.set(conn=conn).send(7).message_id  # E: attr-defined
    await invoice.set(delay=DAY).send(7)  # E: misc


def pipelines() -> None:
    """The result of each step fits the next one."""
    pipe = download.message("a") | archive.piped("inbox", name="a.txt") | invoice.piped(copies=2)
    assert_type(pipe.get_result(), str)
    pipe | announce.message("done")
    download.message("a") | archive.set(delay=DAY).piped("inbox")
    assert_type(pipe.run(delay=60_000).get_result(block=True, timeout=10_000), str)
    dramatiq.pipeline([download.message("a"), archive.piped("inbox")])
    download.message("a") | invoice.piped()  # E: operator
    invoice.message(7) | archive.piped("inbox")  # E: operator
    pipe | archive.piped("inbox")  # E: operator
    download.message("a") | archive.piped()  # E: call-arg
    download.message("a") | archive.piped(7)  # E: arg-type
    download.message("a") | archive.piped("inbox", nam="a.txt")  # E: call-arg
    download.message("a") | archive.message("inbox")  # E: call-arg
    download.message("a") | archive.set(delay=DAY).piped(7)  # E: arg-type
    invoice.message(7) | archive.set(delay=DAY).piped("inbox")  # E: operator


def by_the_actor() -> None:
    """Send at once."""
    greet.send(7)
    greet.send(user_id=7, loud=True)
    greet.message(7, loud=True)
    fetch.send("https://example.org")
    greet.send("7")  # E: arg-type
    greet.send()  # E: call-arg
    greet.send(7, 8)  # E: call-arg
    greet.send(7, lout=True)  # E: call-arg
    greet.message(None)  # E: arg-type
    greet.message(7, loud="yes")  # E: arg-type
    fetch.send(7)  # E: arg-type
    greet("7")  # E: arg-type


def with_options() -> None:
    """Send with options; dramatiq has no types for values in `args` and names in `kwargs`."""
    greet.send_with_options(args=(7,), delay=DAY, max_retries=3)
    greet.send_with_options(kwargs={"user_id": 7}, delay=60_000)
    greet.send_with_options((7,))  # E: call-arg
    greet.send_with_options(args=7)  # E: arg-type
    greet.send_with_options(args=[7])  # E: arg-type
    greet.send_with_options(kwargs=[7])  # E: arg-type
    greet.send_with_options(args=(7,), delay="a day")  # E: arg-type
    greet.message_with_options(args=7)  # E: arg-type


def results(conn: psycopg.Connection) -> None:
    """The type of each result is known, however its job was sent."""
    assert_type(greet.send(7).get_result(), str)
    assert_type(fetch.send("https://example.org").get_result(), bytes)
    assert_type(schedule.send(conn, greet.message(7)).get_result(), str)
    assert_type(broker.enqueue(greet.message(7)).get_result(), str)
    number: int = schedule.send(conn, greet.message(7)).get_result()  # E: assignment
    number = broker.enqueue(greet.message(7)).get_result()  # E: assignment
    assert number


def in_a_transaction(conn: psycopg.Connection) -> None:
    """Send when the caller's transaction commits."""
    schedule.send(conn, greet.message(7))
    schedule.send(conn, greet.message(7), delay=DAY)
    schedule.send(conn, greet.message(7), at=datetime.now(UTC))
    with db.transaction() as ours:
        schedule.send(ours, fetch.message("https://example.org"))
    many = [greet.message(7), greet.message(8)]
    assert_type(schedule.send_many(conn, many)[0].get_result(), str)
    schedule.send_many(conn, (greet.message(number) for number in range(9)), delay=DAY)
    schedule.send_many(conn, greet.message(7))  # E: call-overload
    schedule.send_many(conn, many, delay=60_000)  # E: call-overload
    schedule.send(conn, greet)  # E: call-overload
    schedule.send(conn, 7)  # E: call-overload
    schedule.send(conn)  # E: call-overload
    schedule.send(greet.message(7))  # E: call-overload
    schedule.send("postgresql:///", greet.message(7))  # E: call-overload
    schedule.send(conn, greet.message("7"))  # E: arg-type
    schedule.send(conn, greet.message(7), delay=60_000)  # E: call-overload
    schedule.send(conn, greet.message(7), at="09:00")  # E: call-overload
    schedule.send(conn, greet.message(7), dela=DAY)  # E: call-overload
    schedule.send(conn, greet.message(7), DAY)  # E: call-overload
    schedule.cancel(conn, 7)  # E: call-overload
    schedule.move(conn, "id", DAY)  # E: call-overload


async def in_an_event_loop(conn: psycopg.AsyncConnection) -> None:
    """Send while the event loop goes on."""
    assert_type((await schedule.send(conn, greet.message(7))).get_result(), str)
    assert_type((await broker.send_async(greet.message(7), delay=DAY)).get_result(), str)
    assert schedule.send(conn, greet.message(7)).message_id  # E: attr-defined
    await broker.send_async(greet)  # E: arg-type
    await broker.send_async(greet.message(7), delay=5)  # E: arg-type
    await schedule.send(conn, fetch.message("a"), delay=5)  # E: call-overload
    [sent] = await schedule.send_many(conn, [greet.message(7)])
    assert_type(sent.get_result(), str)


def many() -> None:
    """Send many at once."""
    broker.enqueue_many([greet.message(7), fetch.message("https://example.org")])
    broker.enqueue_many(greet.message(number) for number in range(3))
    broker.enqueue(greet.message(7), delay=60_000)
    broker.enqueue_many(greet.message(7))  # E: arg-type
    broker.enqueue_many([greet])  # E: list-item
    broker.enqueue_many([greet.message("7")])  # E: arg-type
    broker.enqueue_many()  # E: call-arg
    broker.enqueue(greet)  # E: arg-type
    broker.enqueue(greet.message(7), delay=DAY)  # E: arg-type


def in_a_batch(conn: psycopg.Connection) -> None:
    """Send jobs that belong together."""
    batch = Batch(on_success=greet.message(7), on_complete=fetch, description="June")
    with batch.adding(conn):
        batch.add(conn, greet.message(7), fetch.message("a"), delay=DAY)
    assert_type(batch.progress(conn).succeeded, int)
    Batch(greet)  # E: call-arg
    Batch(on_sucess=greet)  # E: call-arg
    Batch(on_success="greet")  # E: arg-type
    Batch(description=7)  # E: arg-type
    Batch.with_id(7)  # E: arg-type
    batch.add(conn, greet)  # E: call-overload
    batch.add(greet.message(7))  # E: call-overload
    batch.add(conn, [greet.message(7)])  # E: call-overload
    batch.add(conn, greet.message(7), delay=60)  # E: call-overload
    batch.adding()  # E: call-arg


def in_a_test(jobs: Jobs) -> None:
    """Run and look for jobs with the test kit."""
    assert_type(jobs.perform(greet, 7, loud=True), str | None)
    jobs.assert_enqueued(greet, 7, in_=DAY)
    jobs.perform(greet, "7")  # E: arg-type
    jobs.perform(greet)  # E: call-arg
    jobs.perform("greet", 7)  # E: arg-type
    assert_type(jobs.assert_idempotent(greet, 7, loud=True), IdempotenceReport)
    jobs.assert_idempotent(greet, 7, ignore=["users.token"])
    jobs.assert_idempotent(greet, "7")  # E: call-overload
    jobs.assert_idempotent(greet)  # E: call-overload
    jobs.assert_idempotent(greet, 7, ignore=7)  # E: call-arg
    jobs.assert_enqueued(greet, 7, in_=60)  # E: arg-type
    jobs.assert_enqueued(7)  # E: arg-type
    jobs.drain(5)  # E: call-arg
    jobs.advance(days="3")  # E: arg-type


def next_to_a_worker(jobs: RealJobs) -> None:
    """Kill the worker while a job runs."""
    jobs.crash_during(greet, 7, loud=True)
    jobs.crash_during(greet, 7, at="before COMMIT")
    jobs.crash_during(greet, "7")  # E: call-overload
    jobs.crash_during(greet, lout=True)  # E: call-overload
    jobs.crash_during(greet, 7, at=7)  # E: call-arg
