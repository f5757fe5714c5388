"""Queues of each kind, for tests of the library, with the names of the service's queues."""

from workshed.queues import Queue

QUEUES = (
    Queue("critical", weight=3),
    Queue("default", weight=2),
    Queue("imports", weight=2),
    Queue("emails", kind="classic", levels=4),
    Queue("images", cap=2),
    Queue("scheduled"),
    Queue("bulk"),
    Queue("low"),
)
