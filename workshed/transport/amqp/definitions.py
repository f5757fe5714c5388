"""Definitions for RabbitMQ to import: exchange, queues, bindings and accounts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workshed.queues import Queue
from workshed.transport.amqp import topology
from workshed.transport.amqp.accounts import BrokerAccount
from workshed.transport.amqp.arguments import EXCHANGE, Version, queue_arguments

Definitions = dict[str, list[dict[str, Any]]]


def build_definitions(
    vhost: str,
    queues: Iterable[Queue],
    accounts: Sequence[BrokerAccount],
    passwords: Mapping[str, str],
    version: Version,
) -> Definitions:
    """Return the definitions for one virtual host, in the format of RabbitMQ's own export.

    `passwords` are by account name. `version` is that of the importing RabbitMQ, which refuses the
    whole file if it contains an argument that it does not accept. An import does not change the
    arguments of existing queues.
    """
    made = {
        name: declared
        for queue in queues
        for name, declared in topology.queue_and_dead_letter(
            queue, queue_arguments(queue, version)
        ).items()
    }
    return {
        "vhosts": [{"name": vhost}],
        "users": [account.define_user(passwords.get(account.name)) for account in accounts],
        "permissions": [account.define_permission(vhost) for account in accounts],
        "exchanges": [
            {
                "name": EXCHANGE,
                "vhost": vhost,
                "type": topology.EXCHANGE_TYPE,
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
        ],
        "queues": [
            {
                "name": name,
                "vhost": vhost,
                "durable": True,
                "auto_delete": False,
                "arguments": arguments,
            }
            for name, arguments in made.items()
        ],
        "bindings": [
            {
                "source": EXCHANGE,
                "vhost": vhost,
                "destination": name,
                "destination_type": "queue",
                "routing_key": name,
                "arguments": {},
            }
            for name in made
        ],
    }
