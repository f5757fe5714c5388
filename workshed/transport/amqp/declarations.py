"""Declare queues on first use, and remember which ones exist."""

import functools
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

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

Problems = dict[str, Exception]
"""Errors by queue."""


@dataclass(slots=True, eq=False)
class DeclareAttempt:
    """One connection that declares queues, or checks that they exist."""

    names: set[str]
    problems: Problems = field(default_factory=dict)
    over: Latch = field(default_factory=Latch)


class QueueDeclarer:
    """Asks RabbitMQ once per process and queue.

    Callers that need the same queue wait for one shared attempt in a thread of its own. Otherwise
    each in turn would wait for a server that does not answer.
    """

    def __init__(self, urls: list[str], declared: Mapping[str, Queue]) -> None:
        """Take the declared queues by name; open no connection."""
        self._urls = urls
        self._declared = declared
        self._there: set[str] = set()
        self._unseen: Problems = {}
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # After a fork, the attempts of the parent's threads would never end here.
        self._lock = threading.Lock()
        self._attempts: list[DeclareAttempt] = []

    async def make(self, names: set[str], deadline: float, waiting: WaitStrategy) -> Problems:
        """Declare queues, or check that they exist, until `deadline` (`time.monotonic`).

        Queues that this account may not see get an `UnseenQueueError` each time, but RabbitMQ is
        asked only once.
        """
        problems: Problems = {n: err for n, err in self._unseen.items() if n in names}
        for attempt in self._begun(names - self._there - self._unseen.keys()):
            if await waiting.until(attempt.over, deadline - time.monotonic()):
                problems |= {n: err for n, err in attempt.problems.items() if n in names}
            else:
                late = BrokerUnreachableError(
                    f"RabbitMQ did not say in time whether it has {', '.join(sorted(names))}"
                )
                problems |= dict.fromkeys(attempt.names & names, late)
        return problems

    def forget(self, names: set[str]) -> None:
        """Ask again about these queues, which RabbitMQ says it does not have."""
        self._there -= names
        for name in names:
            self._unseen.pop(name, None)

    def renew(self, name: str) -> None:
        """Start to redeclare a queue that RabbitMQ has lost; returns at once."""
        self.forget({name})
        self._begun({name})

    def clear(self) -> None:
        """Ask again about all queues."""
        self._there.clear()
        self._unseen.clear()

    def _begun(self, names: set[str]) -> list[DeclareAttempt]:
        """Return the running attempts for these queues; start one for the queues without one."""
        if not names:
            return []
        with self._lock:
            self._attempts = [attempt for attempt in self._attempts if not attempt.over.is_open]
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
            attempt.problems = self._asked(sorted(attempt.names))
            self._there |= attempt.names - attempt.problems.keys()
            self._unseen |= {
                name: err
                for name, err in attempt.problems.items()
                if isinstance(err, UnseenQueueError)
            }
        finally:
            attempt.over.open()

    def _asked(self, names: list[str]) -> Problems:
        try:
            topology.declare_queues(self._urls, [self._declared[name] for name in names])
        except (TopologyError, QueueUnavailableError) as err:
            if names[1:]:  # more connections, to find out which of them are good
                return self._asked_apart(names)
            return {names[0]: err}
        except Exception as err:  # noqa: BLE001 -- raised in the waiting callers
            return dict.fromkeys(names, err)
        return {}

    def _asked_apart(self, names: list[str]) -> Problems:
        """Ask about each queue in parallel over its own connection: one may use up the timeout."""
        with ThreadPoolExecutor(len(names)) as pool:
            found = list(pool.map(self._asked, [[name] for name in names]))
        return {name: bad for one in found for name, bad in one.items()}
