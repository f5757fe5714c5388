"""Render templates: escape texts, and format times and spans for people."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlencode

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    PackageLoader,
    StrictUndefined,
    TemplateNotFound,
    pass_context,
)
from jinja2.runtime import Context
from markupsafe import Markup

from workshed.console import formatting
from workshed.console.operations.environment import has_rabbitmq
from workshed.console.text import escape_control, to_json_type
from workshed.console.web.view import bars, source_links, tracebacks
from workshed.console.web.view.static_files import static_path, static_version

LONGEST_LINE = 200
KIB = 1024
SHORTEST_S = 0.0005
DIRECTION_ESCAPES = {
    code: f"\\u{code:04x}"
    for code in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Marks that change the direction in which a text is displayed: `evil\\u202egnp.exe`."""
UNKNOWN = "\N{EN DASH}"


class ApplicationTemplates(BaseLoader):
    """Templates of an application: `package:file.html`, in that package's folder `templates`."""

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        """Load a template; raises `TemplateNotFound` for a name without a package."""
        package, colon, file = template.partition(":")
        if not colon:
            raise TemplateNotFound(template)
        return _package_loader(package).get_source(environment, file)


_package_loader = cache(PackageLoader)


def full_page(template: str, about: Mapping[str, Any]) -> str:
    """Render a full page."""
    return _environment().get_template(_template_path(template)).render(about)


def main_fragment(template: str, about: Mapping[str, Any]) -> str:
    """Render only the block `main`, which changes on a live page."""
    found = _environment().get_template(_template_path(template))
    return "".join(found.blocks["main"](found.new_context(dict(about))))


def filters_fragment(template: str, about: Mapping[str, Any]) -> Markup:
    """Render only the block `filters`, with the form of a list; empty without this block."""
    found = _environment().get_template(_template_path(template))
    block = found.blocks.get("filters")
    # Made by the template, which has escaped all values.
    return Markup("".join(block(found.new_context(dict(about)))) if block else "")  # noqa: S704


def _template_path(template: str) -> str:
    return template if ":" in template else f"desk/{template}"


def as_json(value: Any) -> str:
    """Format the data of a page as JSON: ISO 8601 times, spans in seconds."""
    return json.dumps(value, default=to_json_type, indent=2)


@pass_context
def format_relative_time(context: Context, at: datetime | None) -> Markup | str:
    """Format a time relative to now: `2h ago`, with the time itself as its title."""
    if at is None:
        return UNKNOWN
    now: datetime = context["now"]
    said = (
        f"in {formatting.format_duration(at - now)}" if at > now else formatting.format_ago(at, now)
    )
    return _ticking_time(context, at, said, "ago")


@pass_context
def format_age(context: Context, began: datetime | timedelta | None) -> Markup | str:
    """Format how long something has lasted: `2h`; a script counts on from there.

    Pass when it began. Pass how long it lasts only if nothing knows its beginning: a live page is
    sent again when that differs.
    """
    if began is None:
        return UNKNOWN
    now: datetime = context["now"]
    at = began if isinstance(began, datetime) else (now - began).replace(microsecond=0)
    return _ticking_time(context, at, formatting.format_duration(now - at), "age")


def _ticking_time(context: Context, at: datetime, said: str, kind: str) -> Markup:
    """Return a time whose text a script keeps right.

    In a feed the text is the time itself: a relative one would be a change each second.
    """
    utc = at.astimezone(UTC)
    title = f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}" data-tick="{}">{}</time>').format(
        utc.isoformat(timespec="milliseconds"), title, kind, title if context["is_feed"] else said
    )


def format_moment(at: datetime | None) -> Markup | str:
    """Format a time in UTC to the millisecond; a script shows it in the user's time zone."""
    if at is None:
        return UNKNOWN
    utc = at.astimezone(UTC)
    said = f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03d} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        utc.isoformat(timespec="milliseconds"), said, said
    )


def format_duration(length: float | timedelta | None) -> str:
    """Format a duration: `12ms`, `3.4s`, `2m`."""
    if isinstance(length, timedelta):
        length = length.total_seconds()
    if length is not None and 0 < length < SHORTEST_S:
        return "<1ms"
    return formatting.format_seconds(length) or UNKNOWN


def format_number(value: float | None) -> str:
    """Format a number with thousands separators; `None` is a dash."""
    if value is None:
        return UNKNOWN
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def format_size(value: int | None) -> str:
    """Format a number of bytes; `None` is a dash."""
    if value is None:
        return UNKNOWN
    for unit in ("B", "KiB", "MiB"):
        if value < KIB or unit == "MiB":
            return f"{value:.0f} {unit}"
        value /= KIB  # type: ignore[assignment]
    return f"{value:.0f} MiB"


def escape_invisible(value: object) -> str:
    """Escape control characters, including those that change the direction of a text."""
    return escape_control(str(value)).translate(DIRECTION_ESCAPES)


def format_line(value: object) -> str:
    """Return the first line of a text, cut to `LONGEST_LINE` characters."""
    text = escape_invisible(value).partition("\n")[0]
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]}…"


def format_query(pairs: Mapping[str, object] | Iterable[tuple[str, object]], **more: object) -> str:
    """Format the query of an address, with the `?`; empty values are left out."""
    known = {**dict(pairs), **more}
    said = urlencode({name: value for name, value in known.items() if value not in (None, "")})
    return f"?{said}" if said else ""


def _escape_value(value: Any) -> Any:
    """Apply `escape_invisible` to every text in a template, except to text escaped with `| e`."""
    return (
        escape_invisible(value)
        if isinstance(value, str) and not isinstance(value, Markup)
        else value
    )


@cache
def _environment() -> Environment:
    found = Environment(
        loader=ChoiceLoader([ApplicationTemplates(), PackageLoader("workshed.console.web")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_escape_value,
    )
    found.globals.update(
        static_path=static_path(), static_version=static_version(), has_rabbitmq=has_rabbitmq
    )
    found.filters.update(
        {
            "when": format_relative_time,
            "age": format_age,
            "moment": format_moment,
            "took": format_duration,
            "number": format_number,
            "size": format_size,
            "clear": escape_invisible,
            "line": format_line,
            "query": format_query,
            "bar_parts": bars.divide_bar,
            "traceback_parts": tracebacks.split_traceback,
            "source_lines": source_links.link_lines,
            "as_json": lambda value: json.dumps(value, default=to_json_type, ensure_ascii=False),
        }
    )
    return found
