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
from workshed.health.http import PageAnswer, PageHandler
from workshed.metrics import compaction, metric

logger = logging.getLogger(__name__)

READ_ATTEMPTS = 3

# Reading also merges files of dead processes; a concurrent read would count those twice.
_read_lock = threading.Lock()

MetricsSource = Callable[[], Any]
"""Returns the metrics to expose, as a registry of `prometheus_client`."""


def metrics_page(source: MetricsSource) -> PageHandler:
    """Return the page `/metrics` of a source."""

    def answer(accept: str) -> PageAnswer:
        encode, kind = choose_encoder(accept)
        try:
            return PageAnswer(encode(read_registry(source)), kind=kind)
        except Exception:
            logger.exception("the metrics cannot be read")
            return PageAnswer(b"the metrics cannot be read\n", HTTPStatus.INTERNAL_SERVER_ERROR)

    return answer


def collect_own_metrics() -> Any:
    """Return the metrics of this process, including the application's own."""
    metric.import_prometheus()
    return REGISTRY


def collect_shared_metrics(folder: Path) -> CollectorRegistry:
    """Return the metrics of all processes of a folder."""
    shared_folder.remove_dead_process_files(folder)
    compaction.compact_files(folder)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return registry


def read_registry(source: MetricsSource) -> Any:
    """Collect the metrics now; try again if a file was just created and is still empty."""
    with _read_lock:
        for _ in range(READ_ATTEMPTS - 1):
            try:
                return CollectedMetrics(list(source().collect()))
            except Exception:  # noqa: BLE001 -- the last try raises
                threading.Event().wait(0.01)
        return CollectedMetrics(list(source().collect()))


class CollectedMetrics:
    """Collected metrics, with the interface that an encoder expects."""

    def __init__(self, metrics: list[Any]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Any]:
        """Return the metrics."""
        return self._metrics
