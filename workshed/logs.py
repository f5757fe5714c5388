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
MISLEADING_TEXTS = ("Message %s was skipped", "you haven't added the Results middleware")
FAILURE_PREFIX = "Failed to process message"
"""The start of dramatiq's log message about a failed job, written before its outcome is known."""


class LogSubject(Protocol):
    """What log lines are about."""

    secrets: tuple[str, ...]
    """Texts that no log line may contain."""

    @property
    def log_fields(self) -> dict[str, Any]:
        """Fields that identify it on each line; read when a line is written."""


log_subject: ContextVar[LogSubject | None] = ContextVar("what lines are about", default=None)
"""The job that this thread is running."""


def configure_logging() -> None:
    """Send every log record of this process through one formatter to stderr.

    Replaces the handlers that `dramatiq` installs in a worker. Its master process writes a few
    lines before any of our code is imported; those stay in dramatiq's own format.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_subject_fields,
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
                *(_console_processors() if _is_console_format() else _json_processors()),
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
    filter_worker_logs()


def filter_worker_logs() -> None:
    """Filter log lines of dramatiq's worker that are wrong, or that Workshed logs itself.

    dramatiq reports every failure as an unhandled error, even if the job is retried or discarded.
    `workshed.transport.consuming.execution` reports it once, with the traceback, when the outcome
    is stored. dramatiq also does not know our `Results`, so it reports stored results as discarded.
    """
    logging.getLogger("dramatiq.worker.WorkerThread").addFilter(_is_accurate)


def _is_accurate(record: logging.LogRecord) -> bool:
    text = str(record.msg)
    if text.startswith(FAILURE_PREFIX) and _is_about_our_job(record):
        return False
    return not any(words in text for words in MISLEADING_TEXTS)


def _is_about_our_job(record: logging.LogRecord) -> bool:
    """Return whether a record is about our delivery, not about one of another broker.

    Deliveries of another broker in this process have no outcome.
    """
    about = log_subject.get()
    message = record.args[0] if isinstance(record.args, tuple) and record.args else None
    return about is not None and getattr(message, "job", None) is about


def _is_console_format() -> bool:
    if settings().log_format == "auto":
        return os.isatty(STDERR)  # a worker's sys.stderr is a pipe to its master
    return settings().log_format == "console"


def _console_processors() -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=are_colours_wanted(), exception_formatter=structlog.dev.plain_traceback
    )
    return [renderer, _hide_secrets]


def _json_processors() -> list[Processor]:
    without_locals = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(without_locals),  # locals hold people's data
        _hide_secrets,  # before JSON escapes some characters
        structlog.processors.JSONRenderer(),
        _hide_secrets,  # in values that were not text before
    ]


def _add_subject_fields(_logger: WrappedLogger, _method: str, line: Any) -> Any:
    """Add the subject's fields to a line; the line's own fields win."""
    found = log_subject.get()
    return line if found is None else {**found.log_fields, **line}


def _hide_secrets(_logger: WrappedLogger, _method: str, line: Any) -> Any:
    """Hide secrets in a line, or in the fields that become one."""
    found = log_subject.get()
    return _hide_in_value(line, found.secrets) if found is not None and found.secrets else line


def _hide_in_value(value: Any, words: tuple[str, ...]) -> Any:
    match value:
        case str():
            for word in words:
                value = value.replace(word, HIDDEN)
        case dict():
            return {key: _hide_in_value(item, words) for key, item in value.items()}
        case list():
            return [_hide_in_value(item, words) for item in value]
    return value
