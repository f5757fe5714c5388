"""Bodies from elsewhere: each is run or dead, and none holds up healthy jobs."""

import contextlib
from pathlib import Path

import pika
import pytest

from tests.faults.bodies import fuzzed
from tests.faults.conftest import Emptied
from tests.faults.experiment import Remedy, experiment
from workshed.transport.errors import EnvelopeError
from workshed.transport.messages.envelope import decode_message

PROGRAM = (Path(__file__).parent / "fuzzed.py").read_text()
HEALTHY_OF = 20
"""One healthy job is sent after this many bodies."""
NOW = {"WORKSHED_UNKNOWN_ACTOR_GRACE": "1"}


@pytest.fixture
def taken(connect, tmp_path):
    """The fuzzed actors, and the table of messages that reached them."""
    conn = connect(autocommit=True)
    conn.execute("CREATE TABLE public.taken (message_id text)")
    (tmp_path / "fuzzed.py").write_text(PROGRAM)
    return conn


@pytest.fixture
def publishing(vhost, broker, ledger):
    """`with publishing() as publish:` puts bodies into queues, as another program might."""
    broker.ensure_queues({"parts", "letters"})

    @contextlib.contextmanager
    def publishing():
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(vhost))) as connection:
            channel = connection.channel()

            def publish(one):
                properties = pika.BasicProperties(
                    message_id=one.message_id, priority=one.priority, headers=one.headers
                )
                channel.basic_publish("", one.queue, one.body, properties)

            yield publish

    return publishing


@pytest.mark.timeout(1800)
@experiment(
    "envelopes",
    number=9,
    fails_by="stuck",
    fault="damaged and hostile bodies, options and headers, also from another queue",
    load="200 000 of them, with a valid job after every 20",
    remedy=Remedy(
        "workshed/transport/consuming/consumer.py",
        "        except EnvelopeError as err:\n            step",
        "        except ZeroDivisionError as err:\n            step",
    ),
)
def test_each_body_is_run_or_dead(ledger, taken, publishing, start_worker, quiet, judged, scale):
    workers = [start_worker("load", "fuzzed", threads=4, env=NOW) for _ in range(2)]

    readable, unreadable = set(), set()
    with publishing() as publish:
        for number in range(scale(200_000, by=100)):
            one = fuzzed(number)
            publish(one)
            try:
                readable.add(decode_message(one.body, one.queue).message_id)
            except EnvelopeError:
                unreadable.add(one.body)
            if number % HEALTHY_OF == 0:
                ledger.send(number // HEALTHY_OF)

    def count(table):
        return taken.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 -- ours

    is_empty = Emptied(ledger.left)
    quiet(
        lambda: is_empty() and ledger.has_all_effects(),
        lambda: (count("taken"), count("workshed.dead"), *ledger.moved()),
        within_s=900,
    )

    def column(query):
        return {found for (found,) in taken.execute(query)}

    run = column("SELECT message_id FROM taken")
    dead = column("SELECT message_id FROM workshed.dead WHERE actor IS NOT NULL")
    buried = column("SELECT body FROM workshed.dead WHERE actor IS NULL")
    result = ledger.result()
    result.lost += len(readable - run - dead) + len(unreadable - buried)
    result.threads_dead += sum(worker.process.poll() is not None for worker in workers)
    result.notes = {
        "unreadable": len(unreadable),
        "run": len(readable & run),
        "dead": len(readable & dead),
    }
    judged(result)
    assert unreadable
    assert readable & run
    assert readable & dead
