"""The page `/metrics`."""

import logging
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from workshed.health import shared_folder
from workshed.http import Page, PageAnswer
from workshed.metrics import meter, remains

logger = logging.getLogger(__name__)

TRIES = 3

# Files are put together meanwhile, and would be counted twice.
_one_at_a_time = threading.Lock()

Source = Callable[[], Any]
"""Returns what is to be shown, as a registry of `prometheus_client`."""


def metrics_page(source: Source) -> Page:
    """Return the page of what a source has now."""

    def answer(accept: str) -> PageAnswer:
        encode, kind = choose_encoder(accept)
        try:
            return PageAnswer(encode(read_registry(source)), kind=kind)
        except Exception:
            logger.exception("the metrics cannot be read")
            return PageAnswer(b"the metrics cannot be read\n", HTTPStatus.INTERNAL_SERVER_ERROR)

    return answer


def collect_own() -> Any:
    """Return what this process has told, and the application's own metrics in it."""
    meter.import_prometheus()
    return REGISTRY


def collect_shared(folder: Path) -> CollectorRegistry:
    """Return what all processes of a folder have told."""
    shared_folder.remove_dead_process_files(folder)
    remains.add_up(folder)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return registry


def read_registry(source: Source) -> Any:
    """Collect now, once more where a file had just been made and was still empty."""
    with _one_at_a_time:
        for _ in range(TRIES - 1):
            try:
                return Collected(list(source().collect()))
            except Exception:  # noqa: BLE001 -- the last try says what it was
                threading.Event().wait(0.01)
        return Collected(list(source().collect()))


class Collected:
    """What was collected, for an encoder."""

    def __init__(self, metrics: list[Any]) -> None:
        """Keep it."""
        self._metrics = metrics

    def collect(self) -> list[Any]:
        """Return it."""
        return self._metrics
