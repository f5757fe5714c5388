"""Virtual hosts for tests: a few per process, each emptied after a test and used again."""

import contextlib
import itertools
import secrets

from brokers.app import QUEUES
from tests.databases import sibling
from tests.management import Management
from workshed.transport.amqp import topology
from workshed.transport.amqp.arguments import arguments
from workshed.transport.publishing.publisher import EXCHANGE


@contextlib.contextmanager
def fresh_vhost(url):
    """A virtual host on the server with this management API, deleted at the end; its API."""
    api = create(url)
    yield api
    delete(api)


def create(url):
    """Create a virtual host; return its management API."""
    api = Management(url, f"test_{secrets.token_hex(6)}")
    api.ask("PUT", f"vhosts/{api.vhost}", {})  # gives its maker all permissions
    return api


class Vhosts:
    """The virtual hosts that the tests of one process use, one after the other.

    To make and delete one with two quorum queues takes RabbitMQ six times as long as to purge the
    queues. Those of the sample application stay; what else a test made is deleted, and where that
    is not enough, the virtual host is.
    """

    def __init__(self, url, management_url):
        self._url = url
        self._management_url = management_url
        self._idle = []
        self._pristine = {}
        self._kept = {}

    def take(self):
        """Return the management API of a virtual host without messages and consumers.

        What RabbitMQ counts is as old as its last look, so one that was emptied a moment ago may
        still show what was there: then another one is taken.
        """
        there = self._there()
        self._idle = [api for api in self._idle if api.vhost in there]
        for api in self._idle:
            if all(_is_seen_empty(queue) for queue in api.queues().values()):
                self._idle.remove(api)
                return api
        return self._make()

    def _there(self):
        """The names of all: a test may have lost those of others, with the data of a server."""
        found = self._idle[0].ask("GET", "vhosts") if self._idle else []
        return {one["name"] for one in found}

    def give_back(self, api):
        """Empty a virtual host; one that cannot be emptied is deleted."""
        try:
            is_empty = self._empty(api)
        except Exception:  # noqa: BLE001 -- a test may have stopped the server, or deleted it
            is_empty = False
        if is_empty:
            self._idle.append(api)
        else:
            delete(api)

    def close(self):
        """Delete those that are left."""
        for api in self._idle:
            delete(api)

    def _make(self):
        api = create(self._management_url)
        self._pristine[api.vhost] = state(api)
        if not self._kept:
            self._kept = kept(api.version())
        return api

    def _empty(self, api):
        """Purge or delete what is there; return whether the virtual host is as it was made."""
        if queues := api.queues():
            url = sibling(self._url, api.vhost)
            with topology.opened([url]) as connection:
                channel = connection.channel()
                for name, queue in queues.items():
                    found = channel.queue_declare(name, passive=True).method
                    # A consumer may have messages in hand, which come back after a purge.
                    if queue["arguments"] != self._kept.get(name) or found.consumer_count:
                        channel.queue_delete(name)
                    elif found.message_count:
                        channel.queue_purge(name)
        return state(api) == self._pristine[api.vhost]


def kept(version):
    """The arguments of the queues that stay, by name.

    Not those of classic queues: they do not say whether a message is in somebody's hand.
    """
    made = (topology.members(queue, arguments(queue, version)) for queue in QUEUES)
    pairs = itertools.chain.from_iterable(members.items() for members in made)
    return {name: wanted for name, wanted in pairs if wanted["x-queue-type"] == "quorum"}


def state(api):
    """All that a virtual host is and has, apart from queues and what a broker makes for them."""
    found = api.ask("GET", f"definitions/{api.vhost}")
    del found["queues"]
    found["exchanges"] = [one for one in found["exchanges"] if one["name"] != EXCHANGE]
    found["bindings"] = [one for one in found["bindings"] if not _is_of_broker(one)]
    return found | {"permissions": api.ask("GET", f"vhosts/{api.vhost}/permissions")}


def delete(api):
    """Delete a virtual host, if it is there."""
    with contextlib.suppress(AssertionError):
        api.ask("DELETE", f"vhosts/{api.vhost}")


def _is_of_broker(binding):
    return binding["source"] == EXCHANGE and binding["routing_key"] == binding["destination"]


def _is_seen_empty(queue):
    return not queue.get("messages") and not queue.get("consumers")
