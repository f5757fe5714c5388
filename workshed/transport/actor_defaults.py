"""Options that the actors of an application share."""

from collections.abc import Mapping
from typing import Any

from workshed.errors import WorkshedError
from workshed.queues import Queue
from workshed.transport.option_conversion import check_queue, to_dramatiq_options

MOST_NAMES = 5
"""Most actors that the error message names."""


class ActorDefaults:
    """What `broker.defaults` has set, for the actors that are declared afterwards."""

    def __init__(self) -> None:
        self.queue: str | Queue | None = None
        self.options: dict[str, Any] = {}
        self.declared: list[str] = []
        """Names of the actors that were declared with these defaults."""

    def update(self, queue: str | Queue | None, options: Mapping[str, Any]) -> None:
        """Add defaults, or replace some.

        Raises `WorkshedError` if there are actors that lack them, and `ValueError` for an unknown
        option, or a duration, flag, queue or hook of another type. Other values are checked with
        each actor.
        """
        to_dramatiq_options("broker.defaults", options)
        if queue is not None:
            check_queue(queue)
        if self.declared:
            names = ", ".join(self.declared[:MOST_NAMES])
            raise WorkshedError(
                f"broker.defaults comes too late, after the declaration of {names}: call it "
                "before the modules of the actors are imported"
            )
        self.queue = queue or self.queue
        self.options |= options
