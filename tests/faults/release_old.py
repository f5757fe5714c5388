"""The old release, as `released`."""

import dramatiq

from workshed import Queue, broker, db, schedule

broker.add_queue(Queue("parts"))
broker.add_queue(Queue("post"))


def write(kind, number):
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s, 'old')", (kind, number))


@dramatiq.actor(broker=broker, queue_name="parts")
def plain(number):
    """Not idempotent: a second run writes a second row."""
    write("plain", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def ship(number):
    """Idempotent: one row."""
    write("shipped", number)


@dramatiq.actor(
    broker=broker, queue_name="parts", once=True, max_retries=1, min_backoff=50, max_backoff=50
)
def greet(number):
    """Idempotent: one row."""
    write("greeted", number)


@dramatiq.actor(broker=broker, queue_name="post", once=True)
def bill(number):
    """Idempotent: one row."""
    write("billed", number)


@dramatiq.actor(broker=broker, queue_name="post", once=True)
def weigh(number):
    """Idempotent: one row."""
    write("weighed", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def label(number):
    """Idempotent: one row."""
    write("labelled", number)


ACTORS = {
    "plain": plain,
    "shipped": ship,
    "greeted": greet,
    "billed": bill,
    "weighed": weigh,
    "labelled": label,
}


def send(number):
    """Send one of each in turn, every other round with transactions that commit."""
    kind = [*ACTORS][number % len(ACTORS)]
    if number // len(ACTORS) % 2:
        ACTORS[kind].send(number)
    else:
        with db.transaction() as conn:
            schedule.send(conn, ACTORS[kind].message(number))
    return kind
