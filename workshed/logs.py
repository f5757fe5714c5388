"""Structured logs, including those of libraries: colours on a terminal, JSON lines otherwise."""

import logging
import os
import sys
from contextvars import ContextVar
from typing import Any, Protocol

import structlog
from structlog.typing import Processor, WrappedLogger

from workshed.redaction import HIDDEN
from workshed.settings import are_colours_wanted, settings

STDERR = 2
MISLEADING = ("Message %s was skipped", "you haven't added the Results middleware")
FAILED = "Failed to process message"
"""The start of dramatiq's log message about a failed job, written before its outcome is known."""


class Subject(Protocol):
    """What log lines are about."""

    secrets: tuple[str, ...]
    """Texts that no log line may contain."""

    @property
    def log_fields(self) -> dict[str, Any]:
        """Fields that identify it on each line; read when a line is written."""


subject: ContextVar[Subject | None] = ContextVar("what lines are about", default=None)
"""The job that this thread is running."""


def configure() -> None:
    """Send every log record of this process through one formatter to stderr.

    Replaces the handlers that `dramatiq` installs in a worker. Its master process writes a few
    lines before any of our code is imported; those stay in dramatiq's own format.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _name,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_for_people() if _to_a_terminal() else _for_machines()),
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings().log_level)
    # pika logs every step of a reconnect as an error; `workshed.transport.amqp.connection` logs it
    # once, in a sentence.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    leave_out_misleading()


def leave_out_misleading() -> None:
    """Filter log lines of dramatiq's worker that are wrong, or that Workshed logs itself.

    dramatiq reports every failure as an unhandled error, even if the job is retried or discarded.
    `workshed.transport.consuming.execution` reports it once, with the traceback, when the outcome
    is stored. dramatiq also does not know our `Results`, so it reports stored results as discarded.
    """
    logging.getLogger("dramatiq.worker.WorkerThread").addFilter(_is_so)


def _is_so(record: logging.LogRecord) -> bool:
    text = str(record.msg)
    if text.startswith(FAILED) and _is_about_ours(record):
        return False
    return not any(words in text for words in MISLEADING)


def _is_about_ours(record: logging.LogRecord) -> bool:
    """Return whether a record is about our delivery, not about one of another broker.

    Deliveries of another broker in this process have no outcome.
    """
    about = subject.get()
    message = record.args[0] if isinstance(record.args, tuple) and record.args else None
    return about is not None and getattr(message, "job", None) is about


def _to_a_terminal() -> bool:
    if settings().log_format == "auto":
        return os.isatty(STDERR)  # a worker's sys.stderr is a pipe to its master
    return settings().log_format == "console"


def _for_people() -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=are_colours_wanted(), exception_formatter=structlog.dev.plain_traceback
    )
    return [renderer, _hide]


def _for_machines() -> list[Processor]:
    without_locals = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(without_locals),  # locals hold people's data
        _hide,  # before JSON escapes some characters
        structlog.processors.JSONRenderer(),
        _hide,  # in values that were not text before
    ]


def _name(_logger: WrappedLogger, _method: str, line: Any) -> Any:
    """Add the subject's fields to a line; the line's own fields win."""
    found = subject.get()
    return line if found is None else {**found.log_fields, **line}


def _hide(_logger: WrappedLogger, _method: str, line: Any) -> Any:
    """Hide secrets in a line, or in the fields that become one."""
    found = subject.get()
    return _without(line, found.secrets) if found is not None and found.secrets else line


def _without(value: Any, words: tuple[str, ...]) -> Any:
    match value:
        case str():
            for word in words:
                value = value.replace(word, HIDDEN)
        case dict():
            return {key: _without(item, words) for key, item in value.items()}
        case list():
            return [_without(item, words) for item in value]
    return value
