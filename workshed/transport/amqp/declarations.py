"""The queues that this process knows to be there, made on first use."""

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
"""What is wrong, by queue."""


@dataclass(slots=True, eq=False)
class DeclareAttempt:
    """One connection that makes queues, or sees that they are there."""

    names: set[str]
    problems: Problems = field(default_factory=dict)
    over: Latch = field(default_factory=Latch)


class QueueDeclarer:
    """Asks RabbitMQ once per process and queue.

    All who need a queue meanwhile wait for the same attempt, made in a thread of its own: one after
    the other, each would pay for a server that does not answer.
    """

    def __init__(self, urls: list[str], declared: Mapping[str, Queue]) -> None:
        """Ask nothing."""
        self._urls = urls
        self._declared = declared
        self._there: set[str] = set()
        self._unseen: Problems = {}
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # After a fork the attempts of the parent's threads are over for nobody here.
        self._lock = threading.Lock()
        self._attempts: list[DeclareAttempt] = []

    async def make(self, names: set[str], deadline: float, waiting: WaitStrategy) -> Problems:
        """Make queues, or see that they are there, until `deadline` (`time.monotonic`).

        Of those that this account may not see, an `UnseenQueueError` each time: RabbitMQ is asked
        once.
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
        """Ask again: RabbitMQ says that it has no such queue."""
        self._there -= names
        for name in names:
            self._unseen.pop(name, None)

    def renew(self, name: str) -> None:
        """Make a queue that RabbitMQ has lost, soon; wait for nothing."""
        self.forget({name})
        self._begun({name})

    def clear(self) -> None:
        """Ask again for all."""
        self._there.clear()
        self._unseen.clear()

    def _begun(self, names: set[str]) -> list[DeclareAttempt]:
        """Return the attempts that concern these queues; begin one for those that none concerns."""
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
            if names[1:]:  # which of them are good is worth more connections
                return self._asked_apart(names)
            return {names[0]: err}
        except Exception as err:  # noqa: BLE001 -- raised in those who wait
            return dict.fromkeys(names, err)
        return {}

    def _asked_apart(self, names: list[str]) -> Problems:
        """Ask for each over a connection of its own, at once: one may take all the time it has."""
        with ThreadPoolExecutor(len(names)) as pool:
            found = list(pool.map(self._asked, [[name] for name in names]))
        return {name: bad for one in found for name, bad in one.items()}
