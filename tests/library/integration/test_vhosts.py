"""A virtual host that tests share is as good as a fresh one for each of them."""

import pytest

from tests.databases import sibling
from tests.library.queues import QUEUES
from tests.management import management
from tests.vhosts import Vhosts
from workshed.transport.amqp import topology

DEFAULT = next(queue for queue in QUEUES if queue.name == "default")
EMAILS = next(queue for queue in QUEUES if queue.name == "emails")

CHANGES = {
    "policies": ("PUT", "policies/{}/full", {"pattern": ".*", "definition": {"max-length": 3}}),
    "limits": ("PUT", "vhost-limits/{}/max-queues", {"value": 100}),
    "exchanges": ("PUT", "exchanges/{}/news", {"type": "fanout"}),
    "itself": ("DELETE", "vhosts/{}", None),
}


@pytest.fixture
def shared(servers):
    """Virtual hosts of another process than this one."""
    shared = Vhosts(servers.broker_url, management(servers))
    yield shared
    shared.close()


@pytest.fixture
def opened(servers):
    """`with opened(api) as channel:` a channel to that virtual host, which has two queues."""

    class Opened:
        def __init__(self, api):
            self._url = sibling(servers.broker_url, api.vhost)

        def __enter__(self):
            topology.declare_queues([self._url], [DEFAULT, EMAILS])
            self._held = topology.open_connection([self._url])
            channel = self._held.__enter__().channel()
            channel.confirm_delivery()
            return channel

        def __exit__(self, *error):
            self._held.__exit__(*error)

    return Opened


def test_the_next_test_finds_no_queue_and_no_message(shared, opened):
    api = shared.take()
    with opened(api) as channel:
        channel.basic_publish("", "default", b"1")
        channel.basic_publish("", "emails", b"2")
        channel.queue_declare("parts")

    shared.give_back(api)

    again = shared.take()
    assert again.vhost == api.vhost
    assert again.queues() == {}
    with opened(again) as channel:
        for name in ("default", "emails"):
            assert channel.basic_get(name) == (None, None, None)


def test_a_message_that_a_consumer_had_in_hand_does_not_come_back(shared, opened):
    """If the queue were only purged, it would get the message back when the connection ends."""
    api = shared.take()
    with opened(api) as channel:
        channel.basic_publish("", "default", b"1")
        next(channel.consume("default"))
        shared.give_back(api)

    again = shared.take()
    assert again.vhost == api.vhost
    with opened(again) as channel:
        assert channel.basic_get("default") == (None, None, None)


@pytest.mark.parametrize("what", CHANGES)
def test_a_virtual_host_with_other_changes_is_not_used_again(shared, opened, what):
    api = shared.take()
    with opened(api):
        pass
    method, path, body = CHANGES[what]
    api.ask(method, path.format(api.vhost), body)

    shared.give_back(api)

    assert shared.take().vhost != api.vhost


def test_a_deleted_virtual_host_is_not_used_again(shared):
    """A test that restarts a server without its data deletes the virtual hosts of all."""
    gone = shared.take()
    shared.give_back(gone)
    gone.ask("DELETE", f"vhosts/{gone.vhost}")

    assert shared.take().vhost != gone.vhost


def test_a_virtual_host_that_another_user_may_enter_is_not_used_again(shared, opened):
    api = shared.take()
    api.ask("PUT", "users/stranger", {"password": "pw", "tags": ""})
    rights = {"configure": "^$", "write": "^$", "read": ".*"}
    api.ask("PUT", f"permissions/{api.vhost}/stranger", rights)

    shared.give_back(api)
    api.ask("DELETE", "users/stranger")

    assert shared.take().vhost != api.vhost
