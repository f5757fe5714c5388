"""Structured logs: colours on a terminal, JSON lines otherwise, libraries included."""

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
"""How dramatiq begins what it says of a job that failed, before anything knows what follows."""


class Subject(Protocol):
    """What lines are about."""

    secrets: tuple[str, ...]
    """Texts that no line may show."""

    @property
    def log_fields(self) -> dict[str, Any]:
        """What names it on each line; asked when one is written."""


subject: ContextVar[Subject | None] = ContextVar("what lines are about", default=None)
"""The job that this thread works on."""


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
    # pika tells every step of a reconnect as an error; `workshed.transport.amqp.connection` says
    # it once, in a sentence.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    leave_out_misleading()


def leave_out_misleading() -> None:
    """Leave out what dramatiq's worker says of our jobs that is wrong, or that we say ourselves.

    It reports every failure as an unhandled error, also of a job that is tried again or discarded.
    `workshed.transport.consuming.execution` reports it once, with the traceback, when the outcome
    is stored. And it does not know our `Results`, so it says of a result that was stored that it
    was discarded.
    """
    logging.getLogger("dramatiq.worker.WorkerThread").addFilter(_is_so)


def _is_so(record: logging.LogRecord) -> bool:
    text = str(record.msg)
    if text.startswith(FAILED) and _is_about_ours(record):
        return False
    return not any(words in text for words in MISLEADING)


def _is_about_ours(record: logging.LogRecord) -> bool:
    """Tell our deliveries from those of another broker in this process, which have no outcome."""
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
        _hide,  # while texts are as they were: JSON writes some characters otherwise
        structlog.processors.JSONRenderer(),
        _hide,  # in what was no text before
    ]


def _name(_logger: WrappedLogger, _method: str, line: Any) -> Any:
    """Name what a line is about, under what the line says itself."""
    found = subject.get()
    return line if found is None else {**found.log_fields, **line}


def _hide(_logger: WrappedLogger, _method: str, line: Any) -> Any:
    """Hide secrets in a line, or in what becomes one."""
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
