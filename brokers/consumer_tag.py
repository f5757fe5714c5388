"""What a consumer says of itself on RabbitMQ: which program it is, and which actors it has."""

import hashlib
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from uuid import uuid4

MARK = "workshed"
LONGEST = 80
"""Characters of a host or of module names, so that all fit into the 255 bytes of a tag."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A worker process that consumes a queue."""

    host: str
    pid: str
    modules: str
    """Where its actors on this queue are, separated by `,`."""
    digest: str
    """Differs where the names of its actors on this queue do."""

    @property
    def name(self) -> str:
        """Its modules and where it runs, for people."""
        return f"{self.modules or 'no actor'} on {self.host}:{self.pid}"


def written(actors: Collection[tuple[str, str | None]]) -> str:
    """Write a tag no other consumer has; `actors` of the queue, each with its module.

    A method of a built-in type, such as `list.append`, has none.
    """
    digest = hashlib.sha256("\n".join(sorted(name for name, _ in actors)).encode()).hexdigest()
    modules = ",".join(sorted({module for _, module in actors if module}))
    parts = (socket.gethostname(), str(os.getpid()), modules, digest)
    host, pid, where, what = (part.replace("/", "_")[:LONGEST] for part in parts)
    # A byte count, since RabbitMQ's limit is one; a name of a module may be any word.
    where = where.encode()[:LONGEST].decode(errors="ignore")
    return "/".join((MARK, host, pid, where, what[:12], uuid4().hex[:12]))


def read(tag: str) -> Consumer | None:
    """Read a tag; `None` where no worker of ours wrote it."""
    match tag.split("/"):
        case [mark, host, pid, modules, digest, _] if mark == MARK:
            return Consumer(host, pid, modules, digest)
    return None
