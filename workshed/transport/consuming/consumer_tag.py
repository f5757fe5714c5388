"""Consumer tags: they show on RabbitMQ which program consumes a queue, and with which actors."""

import hashlib
import os
import socket
from collections.abc import Collection
from uuid import uuid4

from workshed.value_class import value_class

MARK = "workshed"
MAX_PART_LENGTH = 80
"""Longest part of a tag, so that all parts fit into its 255 bytes."""


@value_class
class Consumer:
    """A worker process that consumes a queue."""

    host: str
    pid: str
    modules: str
    """The modules of its actors on this queue, separated by `,`."""
    digest: str
    """Identifies the set of names of its actors on this queue."""

    @property
    def name(self) -> str:
        """Its modules, host and process, for people."""
        return f"{self.modules or 'no actor'} on {self.host}:{self.pid}"


def make_tag(actors: Collection[tuple[str, str | None]]) -> str:
    """Return a unique tag. `actors` are those on the queue: name and module of each.

    The module is `None` for a method of a built-in type, such as `list.append`.
    """
    digest = hashlib.sha256("\n".join(sorted(name for name, _ in actors)).encode()).hexdigest()
    modules = ",".join(sorted({module for _, module in actors if module}))
    parts = (socket.gethostname(), str(os.getpid()), modules, digest)
    host, pid, where, what = (part.replace("/", "_")[:MAX_PART_LENGTH] for part in parts)
    # RabbitMQ's limit counts bytes, and a module's name may hold any letters.
    where = where.encode()[:MAX_PART_LENGTH].decode(errors="ignore")
    return "/".join((MARK, host, pid, where, what[:12], uuid4().hex[:12]))


def parse_tag(tag: str) -> Consumer | None:
    """Parse a tag; return `None` if no worker of Workshed wrote it."""
    match tag.split("/"):
        case [mark, host, pid, modules, digest, _] if mark == MARK:
            return Consumer(host, pid, modules, digest)
    return None
