"""A quorum queue whose leader is silent: RabbitMQ reports it as empty, and nothing here does."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest

from workshed.console.adoption.adopter import count_consumers
from workshed.console.rabbitmq import queue_depths
from workshed.console.rabbitmq.queue_depths import fetch_depths
from workshed.transport.errors import BrokerUnreachableError
from workshed.transport.publishing.queue_depth import QueueDepth, QueueDepthClient

pytestmark = pytest.mark.rabbitmq("the leader of a quorum queue is silent")

QUEUE = "default"
LEADER = """
    {{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>)),
    {{Name, _}} = amqqueue:get_pid(Queue),
    sys:{action}(Name).
"""
SILENT_S = 1.0
"""How long to wait for an answer that must not come; RabbitMQ gives up after a quarter of it."""
FAR_S = 0.3
"""One way to a server that is far away: each of its answers is late."""


@pytest.fixture(autouse=True)
def _jobs(declared, sent_job):
    """Three jobs wait, and the queue has no consumer."""
    for _ in range(3):
        sent_job()


@pytest.fixture
def sent_job(declared, actor):
    @actor(queue_name=QUEUE)
    def greet():
        raise AssertionError

    return greet.send


@pytest.fixture
def silence(servers, management):
    """`with silence() as end:` no leader answers until `end()` or the end of the block."""

    def tell(action):
        code = LEADER.format(vhost=management.vhost, queue=QUEUE, action=action)
        servers.rabbitmq.ctl("eval", code)

    @contextlib.contextmanager
    def silence():
        with contextlib.ExitStack() as stack:
            tell("suspend")
            stack.callback(tell, "resume")
            yield stack.close

    return silence


@pytest.fixture
def connect_client(declared, eventually):
    """`connect_client(url)`: a connection that publishes and can ask for depths."""
    with contextlib.ExitStack() as stack:

        def connect(url):
            found = QueueDepthClient([url], "relay", prefix=declared.prefix)
            stack.callback(found.close)

            def is_connected():
                with contextlib.suppress(BrokerUnreachableError):
                    return found.fetch_depth(QUEUE, 60)

            eventually(is_connected)
            return found

        yield connect


@pytest.fixture
def client(declared, connect_client):
    return connect_client(declared.urls[0])


@pytest.fixture
def connection(declared):
    """A connection of a command."""
    with pika.BlockingConnection(pika.URLParameters(declared.urls[0])) as found:
        yield found


def answer_after(silence, ask):
    """Ask while the leader is silent; return what is answered once it speaks."""
    with silence() as end, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        with pytest.raises(TimeoutError):
            asked.result(SILENT_S)
        end()
        return asked.result(60)


def test_a_command_waits_for_the_leader(silence, declared):
    found = answer_after(silence, lambda: fetch_depths(declared.urls, [QUEUE], 60))

    assert found == {QUEUE: QueueDepth(3, 0)}


def test_a_relay_waits_for_the_leader(silence, client):
    assert answer_after(silence, lambda: client.fetch_depth(QUEUE, 60)) == QueueDepth(3, 0)


def test_an_adoption_waits_for_the_leader(silence, declared, connection, monkeypatch):
    """It would take a queue with consumers for one of its own."""
    monkeypatch.setattr(queue_depths, "LEADER_TIMEOUT_S", 60)
    with pika.BlockingConnection(pika.URLParameters(declared.urls[0])) as other:
        other.channel().basic_consume(QUEUE, lambda *_: None)

        assert answer_after(silence, lambda: count_consumers(connection, QUEUE)) == 1


def test_a_command_says_that_the_leader_stays_silent(silence, declared):
    with silence(), pytest.raises(BrokerUnreachableError, match="'default' is: its leader"):
        fetch_depths(declared.urls, [QUEUE], SILENT_S)


def test_a_relay_does_not_take_a_silent_queue_for_an_empty_one(silence, client):
    with silence(), pytest.raises(BrokerUnreachableError):
        client.fetch_depth(QUEUE, SILENT_S)


def test_a_drain_fails_rather_than_leave_the_jobs(silence, workshed, monkeypatch):
    monkeypatch.setattr(queue_depths, "LEADER_TIMEOUT_S", SILENT_S)
    with silence():
        refused = workshed("broker", "drain")
    drained = workshed("broker", "drain", "--json")

    assert refused.code != 0
    assert "its leader does not answer" in refused.err
    assert drained.code == 0, drained.err
    assert sum(each["stored"] for each in drained.json) == 3


def test_the_empty_queue_of_a_server_far_away_is_empty(declared, proxy, connect_client):
    """All its answers are late, also those that no leader takes part in."""
    far = proxy(declared.urls[0])
    url = far.url(declared.urls[0])
    client = connect_client(url)
    declared.flush(QUEUE)
    far.delay(FAR_S)

    assert client.fetch_depth(QUEUE, 60) == QueueDepth(0, 0)
    assert fetch_depths([url], [QUEUE], 60) == {QUEUE: QueueDepth(0, 0)}
