"""A client of RabbitMQ's management API for tests."""

import contextlib
import http.client
import json
from base64 import b64encode
from urllib.parse import quote, urlsplit

from workshed.transport.amqp.arguments import parse_version


def management(servers):
    """Return the URL of the management API, with the login."""
    parts = urlsplit(servers.broker_url)
    login = parts.netloc.rpartition("@")[0]
    return servers.management_url or f"http://{login}@{parts.hostname}:15672"


class Management:
    """The management API of RabbitMQ, for one virtual host."""

    def __init__(self, url, vhost):
        parts = urlsplit(url)
        self.vhost = vhost
        self._closed = set()
        self._at = (parts.hostname, parts.port or 15672)
        self._login = b64encode(f"{parts.username}:{parts.password}".encode()).decode()

    def ask(self, method, path, body=None):
        """Send one request and return its JSON answer."""
        status, text = self._answer(method, path, body)
        assert status < 300, f"{method} {path}: {status} {text!r}"
        return json.loads(text) if text else None

    def _answer(self, method, path, body=None):
        connection = http.client.HTTPConnection(*self._at, timeout=60)
        headers = {"Authorization": f"Basic {self._login}", "Content-Type": "application/json"}
        with contextlib.closing(connection):
            connection.request(method, f"/api/{path}", json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def load(self, definitions):
        """Import definitions; retries like an operator whose first import fails.

        In RabbitMQ 4.0, the first tick of a quorum queue may come before the queue has its newest
        version. This ends the queue and the import. Our ticks come 20 times as often as usual.
        """
        for left in reversed(range(4)):
            try:
                self.ask("POST", "definitions", definitions)
            except AssertionError as err:
                if "handle_tick" not in str(err) or not left:
                    raise
            else:
                return

    def version(self):
        """The release series of the server, such as `(4, 3)`."""
        return parse_version(self.ask("GET", "overview")["rabbitmq_version"])

    def queues(self):
        """Return all queues by name, with their arguments and counts at most 0.3 s old."""
        # The API's other counts come from its last sample, up to 5 s ago.
        live = "disable_stats=true&enable_queue_totals=true"
        found = self.ask("GET", f"queues/{quote(self.vhost, '')}?{live}")
        return {queue["name"]: queue for queue in found}

    def depth(self, name):
        """Return how many messages wait in a queue."""
        return self.queues()[name].get("messages_ready", 0)

    def unacked(self, name):
        """Return how many messages of a queue are delivered and not yet acked."""
        return self.queues()[name].get("messages_unacknowledged", 0)

    def acked(self, name):
        """Return how many messages of a queue were acked; up to 5 s old, but never decreasing."""
        found = self.ask("GET", f"queues/{quote(self.vhost, '')}/{quote(name, '')}")
        return found.get("message_stats", {}).get("ack", 0)

    def connections(self):
        """Return the open connections to this virtual host, by the name their owner gave them."""
        return [
            (one["client_properties"].get("connection_name", ""), one["name"])
            for one in self.ask("GET", "connections")
            if one.get("vhost") == self.vhost
        ]

    def consumers(self):
        """Return this virtual host's consumers, except new ones that have no channel yet."""
        found = self.ask("GET", f"consumers/{quote(self.vhost, '')}")
        return [one for one in found if one["channel_details"]]

    def close_connections(self, owner):
        """Close an owner's connections, as an operator or a network failure may; return how many.

        The API's list is late: it lacks new connections and has closed ones, which do not count.
        """
        found = {name for whose, name in self.connections() if whose.startswith(owner)}
        found -= self._closed
        self._closed |= found
        paths = [f"connections/{quote(name, '')}" for name in found]
        answers = [self._answer("DELETE", path) for path in paths]
        assert {status for status, _ in answers} <= {204, 404}, answers
        return sum(status == 204 for status, _ in answers)

    def peek(self, name, count=1000):
        """Return the messages waiting in a queue; they stay, but this counts as a delivery."""
        body = {"count": count, "ackmode": "ack_requeue_true", "encoding": "auto"}
        return self.ask("POST", f"queues/{quote(self.vhost, '')}/{quote(name, '')}/get", body)
