"""Structured logs, including those of libraries: colours on a terminal, JSON lines otherwise."""

import json
import logging
import os
import re
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

from workshed.redaction import hide_words
from workshed.settings import are_colours_wanted, settings

STDERR = 2
MISLEADING_TEXTS = ("Message %s was skipped", "you haven't added the Results middleware")
FAILURE_PREFIX = "Failed to process message"
"""The start of dramatiq's log message about a failed job, written before its outcome is known."""
EVENT_WIDTH = 30
"""Columns on a terminal, so that the fields of most lines begin below each other."""
MOST_FRAMES = 50
"""Frames of a traceback in a JSON line: the outermost and the innermost ones."""
IMPORT_SYSTEM = "<frozen importlib"
"""The start of the file names of Python's own frames between a module and the one it imports."""
OWN_ATTRIBUTES = frozenset(
    {*logging.LogRecord("", 0, "", 0, "", (), None).__dict__, "message", "asctime", "taskName"}
)
"""Attributes that every record has; others are fields that its caller gave as `extra`."""
PASSED_ON = frozenset({"exc_info", "stack_info", "stacklevel"})
"""Fields of structlog that are arguments of `logging`."""
RESERVED_FIELDS = frozenset({"event", "logger", "level", "timestamp", "exception", "stack"})
"""What each line says itself; a field of one of these names gets an underscore."""
PLAIN_WORD = re.compile(r"[^\s=\"'\x00-\x1f\x7f]+")

RESET, BOLD, DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = (f"\x1b[{number}m" for number in range(31, 37))
LEVEL_COLOURS = {"debug": GREEN, "info": GREEN, "warning": YELLOW, "error": RED, "critical": RED}


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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ConsoleFormatter(coloured=are_colours_wanted()) if _is_console_format() else JSONFormatter()
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


def rename_reserved(_logger: object, _method: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Add an underscore to fields that `logging` does not allow as `extra`, for example `name`.

    It is a processor for an application that logs with structlog.
    """
    return {
        f"{key}_" if key in OWN_ATTRIBUTES and key not in PASSED_ON else key: value
        for key, value in fields.items()
    }


class JSONFormatter(logging.Formatter):
    """Formats a record as one JSON object: its fields, the subject's, and a traceback.

    A traceback has no values of variables, because those hold people's data.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line = {"event": record.getMessage(), **_collect_fields(record)}
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _describe_errors(record.exc_info[1], set())
        if record.stack_info:
            line["stack"] = record.stack_info
        hidden = _hide_secrets(line)  # before JSON escapes some characters
        return str(_hide_secrets(_to_json(hidden)))  # in values that were not text before


class ConsoleFormatter(logging.Formatter):
    """Formats a record for people: time, level, event, logger and fields; then the traceback."""

    def __init__(self, *, coloured: bool) -> None:
        """Use colours only if `coloured`."""
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """Return a line, and lines for a traceback."""
        fields = dict(_collect_fields(record))
        at, name, level = (fields.pop(key) for key in ("timestamp", "logger", "level"))
        severity = self._paint(LEVEL_COLOURS.get(level, BOLD), level.ljust(8))
        event = self._paint(BOLD, record.getMessage().ljust(EVENT_WIDTH))
        text = f"{self._paint(DIM, at)} [{severity}] {event} [{self._paint(BLUE, name)}]"
        for key in sorted(fields):
            text += f" {self._paint(CYAN, key)}={self._paint(MAGENTA, _quote(fields[key]))}"
        if record.exc_info and record.exc_info[1] is not None:
            text += f"\n{self.formatException(record.exc_info)}"
        if record.stack_info:
            text += f"\n{record.stack_info}"
        return str(_hide_secrets(text))

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{RESET}" if self._coloured else text


def _collect_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a line says besides its event; a record's own fields win over the subject's."""
    subject = log_subject.get()
    given = {
        f"{key}_" if key in RESERVED_FIELDS else key: value
        for key, value in vars(record).items()
        if key not in OWN_ATTRIBUTES
    }
    return {
        **(subject.log_fields if subject is not None else {}),
        **given,
        "logger": record.name,
        "level": record.levelname.lower(),
        "timestamp": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
    }


def _to_json(line: dict[str, Any]) -> str:
    """Return a line as JSON; a field that JSON has no form for becomes a text."""
    try:
        return json.dumps(line, default=repr)
    except (TypeError, ValueError):  # a key that is no text, or a value that contains itself
        return json.dumps({key: repr(value) for key, value in line.items()})


def _quote(value: object) -> str:
    """Return a value as one word of a line for people."""
    return value if isinstance(value, str) and PLAIN_WORD.fullmatch(value) else repr(value)


def _describe_errors(error: BaseException, seen: set[int]) -> list[dict[str, Any]]:
    """Return an error, and those that led to it, from the last one to the first.

    An error may lead to itself: one of a group, for example, can be raised because of the group.
    """
    found: list[dict[str, Any]] = []
    current: BaseException | None = error
    is_cause = False
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        found.append({**_describe_error(current, seen), "is_cause": is_cause})
        is_cause = current.__cause__ is not None
        if is_cause:
            current = current.__cause__
        else:
            current = None if current.__suppress_context__ else current.__context__
    return found


def _describe_error(error: BaseException, seen: set[int]) -> dict[str, Any]:
    frames = [
        {"filename": frame.f_code.co_filename, "lineno": line, "name": frame.f_code.co_name}
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith(IMPORT_SYSTEM)
    ]
    if len(frames) > MOST_FRAMES:
        half = MOST_FRAMES // 2
        skipped = {"filename": "", "lineno": -1, "name": f"{len(frames) - MOST_FRAMES} more"}
        frames = [*frames[:half], skipped, *frames[-half:]]
    found: dict[str, Any] = {
        "exc_type": type(error).__name__,
        "exc_value": _to_text(error),
        "exc_notes": [_to_text(note) for note in getattr(error, "__notes__", ())],
        "frames": frames,
    }
    if isinstance(error, BaseExceptionGroup):
        found["exceptions"] = [_describe_errors(one, seen) for one in error.exceptions]
    return found


def _to_text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 -- an error without words is still reported
        return f"<{type(value).__name__} without a text>"


def _hide_secrets(value: Any) -> Any:
    """Hide the secrets of the subject in a text, or in all texts of a value."""
    subject = log_subject.get()
    return _hide_in(value, subject.secrets) if subject is not None and subject.secrets else value


def _hide_in(value: Any, secrets: tuple[str, ...]) -> Any:
    match value:
        case str():
            return hide_words(value, secrets)
        case dict():
            return {key: _hide_in(item, secrets) for key, item in value.items()}
        case list():
            return [_hide_in(item, secrets) for item in value]
    return value
