"""Virtual hosts for tests: a few per process, each emptied after a test and reused."""

import contextlib
import secrets

from tests.databases import sibling
from tests.management import Management
from workshed.transport.amqp import topology
from workshed.transport.amqp.arguments import EXCHANGE


@contextlib.contextmanager
def fresh_vhost(url):
    """Create a virtual host on this API's server and delete it at the end; yields its API."""
    api = create(url)
    yield api
    delete(api)


def create(url):
    """Create a virtual host; return its management API."""
    api = Management(url, f"test_{secrets.token_hex(6)}")
    api.ask("PUT", f"vhosts/{api.vhost}", {})  # its creator gets all permissions
    return api


class Vhosts:
    """The virtual hosts that the tests of one process use in turn.

    Making and deleting one takes RabbitMQ as long as deleting its queues. If a test changed
    anything else, for example a policy or a permission, the virtual host is deleted.
    """

    def __init__(self, url, management_url):
        self._url = url
        self._management_url = management_url
        self._idle = []
        self._pristine = {}

    def take(self):
        """Return the management API of a virtual host without queues."""
        there = self._there()
        while self._idle:
            if (api := self._idle.pop(0)).vhost in there and not api.queues():
                return api
            delete(api)  # something has reconnected to it
        return self._make()

    def _there(self):
        """Return all names: a test may have lost other virtual hosts with a server's data."""
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
        return api

    def _empty(self, api):
        """Delete the queues; return whether the virtual host is as it was made."""
        if queues := api.queues():
            # Deleted, not purged: messages that a consumer holds would be requeued, and the next
            # test may check whether a queue exists.
            with topology.open_connection([sibling(self._url, api.vhost)]) as connection:
                channel = connection.channel()
                for name in queues:
                    channel.queue_delete(name)
        return state(api) == self._pristine[api.vhost]


def state(api):
    """Return all properties and contents of a virtual host, except the exchange of a broker."""
    found = api.ask("GET", f"definitions/{api.vhost}")
    found["exchanges"] = [one for one in found["exchanges"] if one["name"] != EXCHANGE]
    return found | {"permissions": api.ask("GET", f"vhosts/{api.vhost}/permissions")}


def delete(api):
    """Delete a virtual host if it exists."""
    with contextlib.suppress(AssertionError):
        api.ask("DELETE", f"vhosts/{api.vhost}")
