"""Declare queues on first use, and remember which ones exist."""

import functools
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field

from workshed.queues import Queue
from workshed.transport.amqp import topology
from workshed.transport.errors import (
    BrokerUnreachableError,
    QueueUnavailableError,
    TopologyError,
    UnseenQueueError,
)
from workshed.transport.latch import Latch
from workshed.transport.waiting import WaitStrategy
from workshed.value_class import state_class

QueueErrors = dict[str, Exception]
"""Errors by queue."""


@state_class
class DeclareAttempt:
    """One connection that declares queues, or checks that they exist."""

    names: set[str]
    errors: QueueErrors = field(default_factory=dict)
    completion: Latch = field(default_factory=Latch)


class QueueDeclarer:
    """Asks RabbitMQ once per process and queue.

    Callers that need the same queue wait for one shared attempt in a thread of its own. Otherwise
    each in turn would wait for a server that does not answer.
    """

    def __init__(self, urls: list[str], declared: Mapping[str, Queue]) -> None:
        """Take the declared queues by name; open no connection."""
        self._urls = urls
        self._declared_queues = declared
        self._existing: set[str] = set()
        self._unseen_errors: QueueErrors = {}
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # After a fork, the attempts of the parent's threads would never end here.
        self._lock = threading.Lock()
        self._attempts: list[DeclareAttempt] = []

    async def declare(self, names: set[str], deadline: float, waiting: WaitStrategy) -> QueueErrors:
        """Declare queues, or check that they exist, until `deadline` (`time.monotonic`).

        Queues that this account may not see get an `UnseenQueueError` each time, but RabbitMQ is
        asked only once.
        """
        problems: QueueErrors = {n: err for n, err in self._unseen_errors.items() if n in names}
        for attempt in self._attempts_for(names - self._existing - self._unseen_errors.keys()):
            if await waiting.wait_for(attempt.completion, deadline - time.monotonic()):
                problems |= {n: err for n, err in attempt.errors.items() if n in names}
            else:
                late = BrokerUnreachableError(
                    f"RabbitMQ did not say in time whether it has {', '.join(sorted(names))}"
                )
                problems |= dict.fromkeys(attempt.names & names, late)
        return problems

    def invalidate(self, names: set[str]) -> None:
        """Ask again about these queues, which RabbitMQ says it does not have."""
        self._existing -= names
        for name in names:
            self._unseen_errors.pop(name, None)

    def redeclare_soon(self, name: str) -> None:
        """Start to redeclare a queue that RabbitMQ has lost; returns at once."""
        self.invalidate({name})
        self._attempts_for({name})

    def clear(self) -> None:
        """Ask again about all queues."""
        self._existing.clear()
        self._unseen_errors.clear()

    def _attempts_for(self, names: set[str]) -> list[DeclareAttempt]:
        """Return the running attempts for these queues; start one for the queues without one."""
        if not names:
            return []
        with self._lock:
            self._attempts = [
                attempt for attempt in self._attempts if not attempt.completion.is_open
            ]
            found = [attempt for attempt in self._attempts if attempt.names & names]
            rest = names.difference(*(attempt.names for attempt in found))
            if rest:
                attempt = DeclareAttempt(rest)
                found.append(attempt)
                self._attempts.append(attempt)
                run = functools.partial(self._run, attempt)
                threading.Thread(target=run, name="topology", daemon=True).start()
            return found

    def _run(self, attempt: DeclareAttempt) -> None:
        try:
            attempt.errors = self._declare(sorted(attempt.names))
            self._existing |= attempt.names - attempt.errors.keys()
            self._unseen_errors |= {
                name: err
                for name, err in attempt.errors.items()
                if isinstance(err, UnseenQueueError)
            }
        finally:
            attempt.completion.open()

    def _declare(self, names: list[str]) -> QueueErrors:
        try:
            topology.declare_queues(self._urls, [self._declared_queues[name] for name in names])
        except (TopologyError, QueueUnavailableError) as err:
            if names[1:]:  # more connections, to find out which of them are good
                return self._declare_separately(names)
            return {names[0]: err}
        except Exception as err:  # noqa: BLE001 -- raised in the waiting callers
            return dict.fromkeys(names, err)
        return {}

    def _declare_separately(self, names: list[str]) -> QueueErrors:
        """Ask about each queue in parallel over its own connection: one may use up the timeout."""
        with ThreadPoolExecutor(len(names)) as pool:
            found = list(pool.map(self._declare, [[name] for name in names]))
        return {name: bad for one in found for name, bad in one.items()}
