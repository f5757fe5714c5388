"""RabbitMQ accounts: one for each part, with the permissions that the part needs.

Each permission is a pattern of names, as in RabbitMQ; an empty one matches no name. No account may
configure, because an administrator imports the definitions.
"""

import re
import secrets
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from workshed.errors import SettingsError
from workshed.transport.amqp.arguments import EXCHANGE
from workshed.transport.errors import did_you_mean
from workshed.value_class import value_class

SALT_BYTES = 4
"""Length of the salt that RabbitMQ puts in front of a password, and of its hash."""


@value_class
class BrokerAccount:
    """A user of RabbitMQ in one virtual host."""

    name: str
    write: str = ""
    """Exchanges it may publish to, and queues it may inspect."""
    read: str = ""
    """Queues it may consume, get from, and purge: RabbitMQ has one permission for all three."""
    tags: tuple[str, ...] = ()
    """Its access to the management API."""

    def define_user(self, password: str | None) -> dict[str, Any]:
        """Return it in RabbitMQ's import format; `None` disables logins with a password."""
        return {
            "name": self.name,
            "password_hash": "" if password is None else rabbitmq_password_hash(password),
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": list(self.tags),
        }

    def define_permission(self, vhost: str) -> dict[str, str]:
        """Return its permissions in RabbitMQ's import format."""
        return {
            "user": self.name,
            "vhost": vhost,
            "configure": "",
            "write": self.write,
            "read": self.read,
        }


def build_accounts(
    queues: Iterable[str], pools: Mapping[str, Sequence[str]], prefix: str, queue_prefix: str = ""
) -> list[BrokerAccount]:
    """Return one account for each part, and one for the workers of each pool.

    `prefix` precedes the names of accounts, `queue_prefix` those of queues on RabbitMQ. Without
    pools, all workers share one account. Raises `SettingsError` if a pool names a queue that is not
    declared.
    """
    known = list(queues)
    for pool, names in pools.items():
        for name in names:
            if name not in known:
                raise SettingsError(
                    f"pool {pool!r}: no queue {name!r}{did_you_mean(name, known)}; there are "
                    f"{', '.join(known)}"
                )
    there = {name: f"{queue_prefix}{name}" for name in known}
    dead = [f"{name}.dead" for name in there.values()]
    # RabbitMQ 4.3 shows a queue only to accounts with a permission on it. Write permission on a
    # queue allows nothing else: to bind it, an account would also need to read an exchange.
    seen = [*there.values(), *dead]
    write = anchored_pattern([EXCHANGE, *seen])
    workers = {f"worker-{pool}": names for pool, names in pools.items()} or {"worker": known}
    return [
        BrokerAccount(f"{prefix}-sender", write),
        BrokerAccount(f"{prefix}-relay", write),
        *(
            BrokerAccount(
                f"{prefix}-{part}", write, anchored_pattern(there[name] for name in names)
            )
            for part, names in workers.items()
        ),
        BrokerAccount(f"{prefix}-dead-letter-operator", write, anchored_pattern(dead)),
        BrokerAccount(f"{prefix}-monitor", anchored_pattern(seen), tags=("management",)),
    ]


def anchored_pattern(names: Iterable[str]) -> str:
    """Return a pattern that matches only these names; unanchored, RabbitMQ matches substrings."""
    return rf"^({'|'.join(map(re.escape, names))})$"


def rabbitmq_password_hash(password: str) -> str:
    """Return a password as RabbitMQ stores it: a salt, and the SHA-256 of salt and password."""
    salt = secrets.token_bytes(SALT_BYTES)
    return b64encode(salt + sha256(salt + password.encode()).digest()).decode()
