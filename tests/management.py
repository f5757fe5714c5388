"""The management API of RabbitMQ, as tests ask it."""

import contextlib
import http.client
import json
from base64 import b64encode
from urllib.parse import quote, urlsplit

from workshed.transport.amqp.arguments import read_version


def management(servers):
    """The URL of its API, with the login."""
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
        """One request; its JSON answer."""
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
        """Import definitions, as an operator does who has to do so again.

        The first tick of a quorum queue of RabbitMQ 4.0 may come before it is of its newest
        version; that ends it, and with it the import. Ours come twenty times as often as usual.
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
        return read_version(self.ask("GET", "overview")["rabbitmq_version"])

    def queues(self):
        """All queues by name, with their arguments and counts, which are 0.3 s old at most."""
        # The API's other counts are those of its last sample, up to 5 s ago.
        live = "disable_stats=true&enable_queue_totals=true"
        found = self.ask("GET", f"queues/{quote(self.vhost, '')}?{live}")
        return {queue["name"]: queue for queue in found}

    def depth(self, name):
        """How many messages wait in a queue."""
        return self.queues()[name].get("messages_ready", 0)

    def unacked(self, name):
        """How many messages of a queue are with a consumer."""
        return self.queues()[name].get("messages_unacknowledged", 0)

    def acked(self, name):
        """How many messages of a queue have been acked: up to 5 s old, but it never falls back."""
        found = self.ask("GET", f"queues/{quote(self.vhost, '')}/{quote(name, '')}")
        return found.get("message_stats", {}).get("ack", 0)

    def connections(self):
        """The open connections to this virtual host, by the name their owner gave them."""
        return [
            (one["client_properties"].get("connection_name", ""), one["name"])
            for one in self.ask("GET", "connections")
            if one.get("vhost") == self.vhost
        ]

    def consumers(self):
        """Who consumes in this virtual host, each with its channel: without it, it is too new."""
        found = self.ask("GET", f"consumers/{quote(self.vhost, '')}")
        return [one for one in found if one["channel_details"]]

    def close_connections(self, owner):
        """Close those of an owner, as an operator or a failing network may; how many there were.

        The list is late: a new one is not on it yet, and what has ended still is, which is none.
        """
        found = {name for whose, name in self.connections() if whose.startswith(owner)}
        found -= self._closed
        self._closed |= found
        paths = [f"connections/{quote(name, '')}" for name in found]
        answers = [self._answer("DELETE", path) for path in paths]
        assert {status for status, _ in answers} <= {204, 404}, answers
        return sum(status == 204 for status, _ in answers)

    def peek(self, name, count=1000):
        """The messages that wait in a queue; they stay there, and this counts as a delivery."""
        body = {"count": count, "ackmode": "ack_requeue_true", "encoding": "auto"}
        return self.ask("POST", f"queues/{quote(self.vhost, '')}/{quote(name, '')}/get", body)
