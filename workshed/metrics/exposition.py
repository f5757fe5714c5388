"""The page `/metrics`, in the text format of Prometheus."""

import importlib
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path

from workshed.health import shared_folder
from workshed.health.http import PageAnswer, PageHandler
from workshed.metrics import compaction, metric, samples
from workshed.metrics.samples import Family, Labels
from workshed.threads.background import BackgroundThread

KIND = "text/plain; version=0.0.4; charset=utf-8"
TIDY_EVERY_S = 60.0

logger = logging.getLogger(__name__)

# Reading also merges files of ended processes; a concurrent read would count those twice.
_read_lock = threading.Lock()

MetricsSource = Callable[[], str]
"""Returns the text of the page; may raise."""


def metrics_page(source: MetricsSource) -> PageHandler:
    """Return the page `/metrics` of a source."""

    def answer() -> PageAnswer:
        try:
            return PageAnswer(source().encode(), kind=KIND)
        except Exception:
            logger.exception("the metrics cannot be read")
            return PageAnswer(b"the metrics cannot be read\n", HTTPStatus.INTERNAL_SERVER_ERROR)

    return answer


def own_metrics() -> str:
    """Return the metrics of this process, and what the application has in `prometheus_client`."""
    text = render(samples.combine(metric.read_own()))
    if "prometheus_client" not in sys.modules:
        return text
    package = importlib.import_module("prometheus_client")
    theirs: bytes = package.generate_latest(package.REGISTRY)
    return text + theirs.decode()


def shared_metrics(folder: Path) -> str:
    """Return the metrics of all processes of a folder."""
    with _read_lock:
        shared_folder.remove_dead_process_files(folder)
        found = compaction.read_folder(folder)
    return render(samples.combine(found))


def tidy_regularly(folder: Path) -> None:
    """Start a thread that merges files of ended processes, even if nothing scrapes the page."""

    def tidy() -> None:
        shared_metrics(folder)

    BackgroundThread("metrics files", tidy, TIDY_EVERY_S, delay_s=TIDY_EVERY_S).start()


def render(families: Iterable[Family]) -> str:
    """Return metrics as text."""
    lines = []
    for family in families:
        help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {family.name} {help_text}", f"# TYPE {family.name} {family.kind}"]
        lines += [
            f"{name}{render_labels(labels)} {samples.format_number(value)}"
            for name, labels, value in family.numbers()
        ]
    return "".join(f"{line}\n" for line in lines)


def render_labels(labels: Labels) -> str:
    """Return `{actor="work",queue="default"}`; nothing if there are none."""
    words = [f'{name}="{escape_label(value)}"' for name, value in labels]
    return f"{{{','.join(words)}}}" if words else ""


def escape_label(value: str) -> str:
    """Return the value of a label, as it is written between quotation marks."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
