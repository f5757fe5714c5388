"""A relay in the test's process, with its own publisher."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from workshed.transport.publishing.queue_depth import QueueDepthClient
from workshed.transport.relay.relay import Relay


@contextmanager
def relaying(urls: list[str]) -> Iterator[Relay]:
    """Run a relay in a thread, which ends with the block."""
    stop, publisher = threading.Event(), QueueDepthClient(urls, "relay")
    relay = Relay(publisher, stop)
    thread = threading.Thread(target=relay.run, daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        stop.set()
        thread.join(60)
        publisher.close()
    if thread.is_alive():
        raise TimeoutError("the relay did not end")
