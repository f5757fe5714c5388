"""The new release, as `released`: names, a queue and arguments have changed.

Old names are kept for waiting jobs: `ship` is now `dispatch`, and `bill` on the queue `post` is
now `charge` on the queue `parcels`. `weigh` has moved there under its own name.

Its Workshed is also newer, and knows one more option of messages.
"""

import dramatiq

from workshed import Queue, broker, db, schedule
from workshed.transport.messages import envelope

broker.add_queue(Queue("parts"))
broker.add_queue(Queue("post"))
broker.add_queue(Queue("parcels"))
envelope.OPTIONS["flavour"] = lambda _: None


def write(kind, number):
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s, 'new')", (kind, number))


@dramatiq.actor(broker=broker, queue_name="parts")
def plain(number):
    """Not idempotent: a second run writes a second row."""
    write("plain", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def dispatch(number):
    """Idempotent: one row."""
    write("shipped", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def ship(number):
    """Do what `dispatch` does; its old name."""
    dispatch(number)


@dramatiq.actor(
    broker=broker, queue_name="parts", once=True, max_retries=1, min_backoff=50, max_backoff=50
)
def greet(number, tone="plain"):
    """Idempotent: one row."""
    write("greeted", number)


@dramatiq.actor(broker=broker, queue_name="parcels", once=True)
def charge(number):
    """Idempotent: one row."""
    write("billed", number)


@dramatiq.actor(broker=broker, queue_name="post", once=True)
def bill(number):
    """Do what `charge` does; its old name on its old queue, which needs an actor."""
    charge(number)


@dramatiq.actor(broker=broker, queue_name="parcels", once=True)
def weigh(number):
    """Idempotent: one row."""
    write("weighed", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def survey(number):
    """Idempotent: one row."""
    write("surveyed", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def label(number):
    """Idempotent: one row."""
    write("labelled", number)


ACTORS = {
    "plain": plain,
    "shipped": dispatch,
    "greeted": greet,
    "billed": charge,
    "weighed": weigh,
    "labelled": label,
    "surveyed": survey,
}
WITH = {"greeted": {"tone": "warm"}}
OPTIONS = {"labelled": {"flavour": "mild"}}


def send(number):
    """Send one of each in turn, every other round with transactions that commit."""
    kind = [*ACTORS][number % len(ACTORS)]
    message = ACTORS[kind].message(number, **WITH.get(kind, {}))
    message = message.copy(options=OPTIONS.get(kind, {}))
    if number // len(ACTORS) % 2:
        broker.enqueue(message)
    else:
        with db.transaction() as conn:
            schedule.send(conn, message)
    return kind
